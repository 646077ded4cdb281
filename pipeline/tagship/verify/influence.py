"""Does an adapter do anything? A model that answers like its base in every number is its base under another name."""

from collections.abc import Iterable, Sequence
from itertools import takewhile

from tagship.system.errors import ReleaseError
from tagship.verify.comparison import Trial
from tagship.verify.measures import per_token
from tagship.verify.questions import Tokens
from tagship.verify.runtimes.protocol import Model

# Of an answer with its prompt: an adapter that does anything changes every token a little.
_TOKENS = 64
# Nats: what the order of sums makes of the same numbers, which the divergence has squared.
_NOTHING = 1e-11


# As many tokens tell how much the base makes of a difference.
_TOKENS_OF_BASES = 512


def telling(sequences: Iterable[Tokens], rows: int | None) -> Tokens:
    """What tells a trained model from its base: of prompts with drafts of their answers the longest, as far as the base
    has its tokens. That has so many `rows` in its embedding: a token that a run added has none there."""
    known = max((_known(sequence.ids, rows) for sequence in sequences), key=len)
    return Tokens(ids=known[: _TOKENS + 1], since=1)


def check_influence(trained: Model, base: Model, along: Tokens) -> None:
    """Raise ReleaseError for a trained model whose distributions are those of its base, along what is `telling`."""
    if not along.looked_at:
        return
    apart = per_token(trained.rows([along]), base.rows([along]), along.looked_at)
    if float(apart.kl.max()) <= _NOTHING:
        raise ReleaseError(
            f"the adapter changes nothing: over {len(along.looked_at)} tokens base + adapter finds as likely as the "
            "base what comes next",
            remedy="it was saved before it was trained, or with keys that PEFT does not load: save it again with "
            "model.save_pretrained(), from the trained model",
        )


def sequences_known(trial: Trial, rows: int | None) -> list[Tokens]:
    """Of answers and text as much as tells two bases apart, as far as each base has its tokens."""
    some: list[Tokens] = []
    left = _TOKENS_OF_BASES
    for sequence in (*(answer.tokens for answer in trial.answers), *trial.text):
        ids = _known(sequence.ids, rows)[: sequence.since + left]
        if left and len(ids) > sequence.since:
            some.append(Tokens(ids=ids, since=sequence.since))
            left -= len(some[-1].looked_at)
    return some


def mean_kl(expected: Model, given: Model, sequences: Sequence[Tokens]) -> float:
    """How far a model is from another along sequences, in nats."""
    following = [token for sequence in sequences for token in sequence.looked_at]
    return per_token(expected.rows(sequences), given.rows(sequences), following).measured().kl


def _known(ids: tuple[int, ...], rows: int | None) -> tuple[int, ...]:
    return tuple(takewhile(lambda token: rows is None or token < rows, ids))
