"""Releases on GitHub (https://docs.github.com/en/rest/releases/releases)."""

from typing import Any
from urllib.parse import quote

from tagship.announce.announcement import Announcement, Told, with_text
from tagship.announce.asking import Question, answer_of, unexpected
from tagship.system.errors import ToolError
from tagship.system.forge_api import Answer, Api


class GitHubReleases:
    """The releases of a repository on GitHub."""

    name = "github"

    def __init__(self, api: Api) -> None:
        self._api = api

    def check(self, tag: str) -> None:
        """Raise ToolError where the tag is not there: GitHub would make one, on its default branch."""
        answer = self._ask("look for the tag", f"/git/ref/tags/{quote(tag)}", good=(200, 404))
        if answer.code == 404:
            self._ask("look for the repository", "")
            raise ToolError(f"the tag {tag} is not on {self._api.host}", remedy=f"git push origin {tag}")

    def tell(self, announcement: Announcement) -> Told:
        """Make the release of a tag, or bring its text up to date."""
        self.check(announcement.tag)
        if (there := self._of(announcement.tag)) is None:
            made = self._ask("make the release", "/releases", "POST", _fields(announcement, None), good=(201, 422))
            if made.code == 201:
                return Told(url=_page(made.document), before=False)
            there = self._of(announcement.tag)  # somebody else was quicker
            if there is None:
                raise unexpected(self._api.host, "make the release", made.code, made.document)
        wanted = _fields(announcement, there)
        if all(there.get(key) == value for key, value in wanted.items() if key in ("body", "prerelease")):
            return Told(url=_page(there), before=True)
        changed = self._ask("change the release", f"/releases/{there['id']:d}", "PATCH", wanted)
        return Told(url=_page(changed.document), before=False)

    def _of(self, tag: str) -> dict[str, Any] | None:
        answer = self._ask("look for the release", f"/releases/tags/{quote(tag)}", good=(200, 404))
        if answer.code == 404:
            return None
        if not isinstance(answer.document, dict) or not isinstance(answer.document.get("id"), int):
            raise ToolError(f"{self._api.host} answers something else", remedy="see that GITHUB_API_URL is its API")
        return answer.document

    def _ask(
        self, what: str, path: str, method: str = "GET", document: Any = None, *, good: tuple[int, ...] = (200,)
    ) -> Answer:
        return answer_of(self._api, Question(what=what, path=path, method=method, document=document, good=good))


def _fields(announcement: Announcement, there: dict[str, Any] | None) -> dict[str, Any]:
    """A release as it should be; of one that is there the title, and what people wrote beside our text, stays."""
    wanted = {
        "tag_name": announcement.tag,
        "body": with_text((there or {}).get("body") or "", announcement.text),
        "prerelease": announcement.prerelease,
    }
    # Which is the latest goes by the version, so that a fix of an older one does not become it.
    return wanted if there else wanted | {"name": announcement.title, "draft": False, "make_latest": "legacy"}


def _page(document: Any) -> str | None:
    page = document.get("html_url") if isinstance(document, dict) else None
    return page if isinstance(page, str) else None
