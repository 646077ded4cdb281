"""The Hub that a release talks to: the real one, another server, or the embedded one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import EMBEDDED

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUGGING_FACE = "https://huggingface.co"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A client of one Hub. `root` is where the embedded Hub keeps its files, else None."""

    api: "HfApi"
    url: str
    root: Path | None = None

    @property
    def embedded(self) -> bool:
        return self.root is not None


@contextmanager
def open_hub(endpoint: str, namespace: str, root: Path) -> Iterator[Hub]:
    """A client for an endpoint; the embedded Hub starts with it, on a free port, and stops with it.

    Reads the token that `hf auth login` stored or HF_TOKEN has. No network is used yet.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # ours is the one that people see
    if endpoint != EMBEDDED:
        yield Hub(api=HfApi(endpoint=endpoint, library_name="tagship"), url=endpoint)
        return
    from pipeline.hub.server.app import EmbeddedHub

    with EmbeddedHub(root=root, namespace=namespace) as server:
        # The embedded Hub lets everyone in; a token of the real one has no business there.
        api = HfApi(endpoint=server.url, token=False, library_name="tagship")
        yield Hub(api=api, url=server.url, root=root)
