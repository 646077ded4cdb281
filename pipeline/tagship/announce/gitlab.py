"""Releases on GitLab (https://docs.gitlab.com/api/releases/)."""

from typing import Any
from urllib.parse import quote

from tagship.announce.announcement import Announcement, Told, with_text
from tagship.announce.asking import Question, answer_of, unexpected
from tagship.system.errors import ToolError
from tagship.system.forge_api import Answer, Api


class GitLabReleases:
    """The releases of a project on GitLab, which has no prereleases: their titles say it."""

    name = "gitlab"

    def __init__(self, api: Api) -> None:
        self._api = api

    def check(self, tag: str) -> None:
        """Raise ToolError where the token may not read the project's releases. Tags a job's token may not read."""
        self._ask("look for releases", "/releases?per_page=1")

    def tell(self, announcement: Announcement) -> Told:
        """Make the release of a tag, or bring its text up to date."""
        there = self._of(announcement.tag)
        if there is None:
            title = announcement.title + " (prerelease)" * announcement.prerelease
            # Without `ref`, so that a tag that is not there is refused rather than made.
            wanted = {
                "tag_name": announcement.tag,
                "name": title,
                "description": with_text("", announcement.text),
                "assets": {"links": [{"name": repo.name, "url": repo.url} for repo in announcement.repos]},
            }
            made = self._ask("make the release", "/releases", "POST", wanted, good=(201, 409))
            if made.code == 201:
                return Told(url=_page(made.document), before=False)
            there = self._of(announcement.tag)  # somebody else was quicker
            if there is None:
                raise unexpected(self._api.host, "make the release", made.code, made.document)
        said = str(there.get("description") or "")
        description = with_text(said, announcement.text)
        if description == said:
            return Told(url=_page(there), before=True)
        path = f"/releases/{quote(announcement.tag, safe='')}"
        changed = self._ask("change the release", path, "PUT", {"description": description})
        return Told(url=_page(changed.document), before=False)

    def _of(self, tag: str) -> dict[str, Any] | None:
        answer = self._ask("look for the release", f"/releases/{quote(tag, safe='')}", good=(200, 404))
        if answer.code == 404:
            return None
        if not isinstance(answer.document, dict):
            raise ToolError(f"{self._api.host} answers something else", remedy="see that CI_API_V4_URL is its API")
        return answer.document

    def _ask(
        self, what: str, path: str, method: str = "GET", document: Any = None, *, good: tuple[int, ...] = (200,)
    ) -> Answer:
        return answer_of(self._api, Question(what=what, path=path, method=method, document=document, good=good))


def _page(document: Any) -> str | None:
    links = document.get("_links") if isinstance(document, dict) else None
    page = links.get("self") if isinstance(links, dict) else None
    return page if isinstance(page, str) else None
