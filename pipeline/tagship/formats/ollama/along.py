"""How far GGUFs of one model are from its unquantized one along the same tokens, in llama.cpp."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tagship.system.errors import ReleaseError
from tagship.verify.evidence import Measured
from tagship.verify.measures import per_token
from tagship.verify.questions import Tokens
from tagship.verify.runtimes.protocol import Subject
from tagship.verify.runtimes.registry import find_runtime

_RUNTIME = "llama_cpp"
_BYTES = 4  # of a logit


class Along:
    """What the unquantized model says along some texts: kept in a file, as each comparison needs all of it."""

    def __init__(self, unquantized: Path, texts: Sequence[Tokens], folder: Path) -> None:
        self._texts = texts
        self._said = folder / f"{unquantized.stem}-{len(list(folder.glob('*.logits')))}.logits"
        self._columns = 0
        with self._said.open("wb") as file:
            for rows in _rows(unquantized, texts):
                self._columns = rows.shape[1]
                file.write(np.ascontiguousarray(rows, np.float32).data)

    def measured(self, gguf: Path) -> Measured:
        """How far a GGUF is from it. Raises ReleaseError for one that computes what is no number."""
        following = [token for text in self._texts for token in text.looked_at]
        found = per_token(self._blocks(), _rows(gguf, self._texts), following).measured()
        if not np.isfinite(found.kl):
            raise ReleaseError(
                "a model computes what is no number once it is quantized",
                remedy="look at the adapter, or leave [formats.ollama.mixes] out",
            )
        return found

    def _blocks(self) -> Iterator[Any]:
        logits = np.memmap(self._said, np.float32, "r").reshape(-1, self._columns)
        step = max(1, (8 << 20) // (_BYTES * self._columns))
        for start in range(0, len(logits), step):
            yield logits[start : start + step]


def bytes_along(tokens: int, vocabulary: int) -> int:
    """What the disk holds meanwhile."""
    return tokens * vocabulary * _BYTES


def _rows(gguf: Path, texts: Sequence[Tokens]) -> Iterator[Any]:
    model = find_runtime(_RUNTIME).load(Subject(what=f"the GGUF {gguf.name}", model=gguf))
    try:
        yield from model.rows(texts)
    finally:
        model.close()
