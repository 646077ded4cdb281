"""What is said to GitHub Actions: commands, outputs, masks."""

from pathlib import Path

from tagship.system.actions import OUTPUT, SUMMARY, command, masks, write_outputs, write_summary


def read_outputs(file: Path) -> dict[str, str]:
    """The outputs in a file, as the runner reads them."""
    lines, outputs = iter(file.read_text(encoding="utf-8").splitlines()), {}
    for line in lines:
        name, _, end = line.partition("<<")
        outputs[name] = "\n".join(iter(lambda: next(lines), end))
    return outputs


def test_commands() -> None:
    """What would end a command or one of its properties is written as the runner reads it back."""
    assert command("group", "Export") == "::group::Export"
    assert command("error", "50 % off\r\nnow", file="a,b:c", line=3) == (
        "::error file=a%2Cb%3Ac,line=3::50 %25 off%0D%0Anow"
    )


def test_outputs(tmp_path: Path) -> None:
    """A value of several lines comes back as it is, also one that looks like other outputs; what was there stays."""
    file = tmp_path / "output"
    file.write_text("before<<x\n1\nx\n")
    values = {"artifacts": "dist/a.tar.gz\ndist/b.tar.gz", "version": "", "odd": "a<<EOF\nversion=2\nEOF"}
    write_outputs(values, {OUTPUT: str(file)}.get)
    assert read_outputs(file) == {"before": "1", **values}
    write_outputs(values, {}.get)  # nobody asks for outputs


def test_summary(tmp_path: Path) -> None:
    """A summary is added to those of the steps before."""
    for text in ("one\n", "two\n"):
        write_summary(text, {SUMMARY: str(tmp_path / "summary")}.get)
    assert (tmp_path / "summary").read_text() == "one\ntwo\n"


def test_masks() -> None:
    """Tokens and passwords are masked, line by line; settings and short values are not."""
    environment = {
        "HF_TOKEN": "hf_abcdefgh",
        "MY_PASSWORD": "first line\nsecond line",
        "TOKENIZERS_PARALLELISM": "false-and-long",
        "USE_TOKEN": "true",
    }
    assert list(masks(environment)) == ["::add-mask::first line", "::add-mask::hf_abcdefgh", "::add-mask::second line"]
