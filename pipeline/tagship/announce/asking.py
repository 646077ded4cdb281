"""Questions to a forge, and what is said where it refuses."""

from typing import Any

from msgspec import Struct

from tagship.system.errors import ToolError
from tagship.system.forge_api import Answer, Api, Unreached, ask


class Question(Struct, frozen=True, kw_only=True):
    """A request: `what` it is to do, for people; the path below the repository's API; which statuses are `good`."""

    what: str
    path: str
    method: str = "GET"
    document: Any = None
    good: tuple[int, ...] = (200,)


def answer_of(api: Api, question: Question) -> Answer:
    """The answer to a question. Raises ToolError for any other status."""
    try:
        answer = ask(api, question.path, method=question.method, document=question.document)
    except Unreached as error:
        raise ToolError(f"{api.host} does not answer ({error})", remedy="run the same command again later") from None
    if answer.code not in question.good:
        raise unexpected(api.host, question.what, answer.code, answer.document)
    return answer


def unexpected(host: str, what: str, code: int, document: object) -> ToolError:
    """What is said of a refusal: the server's own words, where it has some."""
    said = document.get("message") or document.get("error") if isinstance(document, dict) else None
    words = f", {said!s:.200}" if said else ""
    remedies = {
        401: "look whether the token is still valid",
        403: "the token needs the right to write releases (GitHub: contents: write)",
        404: "look whether the token may see the repository, and whether that is its name",
    }
    return ToolError(
        f"{host} says {code} to: {what}{words}", remedy=remedies.get(code, "run the same command again later")
    )
