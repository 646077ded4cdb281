"""What the commits of rollbacks say, and what they said: a later release replaces main, and its history remembers.

A card has room for the notice of one version only, and the card of a release is what was released.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.naming.version import precedence

_AND = " and "
# The Hub adds the number of a pull request that was merged.
_TITLE = re.compile(
    r"(?:restore (?P<restored>\S+?)(?:, take (?P<taken>\S+(?: and \S+)*) back)?"
    r"|withdraw (?P<withdrawn>\S+(?: and \S+)*), (?:lead|back) to (?P<led>\S+)"
    r"|(?P<kept>\S+) is (?:the version to use|withdrawn no longer, .+?))(?: \(#\d+\))?"
)


def listed(tags: Iterable[str]) -> str:
    """Tags in a sentence."""
    return _AND.join(tags)


def restoring(tag: str, back: Sequence[str]) -> str:
    """That main gets the files of a version, which takes others back."""
    return f"restore {tag}" + (f", take {listed(back)} back" if back else "")


def withdrawing(back: Sequence[str], live: str, *, leads: bool) -> str:
    """That a repo's versions are withdrawn, for one in another repo, which its card leads to or does not."""
    return f"withdraw {listed(back)}, {'lead' if leads else 'back'} to {live}"


def keeping(tag: str) -> str:
    """That a version which main has is the live one."""
    return f"{tag} is the version to use"


def returning(tag: str, after: str | None) -> str:
    """That a version is not withdrawn any more, and where it leads."""
    return f"{tag} is withdrawn no longer, and leads to {after or 'no other'}"


def taken_back(hub: Hub, repo_id: str, versions: Mapping[str, str]) -> set[str]:
    """The tags of those of a repo's versions that rollbacks took back and none brought back, by the history of its
    main. `versions` are the versions that tags name. Raises ToolError when the Hub does not answer."""
    with hub_errors(f"list the commits of {repo_id}"):
        titles = [commit.title for commit in hub.reading(repo_id).list_repo_commits(repo_id)]
    known = {tag.lower(): tag for tag in versions}  # a commit's title begins with a capital letter
    back: set[str] = set()
    for title in reversed(titles):
        said = _TITLE.fullmatch(title.strip().lower())
        live = known.get((said["restored"] or said["led"] or said["kept"]) if said else "")
        if said is None or live is None:
            continue
        back |= {known[tag] for tag in (said["taken"] or said["withdrawn"] or "").split(_AND) if tag in known}
        back = {tag for tag in back if precedence(versions[tag]) > precedence(versions[live])}
    return back
