"""What llama.cpp remembers of texts, so that one that goes on is not read again from its beginning."""

from collections.abc import Sequence
from ctypes import CDLL

from tagship.verify.runtimes.batches import shared_beginning

_ALL = -1


class LlamaMemory:
    """The keys and values of a context, of so many sequences. What was computed is told by `add`."""

    def __init__(self, api: CDLL, memory: int, sequences: int) -> None:
        self._api, self._memory = api, memory
        self._held: list[list[int]] = [[] for _ in range(sequences)]

    def forget(self) -> None:
        """Have nothing of any text."""
        self._api.llama_memory_clear(self._memory, True)
        self._held = [[] for _ in self._held]

    def add(self, sequence: int, token: int) -> None:
        """Note that a sequence goes on with a token."""
        self._held[sequence].append(token)

    def places(self, texts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """For each text, of which there are no more than sequences, the one to compute it in and how many of its tokens
        are there: never all, as the last is asked what follows. All that no text begins with is forgotten."""
        left = list(range(len(self._held)))
        places: list[tuple[int, int]] = []
        for ids in texts:
            shared = {sequence: shared_beginning(ids, self._held[sequence]) for sequence in left}
            best = max(left, key=shared.__getitem__)
            left.remove(best)
            places.append((best, shared[best]))
        if not all(self._cut(sequence, known) for sequence, known in (*places, *((one, 0) for one in left))):
            self.forget()
            return [(sequence, 0) for sequence, _ in places]
        return places

    def _cut(self, sequence: int, known: int) -> bool:
        """Forget all but the first tokens of a sequence. Returns whether it is then as if only those had been read:
        states that are not of one token each, and windows that have moved on, cannot be gone back in."""
        if known == len(self._held[sequence]):
            return True
        if known and self._api.llama_memory_seq_pos_min(self._memory, sequence) != 0:
            return False
        del self._held[sequence][known:]
        return bool(self._api.llama_memory_seq_rm(self._memory, sequence, known, _ALL))
