"""The greedy answers of base + adapter: drafted by what writes them cheaply, proven by a pass over the draft.

A model that is read from its files for each token takes hours for one that is read once for all. So something faster
writes a draft; one pass of base + adapter along it shows, at each token, what itself would have said. Up to where it
says something else the draft is its own answer, word by word; from there on the draft is written anew.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tagship.verify.questions import Answer, Answers, Asked, Questions, Tokens
from tagship.verify.runtimes.protocol import Model
from tagship.weights.text_config import text_config

# Tokens of a draft: a quantized model leaves the other every 6 (random weights, seventy layers) to 200 tokens, and what
# it writes from there on is for nothing, as is proving it; but each round reads the other's weights once, which is dear
# where they come from the disk (docs/design.md). So drafts are twice as long as what was right of those before: not
# shorter than the least, and longer than the usual only where all of them were right.
_LEAST_DRAFT, _DRAFT = 8, 32
# How many drafts of an answer there are at most.
ROUNDS = 18
# What the processes of both models take beside weights that are mapped, and what grows with those: libraries,
# activations and logits. And as many tokens as have keys and values meanwhile, in float16.
_BESIDE, _TOKENS = 1 << 30, 512

FirstPass = Callable[[Sequence[Tokens]], None]


def memory_beside(config: Mapping[str, Any], adapter: int) -> int:
    """The bytes that drafting takes beside the weights of both models, which are mapped: of a model with this
    configuration, and an adapter of so many numbers, which PEFT holds in float32. A draft that does not fit beside them
    is read from the disk for each token."""
    return _BESIDE + 4 * adapter + 4 * _TOKENS * _width_of_keys(config)


def _width_of_keys(config: Mapping[str, Any]) -> int:
    """How many numbers the keys of a token have, in all layers; values are as many. 0 where the configuration does not
    say it in one number for all layers."""
    text = text_config(config)
    heads = text.get("num_attention_heads")
    head = text.get("head_dim")
    if head is None and type(heads) is int and heads > 0 and type(width := text.get("hidden_size")) is int:
        head = width // heads
    keys = 1
    for number in (text.get("num_hidden_layers"), text.get("num_key_value_heads") or heads, head):
        keys *= number if type(number) is int and number > 0 else 0
    return keys


class _Followed(Struct):
    """An answer as far as it is known to be the model's own."""

    asked: Asked
    ids: list[int]
    ended: bool = False

    @property
    def so_far(self) -> tuple[int, ...]:
        return (*self.asked.ids, *self.ids)


def follow_answers(
    reference: Model,
    drafter: Model,
    questions: Questions,
    most: int,
    *,
    rounds: int = ROUNDS,
    first_pass: FirstPass | None = None,
) -> Answers:
    """The greedy answers of `reference`, by drafts of `drafter`, which has the same tokens: each up to `most` tokens,
    or as far as so many rounds of drafts go. `first_pass` is told what the first pass over the reference reads, and may
    have more read in it. Raises what running them raises."""
    answers = [_Followed(asked, []) for asked in reference.read(questions)]
    longest = most if drafter is reference else _DRAFT  # its own it never leaves
    for _ in range(rounds):
        going_on = [answer for answer in answers if not answer.ended and len(answer.ids) < most]
        if not going_on:
            break
        length = min(longest, most - min(len(answer.ids) for answer in going_on))
        drafts = drafter.generate([answer.so_far for answer in going_on], length)
        drafts = [draft[: most - len(answer.ids)] for answer, draft in zip(going_on, drafts, strict=True)]
        sequences = [
            Tokens(ids=(*answer.so_far, *draft), since=len(answer.so_far))
            for answer, draft in zip(going_on, drafts, strict=True)
        ]
        if first_pass is not None:
            first_pass(sequences)
            first_pass = None
        _prove(reference, going_on, sequences, most)
        right = [len(answer.so_far) - sequence.since for answer, sequence in zip(going_on, sequences, strict=True)]
        longest = _next_length(longest, right, drafts)
    return tuple(
        Answer(asked=answer.asked, ids=tuple(answer.ids), text=reference.text(answer.ids), ended=answer.ended)
        for answer in answers
    )


def _next_length(length: int, right: Sequence[int], drafts: Sequence[Sequence[int]]) -> int:
    """How long drafts are to be after some of such a length; of each so many tokens were right, with the one after the
    last of those."""
    if all(known > len(draft) for known, draft in zip(right, drafts, strict=True)):
        return max(_DRAFT, 2 * length)
    return min(_DRAFT, max(_LEAST_DRAFT, 2 * sum(right) // len(right)))


def _prove(reference: Model, answers: Sequence[_Followed], sequences: Sequence[Tokens], most: int) -> None:
    """Take over what of each draft, which follows its answer, the reference says too, and its own next token."""
    said = reference.greedy(sequences)
    ending = reference.ends({token for tokens in said for token in tokens})
    for answer, sequence, own in zip(answers, sequences, said, strict=True):
        draft = sequence.looked_at
        for place, token in enumerate(own):
            if len(answer.ids) == most:
                break
            answer.ids.append(token)
            answer.ended = token in ending
            if answer.ended or place == len(draft) or draft[place] != token:
                break
