"""The Hub that a release talks to: the real one, another server, or the embedded one."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.hub.keyless import Identity
from tagship.policy.config import EMBEDDED

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
        """A client of another Hub."""
        from huggingface_hub import HfApi

        be_patient(self._notice)
        return HfApi(endpoint=endpoint, library_name="tagship")

    @property
    def url(self) -> str:
        """The Hub's address, without a slash at the end."""
        return str(self._connected.endpoint)


@contextmanager
def open_hub(endpoint: str, namespace: str, root: Path, notice: Callable[[str], None] = _unheard) -> Iterator[Hub]:
    """The Hub of an endpoint. The embedded one keeps its files in `root`, takes a free port, and
    stops when the block ends. `notice` is told of long waits.

    The token is the one that `hf auth login` stored, or HF_TOKEN, or, where HF_OIDC_RESOURCE is set, what each repo
    gives this job (hub/keyless.py); the embedded Hub gets none.
    """
    with ExitStack() as stack:

        def connect() -> "HfApi":
            from huggingface_hub import HfApi

            be_patient(notice)
            if endpoint != EMBEDDED:
                return HfApi(endpoint=endpoint, library_name="tagship")
            from tagship.hub_server.app import EmbeddedHub

            server = stack.enter_context(EmbeddedHub(root=root, namespace=namespace))
            return HfApi(endpoint=server.url, token=False, library_name="tagship")

        identity = None if endpoint == EMBEDDED else Identity.of_environment(endpoint)
        has_repos = endpoint != EMBEDDED or root.is_dir()
        yield Hub(connect, embedded=endpoint == EMBEDDED, has_repos=has_repos, notice=notice, identity=identity)
