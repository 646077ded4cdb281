"""How far a download by huggingface_hub is: it tells bars of tqdm, and one that is never shown tells us."""

from typing import Any

from tagship.system.progress import Advance

# What the library calls the bar of the bytes that files have by now; another one is of those that the network brought.
_WRITTEN = "huggingface_hub.snapshot_download"


def counting(advance: Advance) -> type[Any]:
    """A class of bars for `snapshot_download` that call `advance` with the bytes that files have got."""
    from huggingface_hub.utils import tqdm

    class Counting(tqdm):
        def __init__(self, *given: Any, name: str | None = None, **options: Any) -> None:
            self._counts = name == _WRITTEN
            super().__init__(*given, name=name, **options)

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts:
                advance(int(n or 0))
            return super().update(n)

    return Counting
