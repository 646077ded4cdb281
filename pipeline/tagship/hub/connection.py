"""The Hub that a release talks to: the real one, another server, or the embedded one."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.hub.keyless import Identity, identity_of_job
from tagship.hub.served import SERVED
from tagship.policy.config import EMBEDDED
from tagship.system.errors import ReleaseError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# The part of the client that sends large files has limits of its own: by these it gives up within some minutes in place
# of a quarter of an hour. What it reads has to last for a piece of 64 MiB on a slow line.
_STORAGE = {
    "HF_XET_CLIENT_CONNECT_TIMEOUT": "10s",
    "HF_XET_CLIENT_READ_TIMEOUT": "90s",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3",
    "HF_XET_CLIENT_RETRY_MAX_DURATION": "60s",
}


def _unheard(text: str) -> None:
    """Nobody is told."""


@lru_cache(maxsize=1)  # what is said once holds for the process
def be_patient(notice: Callable[[str], None] = _unheard) -> None:
    """Have huggingface_hub send everything, from now on, as hub/patience.py says; `notice` is told of long waits."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import disable_progress_bars

    from tagship.hub.http_client import make_client

    disable_progress_bars()  # ours is the one that people see
    set_client_factory(partial(make_client, notice))
    for name, value in _STORAGE.items():
        os.environ.setdefault(name, value)


class Hub:
    """A client of one Hub, made when it is first asked for: until then nothing is started, and no
    file is written. With an `identity` it has no token but those that this got."""

    def __init__(
        self,
        connect: "Callable[[], HfApi]",
        *,
        embedded: bool,
        has_repos: bool = True,
        notice: "Callable[[str], None] | None" = None,
        identity: Identity | None = None,
    ) -> None:
        self._connect = connect
        self.identity = identity
        self._notice = notice or _unheard
        self.embedded = embedded
        self.has_repos = has_repos  # False where an embedded Hub was never published to: no need to start it

    @cached_property
    def _connected(self) -> "HfApi":
        return self._connect()

    @property
    def api(self) -> "HfApi":
        """The client, for what belongs to no one repo. Raises NotTrusted for an identity that the Hub does not know,
        ToolError when it does not answer."""
        connected = self._connected  # which also makes it patient
        return self.identity.client() if self.identity else connected

    def of(self, repo_id: str) -> "HfApi":
        """The client that may write to a repo. Raises as `api`."""
        connected = self._connected
        return self.identity.writing(repo_id) if self.identity else connected

    def reading(self, repo_id: str) -> "HfApi":
        """The client that reads a repo. Raises ToolError when the Hub does not answer."""
        connected = self._connected
        return self.identity.reading(repo_id) if self.identity else connected

    def other(self, endpoint: str) -> "HfApi":
        """A client of another Hub. Raises ReleaseError as `open_hub`'s does."""
        be_patient(self._notice)
        return _client(endpoint)

    @property
    def url(self) -> str:
        """The Hub's address, without a slash at the end."""
        return str(self._connected.endpoint)

    def lasting(self, address: str) -> str:
        """An address on the Hub as it is once this command has ended: the embedded one is then where `hub` opens it."""
        return address.replace(self.url, SERVED, 1) if self.embedded else address


@contextmanager
def open_hub(endpoint: str, namespace: str, root: Path, notice: Callable[[str], None] = _unheard) -> Iterator[Hub]:
    """The Hub of an endpoint. The embedded one keeps its files in `root`, takes a free port, and
    stops when the block ends. `notice` is told of long waits.

    The token is the one that `hf auth login` stored, or HF_TOKEN, or, where HF_OIDC_RESOURCE is set, what each repo
    gives this job (hub/keyless.py); the embedded Hub gets none. Its client, when it is first asked for, raises
    ReleaseError for a token that can be none.
    """
    with ExitStack() as stack:
        identity = None if endpoint == EMBEDDED else stack.enter_context(identity_of_job(endpoint))

        def connect() -> "HfApi":
            from huggingface_hub import HfApi

            be_patient(notice)
            if identity:
                return HfApi(endpoint=endpoint, token=False, library_name="tagship")
            if endpoint != EMBEDDED:
                return _client(endpoint)
            from tagship.hub_server.app import EmbeddedHub

            server = stack.enter_context(EmbeddedHub(root=root, namespace=namespace))
            return HfApi(endpoint=server.url, token=False, library_name="tagship")

        has_repos = endpoint != EMBEDDED or root.is_dir()
        yield Hub(connect, embedded=endpoint == EMBEDDED, has_repos=has_repos, notice=notice, identity=identity)


def _client(endpoint: str) -> "HfApi":
    from huggingface_hub import HfApi

    _check_token()
    return HfApi(endpoint=endpoint, library_name="tagship")


def _check_token() -> None:
    """Raise ReleaseError for a token that cannot stand in a request: what it has is not repeated."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = get_token() or ""
    except OIDCError:  # told by the request that wants it
        return
    except ValueError:  # a file that is no text
        token = " "
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ReleaseError(
            "the token of the Hub has characters that no token has: spaces, line ends, or letters beyond ASCII",
            remedy="copy it once more into HF_TOKEN, without quotes, or run hf auth login again",
        )
