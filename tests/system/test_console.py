"""What people see: lines that fit, and what goes on."""

import time
from pathlib import Path

import pytest
from tagship.system.console import Console, folded
from tagship.system.shown import relative

LONG = "acme/" + "a-long-name-" * 8


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    return Console(interactive=False)


def test_text_folds_between_words(narrow: Console, capsys: pytest.CaptureFixture[str]) -> None:
    """Words stay whole, hyphens and markup too, below where the text begins; a remedy and a line to copy stay one."""
    narrow.step("Plan", "one two three four five six seven eight nine")
    narrow.note(f"here is {LONG} and [bold]more[/bold] of it")
    narrow.warn("something that is longer than one line of it", "mend it")
    narrow.fail("two mistakes:\n  a.b is unknown", "call this with these options, all on one line")
    narrow.line("hf download with all of its options on one line")
    assert capsys.readouterr().err.splitlines() == [
        "Plan  one two three four five six seven",
        "  eight nine",
        "  here is",
        f"    {LONG}",
        "    and [bold]more[/bold] of it",
        "  warning: something that is longer than",
        "    one line of it (mend it)",
        "error: two mistakes:",
        "  a.b is unknown",
        "  remedy: call this with these options, all on one line",
        "  hf download with all of its options on one line",
    ]


def test_log_keeps_its_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody watches, and nobody says how wide, nothing is folded."""
    monkeypatch.delenv("COLUMNS", raising=False)
    Console(interactive=False).note(f"{LONG} {LONG} {LONG}")
    assert capsys.readouterr().err == f"  {LONG} {LONG} {LONG}\n"


def test_rows(narrow: Console, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns stand below each other; where one line is too long, the last column has lines of its own."""
    narrow.rows([("vllm", "6.0 MB", "acme/a"), ("ollama q4_k_m", "2.0 MB", "acme/b")])
    narrow.rows([("vllm", "6.0 MB", "acme/a"), ("lora", "970.4 kB", LONG)])
    assert capsys.readouterr().err.splitlines() == [
        "  vllm           6.0 MB  acme/a",
        "  ollama q4_k_m  2.0 MB  acme/b",
        "  vllm  6.0 MB",
        "    acme/a",
        "  lora  970.4 kB",
        f"    {LONG}",
    ]


def test_relative() -> None:
    """Paths below where one stands begin there; others, and what only begins alike, stay."""
    here = "/home/me/my project"
    for text, wanted in (
        ("in /home/me/my project/dist/a.gz", "in dist/a.gz"),
        ("/home/me/my project/a and '/home/me/my project/b'", "a and 'b'"),
        ("/home/me/my project", "/home/me/my project"),
        ("/home/me/my projects/a", "/home/me/my projects/a"),
        ("/mnt/home/me/my project/a", "/mnt/home/me/my project/a"),
    ):
        assert relative(text, Path(here)) == wanted


def test_relative_to_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody removed it, nothing begins there; what went wrong is still told."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert relative("/tmp/a is not there") == "/tmp/a is not there"


def test_folded() -> None:
    """Each line is folded by itself, and an empty one stays."""
    assert folded("a b c\n\nd", 3, after="") == "a b c\n\nd"
    assert folded("a " * 15, 5, after="  ").splitlines() == ["a a a a a a a a a a a", "  a a a a"]


def test_innermost_progress_is_seen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a second is seen, the innermost of it, with an estimate for what takes longer."""
    monkeypatch.setenv("TERM", "xterm")
    console = Console(interactive=True)
    with console.working("outer"), console.working("inner", 75):
        for _ in range(200):
            time.sleep(0.02)
            if any(line.progress.tasks[0].visible for line in console._lines._lines):
                break
        seen = [line.progress.tasks[0].visible for line in console._lines._lines]
    assert seen == [False, True] and console._lines._lines == []
