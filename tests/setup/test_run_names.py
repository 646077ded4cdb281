"""How somebody names runs, learned from the names of their folders."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tagship.setup.run_names import Learned, Named, date_in, learn

PHI3 = "microsoft/Phi-3-mini-4k-instruct"


def named(name: str, *, base: str = PHI3, **fields: Any) -> Named:
    """A run with rank 16 and alpha 32."""
    return Named(name=name, fields={"rank": 16, "alpha": 32, **fields}, base=base)


def learned(*names: Named, **options: bool) -> Learned:
    """What is learned, which must be something."""
    found = learn(names, **options)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "pattern", "repo"),
    [
        (
            "phi3mini4k-minimal-r16-a32-e20-20250914-132416",
            "{base}-{dataset}-r{rank}-a{alpha}-e{epochs}-{trained:%Y%m%d-%H%M%S}",
            "{base}-{dataset}",
        ),
        ("medbot_r16_2025-09-14", "{name}_r{rank}_{trained:%Y-%m-%d}", "{name}"),
        (
            "Phi-3-mini-4k-instruct-recipes-r16",
            "Phi-3-mini-4k-instruct-{dataset}-r{rank}",
            "Phi-3-mini-4k-instruct-{dataset}",
        ),
        ("Phi-3-mini-4k-instruct-r16", "Phi-3-mini-4k-instruct-r{rank}", "Phi-3-mini-4k-instruct"),
        ("my-nice-model-rank16", "my-nice-model-rank{rank}", "my-nice-model"),
        ("phi3-r16a32", "{base}-r{rank}a{alpha}", "{base}"),
        (
            "phi3-recipes-lora16-20250914T132416",
            "{base}-{dataset}-lora{rank}-{trained:%Y%m%dT%H%M%S}",
            "{base}-{dataset}",
        ),
        ("bot-20250914", "{name}-{trained:%Y%m%d}", "{name}"),
        ("run-epochs3-r16", "{name}-epochs{epochs}-r{rank}", "{name}"),
    ],
)
def test_patterns(name: str, pattern: str, repo: str) -> None:
    """What the adapter tells is found in the name, and dates; what is before them is a base, a word, or text."""
    found = learned(named(name))
    assert (found.pattern, found.repo) == (pattern, repo)
    assert found.read(name) is not None


@pytest.mark.parametrize("name", ["checkpoint-40", "run1", "final", "phi3-r8-a64", "adapter-20251399", ""])
def test_names_that_tell_nothing(name: str) -> None:
    """A number that is not the adapter's, or no date, is not taken for one."""
    assert learn([named(name)]) is None


def test_the_word_for_a_base() -> None:
    """The beginning of the base's name is a word for it, whatever base it is a folder of."""
    assert learned(named("phi3-minimal-r16")).short_base == "phi3"
    assert learned(named("tiny_x-minimal-r16", base="models/tiny_x_1b")).short_base == "tiny_x"
    assert learned(named("ph-minimal-r16")).pattern == "ph-minimal-r{rank}"


def test_what_most_names_have() -> None:
    """Of two ways to read a name the one that more of the others have is learned."""
    first, others = named("phi3-recipes-r16"), [named("other-recipes-r16"), named("phi3-recipes-r8", rank=8)]
    assert learned(first, *others).pattern == "{base}-{dataset}-r{rank}"
    # The name says another dataset than the run recorded: its words are no fields.
    assert learned(named("phi3-v2-r16", dataset="recipes")).pattern == "phi3-v2-r{rank}"


def test_names_of_other_folders() -> None:
    """What only the name of a folder around the run tells can be no field of the run's own name."""
    assert learned(named("medbot-r16")).pattern == "{name}-r{rank}"
    assert learned(named("medbot-r16"), names_itself=False).pattern == "medbot-r{rank}"


def test_dates() -> None:
    """The more particular way to write a date is found first, and a number that is none is passed over."""
    found = date_in("a-20250914-132416-b")
    assert found is not None
    assert found[:2] == (datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC), "%Y%m%d-%H%M%S")
    assert date_in("a-99999999-20250914")[1] == "%Y%m%d"  # type: ignore[index]
    assert date_in("a-18990101") is None
