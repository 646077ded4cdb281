"""What README, tutorial and the other pages tell people to type."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tagship.cli.program import collection

from tests.docs.command_blocks import blocks_of, free_port, script_of
from tests.docs.test_pages import PAGES, REPOSITORY
from tests.end_to_end.conftest import Project, loaded, make_project

__all__ = ["loaded", "make_project"]
RUN = "phi3avro-minimal-r16-a32-e6-20250914-132416"
# In code, up to what ends a command: the word of the program, a verb, and the rest.
COMMAND = re.compile(r"(?:^|[`(;&|]|\s)(?<!from )(?:invoke|tagship) ([a-z][a-z-]*)((?: [^`\n#;&|]*)?)", re.MULTILINE)
CODE = re.compile(r"^```(?:bash)?\n(.*?)^```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<=\s)--([a-z][a-z-]*)")


def commands_of(page: Path) -> list[tuple[str, str]]:
    """Every verb that a page has in its code, with what stands after it."""
    code = "\n".join(block or inline for block, inline in CODE.findall(page.read_text(encoding="utf-8")))
    return COMMAND.findall(code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_verbs_and_options_are_there(page: Path) -> None:
    """No page tells of a verb, or of a verb's option, that the program does not have."""
    verbs = {
        name: {word for argument in task.get_arguments() for word in argument.names}
        for name, task in collection().tasks.items()
    }
    own = {"test": {"quick", "coverage"}, "lint-code": set(), "bench": {"name"}}  # of this repository
    known = {**verbs, **own}
    for verb, rest in commands_of(page):
        assert verb in known, f"{verb}{rest}"
        spelled = {word.replace("_", "-") for word in known[verb]} | {"help"}
        assert set(OPTION.findall(rest)) <= spelled, f"{verb}{rest}"


def test_a_page_has_commands() -> None:
    """What is looked for in pages is found: verbs in sentences, and in blocks."""
    found = commands_of(REPOSITORY / "README.md")
    assert {"release", "hub", "init", "plan", "doctor"} <= {verb for verb, _ in found}
    assert any("--tag v1.0.0" in rest for _, rest in found)


def typed(page: Path, folder: Path, environment: Mapping[str, str]) -> str:
    """Type what a page says; returns what is seen."""
    done = subprocess.run(
        ["bash", "-c", script_of(page, free_port())],
        cwd=folder,
        env={**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture
def clone(make_project: Callable[[], Project], tmp_path: Path) -> Project:
    """A clone of this repository, as far as its pages speak of it; the text that exports are measured by is short."""
    pytest.importorskip("xllamacpp")
    made = make_project()
    return Project(shutil.copytree(made.folder, tmp_path / "tagship"), made.environment)


@pytest.mark.slow
@pytest.mark.long
def test_readme(clone: Project) -> None:
    """Every command of the README that needs nobody else works as it stands there."""
    stranger = clone.folder.parent / "another-repository"
    shutil.copytree(clone.folder / "examples/avro/base", stranger / "models" / "phi3avro")
    shutil.copytree(clone.folder / "examples/avro/adapters" / RUN, stranger / "adapters" / RUN)
    for arguments in (("init", "--quiet"), ("remote", "add", "origin", "https://github.com/ada/recipes.git")):
        subprocess.run(["git", *arguments], cwd=stranger, check=True)
    seen = typed(REPOSITORY / "README.md", clone.folder, clone.environment)
    assert "acme/phi3avro-minimal-vllm-v1.0.0" in seen
    assert (stranger / "release.toml").is_file()


@pytest.mark.slow
def test_tutorial(clone: Project) -> None:
    """From an adapter on disk to the folder that Ollama makes a model of."""
    seen = typed(REPOSITORY / "docs/tutorial.md", clone.folder, clone.environment)
    made = clone.folder.parent / "gguf"
    assert (made / "Modelfile").read_text(encoding="utf-8").startswith("FROM ./")
    assert list(made.glob("*.gguf"))
    assert "ada/phi3avro-minimal-lora-v1.0.0" in seen


def test_what_is_not_run_says_why() -> None:
    """A block that is left out has a reason, and most are run."""
    blocks = [block for page in ("README.md", "docs/tutorial.md") for block in blocks_of(REPOSITORY / page)]
    left_out = [block for block in blocks if block.reason]
    assert all(block.reason.startswith("it ") for block in left_out if block.reason)
    assert len(left_out) < len(blocks) / 2
