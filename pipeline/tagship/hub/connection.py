"""The Hub that a release talks to: the real one, another server, or the embedded one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tagship.policy.config import EMBEDDED

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class Hub:
    """A client of one Hub, made when it is first asked for: until then nothing is started, and no
    file is written."""

    def __init__(self, connect: "Callable[[], HfApi]", *, embedded: bool, has_repos: bool = True) -> None:
        self._connect = connect
        self.embedded = embedded
        self.has_repos = has_repos  # False where an embedded Hub was never published to: no need to start it

    @cached_property
    def api(self) -> "HfApi":
        """The client."""
        return self._connect()

    @property
    def url(self) -> str:
        """The Hub's address, without a slash at the end."""
        return str(self.api.endpoint)


@contextmanager
def open_hub(endpoint: str, namespace: str, root: Path) -> Iterator[Hub]:
    """The Hub of an endpoint. The embedded one keeps its files in `root`, takes a free port, and
    stops when the block ends.

    The token is the one that `hf auth login` stored, or HF_TOKEN; the embedded Hub gets none.
    """
    with ExitStack() as stack:

        def connect() -> "HfApi":
            from huggingface_hub import HfApi
            from huggingface_hub.utils import disable_progress_bars

            disable_progress_bars()  # ours is the one that people see
            if endpoint != EMBEDDED:
                return HfApi(endpoint=endpoint, library_name="tagship")
            from tagship.hub_server.app import EmbeddedHub

            server = stack.enter_context(EmbeddedHub(root=root, namespace=namespace))
            return HfApi(endpoint=server.url, token=False, library_name="tagship")

        yield Hub(connect, embedded=endpoint == EMBEDDED, has_repos=endpoint != EMBEDDED or root.is_dir())
