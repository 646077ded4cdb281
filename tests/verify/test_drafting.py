"""Answers that something else drafts, and that base + adapter proves."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest
from tagship.verify.drafting import ROUNDS, follow_answers, memory_beside
from tagship.verify.questions import Questions

from tests.verify.models import Told

QUESTIONS = Questions(prompts=("why?",), max_tokens=9)
# After the prompt, which ends with 5: 1 2 3 0.
ITSELF = {5: 1, 1: 2, 2: 3, 3: 0}


@dataclass
class WrongAt(Told):
    """Drafts answers that say 1 all the time, but for some tokens."""

    wrong: Collection[int] = ()

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        self.asked.append(most)
        begun = [len(prompt) - 2 for prompt in prompts]
        return [[1 + (place in self.wrong) for place in range(start, start + most)] for start in begun]


@pytest.mark.parametrize(
    ("drafts", "rounds"),
    [
        (ITSELF, 1),  # a draft that is the answer
        ({5: 1, 1: 2, 2: 4, 4: 4}, 2),  # one that leaves it
        ({5: 2, 2: 2}, 4),  # one that is always wrong
        ({5: 0}, 4),  # one that ends at once
    ],
)
def test_answer_is_the_model_s_own(drafts: dict[int, int], rounds: int) -> None:
    """Whatever the drafts say, the answer is the greedy one of the model itself."""
    drafter = Told(after=drafts)
    (answer,) = follow_answers(Told(after=ITSELF), drafter, QUESTIONS, 9)
    assert (answer.ids, answer.ended, answer.text) == ((1, 2, 3, 0), True, "1 2 3 0")
    assert len(drafter.asked) == rounds


def test_no_more_tokens_than_asked_for() -> None:
    """An answer that does not end is cut, also in the midst of a draft that is right."""
    for most in (1, 2, 5):
        (answer,) = follow_answers(Told(after={5: 1, 1: 1}), Told(after={5: 1, 1: 1}), QUESTIONS, most)
        assert (answer.ids, answer.ended) == ((1,) * most, False)


@pytest.mark.parametrize("rounds", [4, ROUNDS])
def test_rounds_are_bounded(rounds: int) -> None:
    """An answer that no draft is right about is followed for some tokens, and is what it says it is."""
    (answer,) = follow_answers(Told(), WrongAt(wrong=range(128)), QUESTIONS, 30, rounds=rounds)
    assert (answer.ids, answer.ended) == ((1,) * rounds, False)


@pytest.mark.parametrize(
    ("wrong", "lengths"),
    [
        ((), [32, 64, 30]),  # after each draft the model says one more token itself
        (range(3, 128, 4), [32, 8, 8, 8]),
        ((19, 25), [32, 32, 12, 32, 56]),
    ],
)
def test_length_of_drafts(wrong: Collection[int], lengths: list[int]) -> None:
    """What is drafted behind a wrong token is for nothing, and so is a round that could have been part of another one:
    drafts are twice as long as those before were right, and longer than usual only after one that was right as a
    whole."""
    drafter = WrongAt(wrong=wrong)
    (answer,) = follow_answers(Told(), drafter, QUESTIONS, 128)
    assert answer.ids == (1,) * len(answer.ids)
    assert drafter.asked[: len(lengths)] == lengths


def test_answers_of_its_own() -> None:
    """A model never leaves what it writes for itself."""
    reference = Told()
    (answer,) = follow_answers(reference, reference, QUESTIONS, 128)
    assert (answer.ids, reference.asked) == ((1,) * 128, [128])


def test_several_answers() -> None:
    """Each ends by itself; drafts are asked for of those that go on."""
    reference = Told(after=ITSELF | {4: 3}, reads={"a": (5,), "b": (4,)})
    drafter = Told(after=ITSELF | {2: 5, 4: 3})
    questions = Questions(prompts=("a", "b"), max_tokens=9)
    answers = follow_answers(reference, drafter, questions, 9)
    assert [answer.ids for answer in answers] == [(1, 2, 3, 0), (3, 0)]
    assert [answer.asked.prompt for answer in answers] == ["<a>", "<b>"]


PHI3 = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_size": 3072}
LLAMA = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        (PHI3, 32 * 32 * 96),
        (LLAMA, 32 * 8 * 128),
        (LLAMA | {"head_dim": 64}, 32 * 8 * 64),
        ({"text_config": LLAMA}, 32 * 8 * 128),
        ({"num_hidden_layers": 32, "num_attention_heads": [8, 4]}, 0),
        ({}, 0),
    ],
)
def test_memory_beside(config: dict[str, object], keys: int) -> None:
    """It grows with the adapter, and with the keys and values of a token: those of a model of Phi-3's shape with 8.1B
    and its adapter took 0.8 GiB of 7, and the libraries as much, so that a draft of 5.2 was read from the disk for each
    token."""
    assert memory_beside(config, 1000) == (1 << 30) + 4000 + 2 * 2 * 512 * keys
