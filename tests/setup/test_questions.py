"""What is asked for, and what answers may be."""

from datetime import UTC, datetime

import pytest
from tagship.setup.questions import BASE, NAMESPACE, OF_RUNS, ask_all, options_for, read_said, said_by
from tagship.system.errors import UsageError


def test_said() -> None:
    """Values come as what they are; a time in any of its forms."""
    said = read_said(["dataset=my_data", "epochs=3", "trained=20250914-132416", "base=org/name", "namespace=ada"])
    assert said["epochs"] == 3
    assert said["trained"] == datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC)
    assert read_said(["trained=2025-09-14T15:24:16+02:00"])["trained"] == said["trained"]
    assert read_said(["trained=2025-09-14"])["trained"] == datetime(2025, 9, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("dataset", "--set must be FIELD=VALUE"),
        ("datset=x", "did you mean 'dataset'"),
        ("dataset=my-data", "a hyphen separates fields"),
        ("dataset=", "it is a word"),
        ("epochs=2.5", "it is a whole number"),
        ("epochs=0", "it is a whole number"),
        ("trained=yesterday", "it is a time"),
        ("base=name", "it is organization/name"),
        ("namespace=a b", "namespace cannot be 'a b'"),
        ("license=Apache 2", "it is the Hub's identifier"),
        ("license=apache", "did you mean 'apache-2.0'"),
    ],
)
def test_mistakes(pair: str, told: str) -> None:
    """What cannot be is told with what can."""
    with pytest.raises(UsageError) as mistake:
        read_said([pair])
    assert told in str(mistake.value)


def test_asked() -> None:
    """A person is asked for each in turn, and once more where an answer cannot be."""
    shown: list[str] = []
    answers = iter(["ada\n", "not one word", " recipes \n"])

    def ask(text: str) -> str:
        shown.append(text)
        return next(answers)

    assert ask_all([NAMESPACE, OF_RUNS["dataset"]], ask) == {"namespace": "ada", "dataset": "recipes"}
    assert len(shown) == 3 and "a hyphen separates" in shown[2]


def test_options() -> None:
    """What was answered can be said again; what stands for an answer is none, also where it is pasted as it is."""
    said = read_said(["dataset=recipes", "epochs=3", "trained=20250914-132416"])
    assert read_said(said_by(said)) == said
    placeholders = options_for([NAMESPACE, BASE, *OF_RUNS.values()]).split(" --set ")
    assert placeholders[0] == "--set namespace=…"
    for pair in placeholders:  # pasted as they are
        with pytest.raises(UsageError, match="cannot be '…'"):
            read_said([pair.removeprefix("--set ")])
