"""What goes wrong between this machine and a Hub, as a message that says what was being done and what to do next.

Whatever the client raises, its storage's part in another language too, is an answer of somebody else: none of it is a
bug of ours, and the same command goes on once it is mended. What our own code raises stays what it is.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from tagship.system.disk import why
from tagship.system.errors import ReleaseError, ToolError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

GOES_ON = "the same command goes on where this one stopped"
_OWN = __name__.partition(".")[0]
# What the storage's client says of an answer, which it knows as text alone.
_STATUS = re.compile(r"\(([45]\d\d) [A-Z]")
# What these mean is known also where nothing is said beside.
_KNOWN = (401, 403, 408, 409, 412, 429)


@contextmanager
def hub_errors(doing: str) -> Iterator[None]:
    """Turn what the Hub's client raises into ToolError that says what was being done. What this package's own code
    raises in the block passes."""
    from httpx2 import HTTPError

    try:
        yield
    except ReleaseError:
        raise
    except HTTPError as error:  # our own client gives up by raising one
        raise _told(doing, error) from error
    except Exception as error:
        if _is_own(error.__traceback__):
            raise
        raise _told(doing, error) from error
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":  # a panic of what is written in Rust is no Exception
            raise
        raise _told(doing, error) from error


def status_of(error: BaseException) -> int | None:
    """The status of the answer that a ToolError came of; None where there was none."""
    response = getattr(error.__cause__, "response", None)
    return getattr(response, "status_code", None)


def _told(doing: str, error: BaseException) -> ToolError:
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OIDCError

    if isinstance(error, RuntimeError) and error.__cause__:  # "Error while uploading …"
        return _told(doing, error.__cause__)
    if isinstance(error, HfHubHTTPError):
        return ToolError(f"the Hub refused to {doing}: {first_line(error)}", remedy=_remedy_of(error))
    if isinstance(error, HTTPError):
        return _unreachable(doing, error)
    said = first_line(error)
    if isinstance(error, OIDCError):
        return ToolError(
            f"this job has no identity that the Hub takes, to {doing}: {said}",
            remedy="GitHub: permissions: id-token: write; GitLab: id_tokens: HF_OIDC_ID_TOKEN, with the address of the "
            "Hub as aud; or unset HF_OIDC_RESOURCE, and set HF_TOKEN",
        )
    if isinstance(error, HFValidationError):
        return ToolError(f"that is no repository, to {doing}: {said}", remedy="name it as namespace/name")
    if isinstance(error, OSError) and (reason := why(error)):
        where = f" ({error.filename})" if error.filename else ""
        return ToolError(
            f"{reason}{where}, so this could not be done: {doing}",
            remedy=f"free some, or point HF_HOME at another disk; {GOES_ON}",
        )
    if found := _STATUS.search(said):
        status = int(found[1])
        return ToolError(f"the Hub's storage refused to {doing}: {said}", remedy=_remedy(status))
    if isinstance(error, OSError):
        return _unreachable(doing, error)
    return ToolError(
        f"what the Hub answered could not be read, to {doing}: {type(error).__name__}: {said}",
        remedy=f"see that [hub] endpoint is a Hub, and no proxy answers in its place; {GOES_ON}",
    )


def _unreachable(doing: str, error: BaseException) -> ToolError:
    return ToolError(
        f"the Hub could not be reached to {doing}: {first_line(error)}",
        remedy=f"check the network and [hub] endpoint; {GOES_ON}",
    )


def _remedy_of(error: "HfHubHTTPError") -> str:
    """What mends a refusal: of one that a Hub gave no reason for it is to be asked whether that was a Hub."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    if isinstance(error, RepositoryNotFoundError) and status == 404:  # the client calls some 401 so, too
        return "see that the name is right, namespace/name, and, where the repo is private, that the token may read it"
    if isinstance(error, RevisionNotFoundError):
        return "see that the name of the tag or branch is right"
    if 400 <= status < 500 and status not in _KNOWN and not error.server_message:
        host = error.response.url.host
        return f"{host} says no more than that, as what is no Hub would: see [hub] endpoint and HF_ENDPOINT; {GOES_ON}"
    return _remedy(status)


def _remedy(status: int) -> str:
    """What mends an answer of this status."""
    if status in (401, 403):
        return f"see that the token may do this, and that storage is left (the Hub's settings page); then {GOES_ON}"
    if status in (409, 412):
        return f"somebody else changed the repo meanwhile: look at it, then {GOES_ON}"
    if status == 429:
        return f"the Hub limits how often it is asked: wait for some minutes, then {GOES_ON}"
    if status == 507:
        return f"free some room where the Hub keeps its files; {GOES_ON}"
    if status >= 500 or status == 408:
        return f"the Hub has trouble of its own (https://status.huggingface.co for that one); later {GOES_ON}"
    return f"when that is mended, {GOES_ON}"


def _is_own(trace: TracebackType | None) -> bool:
    """Whether it was raised by this package itself, not by what it called."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == _OWN


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    # The Hub's own words, where there are any, say more than the client's, which name the status and the URL.
    said = getattr(error, "server_message", None)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if said:
        said = " ".join(str(said).split())[:300]
        return f"{said} ({status})" if status else said
    # The client appends the request's id and links; the first line with text says what is wrong.
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
