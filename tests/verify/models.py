"""Models that say what they are told to, in this process."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tagship.verify.questions import Answer, Asked, Questions, Tokens
from tagship.verify.runtimes.protocol import Model

Array = np.ndarray[Any, np.dtype[np.float32]]
COLUMNS = 6


@dataclass
class Told(Model):
    """A model over a few tokens. `after` is which token it finds the likeliest after each, `other` how likely it finds
    each of the others; `logits` are its rows in place of those. `reads` are its tokens of prompts."""

    after: dict[int, int] = field(default_factory=dict)
    other: float = 0.01
    logits: Array | None = None
    reads: dict[str, tuple[int, ...]] = field(default_factory=dict)
    stops: tuple[int, ...] = (0,)
    block: int = 3
    asked: list[int] = field(default_factory=list)

    def read(self, questions: Questions) -> tuple[Asked, ...]:
        return tuple(Asked(prompt=f"<{prompt}>", ids=self.reads.get(prompt, (4, 5))) for prompt in questions.prompts)

    def rows(self, sequences: Sequence[Tokens]) -> Iterator[Array]:
        before = [token for sequence in sequences for token in sequence.ids[sequence.since - 1 : -1]]
        rows = np.array([self._row(token) for token in before], np.float32).reshape(-1, COLUMNS)
        if self.logits is not None:
            rows = self.logits
        for start in range(0, len(rows), self.block):
            yield rows[start : start + self.block]

    def _row(self, token: int) -> Array:
        likely = np.full(COLUMNS, self.other)
        likely[self.after.get(token, 1)] = 1 - (COLUMNS - 1) * self.other
        return np.log(likely).astype(np.float32)

    def ends(self, tokens: Collection[int]) -> Collection[int]:
        return set(tokens) & set(self.stops)

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        self.asked.append(most)
        return [self._answer(prompt[-1], most) for prompt in prompts]

    def _answer(self, last: int, most: int) -> list[int]:
        answer: list[int] = []
        while len(answer) < most and last not in self.stops:
            last = self.after.get(last, 1)
            answer.append(last)
        return answer


def answered(*ids: int, prompt: tuple[int, ...] = (4, 5), ended: bool = False) -> Answer:
    """The answer of these tokens to a prompt."""
    asked = Asked(prompt="<why?>", ids=prompt)
    return Answer(asked=asked, ids=ids, text=" ".join(map(str, ids)), ended=ended)
