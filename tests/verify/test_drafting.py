"""Answers that something else drafts, and that base + adapter proves."""

import pytest
from tagship.verify.drafting import follow_answers, memory_beside
from tagship.verify.questions import Questions

from tests.verify.models import Told

QUESTIONS = Questions(prompts=("why?",), max_tokens=9)
# After the prompt, which ends with 5: 1 2 3 0.
ITSELF = {5: 1, 1: 2, 2: 3, 3: 0}


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


def test_rounds_are_bounded() -> None:
    """An answer that no draft is right about is followed for some tokens, and is what it says it is."""
    (answer,) = follow_answers(Told(after={5: 1, 1: 1}), Told(after={5: 2, 1: 2}), QUESTIONS, 30)
    assert answer.ids == (1,) * len(answer.ids) and 1 < len(answer.ids) < 30 and not answer.ended


def test_drafts_are_short() -> None:
    """Not all of a long answer is drafted at once, as a draft is for nothing from where it leaves the answer; what a
    model writes for itself is."""
    for drafter, drafts in ((Told(after={5: 1, 1: 1}), 4), (None, 1)):
        reference = Told(after={5: 1, 1: 1})
        (answer,) = follow_answers(reference, drafter or reference, QUESTIONS, 128)
        assert answer.ids == (1,) * 128
        assert len((drafter or reference).asked) == drafts and max((drafter or reference).asked) <= 128 / drafts + 6


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
    and its adapter took 0.8 GiB of 7, so that a draft of 5.2 was read from the disk for each token."""
    assert memory_beside(config, 1000) == (1 << 29) + 4000 + 2 * 2 * 512 * keys
