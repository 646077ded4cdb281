"""What people get to see of what others wrote."""

import io
import json

import pytest
from tagship.system.console import Console
from tagship.system.shown import ShownOutput, masked, shown, visible, visible_json


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("fix\u202egnp.exe", "fix\\u202egnp.exe"),
        ("\u2066hidden\u2069", "\\u2066hidden\\u2069"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\x9b31m", "\\x9b31m"),
        ("half \ud800", "half \\ud800"),
        ("a\ttab\r\nand a line\n", "a\ttab\nand a line\n"),
        ("שלום\u200f, 世界, é, 👩\u200d🔬", "שלום\u200f, 世界, é, 👩\u200d🔬"),
    ],
)
def test_visible(text: str, seen: str) -> None:
    """What moves a cursor or turns the direction of writing is shown as its number; words of any writing stay."""
    assert visible(text) == seen


def test_json_stays_what_it_is() -> None:
    """A document of JSON has the same strings, without one that a terminal would obey."""
    document = {"message": "fix\u202egnp \x9b31m é"}
    text = visible_json(json.dumps(document, ensure_ascii=False))
    assert json.loads(text) == document
    assert text == '{"message": "fix\\u202egnp \\u009b31m é"}'


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("https://ada:geheim@hub.example/x", "https://***@hub.example/x"),
        ("https://abc123@github.com/a/b.git", "https://***@github.com/a/b.git"),
        ("ssh://git@github.com/a/b.git", "ssh://git@github.com/a/b.git"),
        ("https://h/x?token=abc&revision=main", "https://h/x?token=***&revision=main"),
        ("'https://h/x?X-Amz-Signature=abc&X-Amz-Date=1'", "'https://h/x?X-Amz-Signature=***&X-Amz-Date=***'"),
        ("acme/hf_mistral_finetuned and sk-learn", "acme/hf_mistral_finetuned and sk-learn"),
        ("token hf_" + "aB3dE5" * 6, "token ***"),
    ],
)
def test_masked(text: str, seen: str) -> None:
    """What lets somebody in is not shown; addresses and names stay."""
    assert masked(text) == seen


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    """All that is said of a step is shown so."""
    console = Console(interactive=False)
    bad, seen = "x\x1b[2J https://a:b@h/", "x\\x1b[2J https://***@h/"
    console.step(bad, bad)
    console.note(bad)
    console.warn(bad, bad)
    console.fail(bad, bad)
    said = capsys.readouterr().err
    assert "\x1b[2J" not in said and "a:b@" not in said
    assert said.count(shown(bad)) == said.count(seen) == 7


def test_output() -> None:
    """What a task prints is seen as it is, or is JSON."""
    for as_json, seen in ((False, "\\x9b"), (True, "\\u009b")):
        output = io.StringIO()
        print("a\x9b", file=ShownOutput(output, as_json=as_json))
        assert output.getvalue() == f"a{seen}\n"
