"""Questions to a model, the sequences of tokens that it is asked about, and how far two models may be apart: the common
tongue of runtimes and formats."""

from datetime import datetime

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """How far an export may be from base + adapter, along the same tokens.

    `kl` is the highest mean Kullback-Leibler divergence of the next-token distributions, in nats; `top1` the lowest
    share of tokens where both find the same one the likeliest, of as many tokens as a language has; `same_tokens` asks
    for equal greedy answers, but for ties. `key` is the table of release.toml that sets others, where there is one.
    """

    kl: float
    same_tokens: bool
    top1: float = 0.0
    key: str | None = None

    def top1_of(self, tokens: int) -> float:
        """The lowest share among so few tokens: two standard errors less, which is what chance makes of an export that
        is just at the limit."""
        return max(0.0, self.top1 - 2 * (self.top1 * (1 - self.top1) / tokens) ** 0.5)


class Questions(Struct, frozen=True, kw_only=True):
    """What is asked: `prompts` are people's messages, each rendered by the model's chat template, where it has one, and
    answered with at most `max_tokens`. `moment` is the time that a template is told which writes one; None for now."""

    prompts: tuple[str, ...]
    max_tokens: int
    moment: datetime | None = None


class Asked(Struct, frozen=True, kw_only=True):
    """A question as a model reads it: the `prompt` that its chat template makes of it, and the tokens of that."""

    prompt: str
    ids: tuple[int, ...]


class Tokens(Struct, frozen=True, kw_only=True):
    """A sequence of tokens of which those from `since` on are looked at: how likely each of them is after all before
    it. `since` is at least 1."""

    ids: tuple[int, ...]
    since: int

    @property
    def looked_at(self) -> tuple[int, ...]:
        """The tokens themselves."""
        return self.ids[self.since :]


class Answer(Struct, frozen=True, kw_only=True):
    """The greedy answer of base + adapter to a question, as far as it was followed.

    `ids` are its tokens with the one that ended it, `text` what it says, `ended` is whether it ended by itself.
    """

    asked: Asked
    ids: tuple[int, ...]
    text: str
    ended: bool

    @property
    def tokens(self) -> Tokens:
        """The question with the answer, of which the answer is looked at."""
        return Tokens(ids=self.asked.ids + self.ids, since=len(self.asked.ids))


Answers = tuple[Answer, ...]
