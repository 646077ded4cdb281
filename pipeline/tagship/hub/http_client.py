"""The HTTP client of every call to a Hub: it asks again where that may help, as hub/patience.py says how long."""

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from time import monotonic, sleep, time
from typing import Any

import httpx2
from msgspec.structs import replace

from tagship.hub.patience import Patience, current

Notice = Callable[[str], None]

# 500 is what proxies and overloaded servers answer, too.
_ASKED_AGAIN = (408, 429, 500, 502, 503, 504)
_DROPPED = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)
_READS = ("GET", "HEAD", "OPTIONS")
# A wait that is shorter than this, in seconds, is not worth a line; a limit that is, not worth a second attempt.
_SHORT = _BRIEF = 5.0


class Unanswered(httpx2.TransportError):
    """Nobody answered, however often it was tried. The client's own functions do not take it for what to try again."""


class PatientClient(httpx2.Client):
    """The client that huggingface_hub sends everything with; `notice` is told of waits that people wonder at."""

    def __init__(self, notice: Notice, **options: Any) -> None:
        super().__init__(**options)
        self._notice = notice

    def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request, again where that may help. Raises Unanswered, HfHubHTTPError for the last answer of a server
        that has trouble, and what httpx raises."""
        patience = _limit(request, current())
        attempts = _Attempts(patience, repeatable=isinstance(request.stream, httpx2.ByteStream))
        while True:
            try:
                response = super().send(request, stream=stream, **options)
            except _DROPPED as error:
                wait = attempts.pause(None)
                if wait is None and not attempts.repeatable:
                    raise  # whoever has the file that is sent winds it back, and tries again
                if wait is None:
                    raise Unanswered(_said(error, request), request=request) from error
                if attempts.lasts:
                    self._notice(f"{_said(error, request)}: asked again in {wait:.0f} seconds")
            else:
                if response.status_code not in _ASKED_AGAIN:
                    return response
                asked = asked_for(response)
                wait = attempts.pause(asked)
                if wait is None and not attempts.repeatable and (asked or 0) <= _SHORT:
                    return response
                if wait is None:
                    _raise_for(response)
                response.close()
                if wait and wait >= _SHORT:
                    self._notice(f"{request.url.host} asks to wait ({response.status_code}): {wait:.0f} seconds")
            sleep(wait or 0)


class _Attempts:
    """How often a request was sent, since when, and how long was waited because the server asked for it."""

    def __init__(self, patience: Patience, *, repeatable: bool) -> None:
        self.repeatable = repeatable
        self._patience = patience
        self._number, self._began, self._asked = 1, monotonic(), 0.0

    @property
    def lasts(self) -> bool:
        """Whether nobody has answered for longer than people wait without a word."""
        return monotonic() - self._began - self._asked >= _SHORT

    def pause(self, asked: float | None) -> float | None:
        """The seconds until the next attempt, where there is one. `asked` is what the server wants, if it said so."""
        patience, number = self._patience, self._number
        self._number += 1
        if not self.repeatable or number >= patience.attempts:
            return None
        if asked is not None:
            self._asked += asked
            return asked if self._asked <= patience.asked else None
        pause = float(2 ** (number - 1))
        spent = monotonic() - self._began - self._asked
        return pause if spent + pause <= patience.again else None


def asked_for(response: httpx2.Response) -> float | None:
    """The seconds that a server asks to wait before the next request, by RateLimit or Retry-After; None where it does
    not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None


def make_client(notice: Notice) -> httpx2.Client:
    """The client of huggingface_hub, patient: for its `set_client_factory`."""
    from huggingface_hub.utils._http import hf_request_event_hook  # what its own client is made with

    return PatientClient(notice, event_hooks={"request": [hf_request_event_hook]}, follow_redirects=True)


def _limit(request: httpx2.Request, patience: Patience) -> Patience:
    """Give each wait of a request an end, where its caller gave it none, or a later one than now is had. Returns the
    patience with it: where the caller has little of its own, it wants one answer or none."""
    answer = patience.read if request.method in _READS else patience.write
    mine = {"connect": patience.connect, "read": answer, "write": patience.write, "pool": patience.write}
    said = request.extensions.get("timeout", {})
    limits = {name: min(filter(None, (said.get(name), most))) for name, most in mine.items()}
    request.extensions = {**request.extensions, "timeout": limits}
    return replace(patience, attempts=1) if limits["read"] < _BRIEF else patience


def _said(error: Exception, request: httpx2.Request) -> str:
    what = "did not answer in time" if isinstance(error, httpx2.TimeoutException) else str(error) or "hung up"
    return f"{request.url.host}: {what}"


def _raise_for(response: httpx2.Response) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    response.read()
    hf_raise_for_status(response)
