"""Runtimes of other packages, and those that tagship ships."""

from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.questions import Questions, Tokens
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Subject
from tagship.verify.runtimes.registry import find_runtime, reference_runtime

from tests.conftest import InstallPackage

# Says of what it was asked, and what.
ECHO = """
import numpy as np
from tagship.verify.questions import Asked
from tagship.verify.runtimes.protocol import Model, Runtime

class Echo(Runtime):
    name = "echo"
    memory = 0

    def load(self, subject):
        return EchoModel(subject)

class EchoModel(Model):
    def __init__(self, subject):
        self.subject, self.how = subject, "aloud"

    def read(self, questions):
        return tuple(Asked(prompt=prompt, ids=(1,)) for prompt in questions.prompts)

    def rows(self, sequences):
        for sequence in sequences:
            for token in sequence.looked_at:
                yield np.eye(4, dtype=np.float32)[[token]]

    def ends(self, tokens):
        return {token for token in tokens if token == 3}

    def text(self, ids):
        return repr((self.subject, list(ids)))

RUNTIME = Echo()
"""
SEQUENCES = (Tokens(ids=(0, 1, 2), since=1), Tokens(ids=(3, 1), since=1), Tokens(ids=(1,), since=1))


def test_runtime_of_another_package(install_package: InstallPackage) -> None:
    """It is found by its name, and asked in a process of its own for what is to be known."""
    install_package("echo_runtime", ECHO, {"tagship.runtimes": "echo = echo_runtime:RUNTIME"})
    subject = Subject(what="it", model=Path("a/b"), adapter=None, tokenizer=Path("c"), rendered=("x\n", "\u4e2d"))
    questions = Questions(prompts=("one", "\U0001f600"), max_tokens=7)
    with Runtimes() as runtimes, runtimes.model("echo", subject) as model:
        assert [(asked.prompt, asked.ids) for asked in model.read(questions)] == [("one", (1,)), ("\U0001f600", (1,))]
        assert [block.argmax(axis=1).tolist() for block in model.rows(SEQUENCES)] == [[1], [2], [1]]
        assert model.ends((1, 2, 3)) == {3} and model.how == "aloud"
        assert model.text((1, 2)) == repr((subject, [1, 2]))
        with pytest.raises(ToolError, match="does not generate"):
            model.generate([[1]], 3)


def test_several_models_of_a_runtime(install_package: InstallPackage) -> None:
    """They are asked in turns; one that is kept is loaded once."""
    install_package("echo_runtime", ECHO, {"tagship.runtimes": "echo = echo_runtime:RUNTIME"})
    subject = Subject(what="it", model=Path("a"))
    with Runtimes() as runtimes:
        kept = runtimes.kept("echo", subject)
        with runtimes.model("echo", subject) as other:
            both = zip(kept.rows(SEQUENCES), other.rows(SEQUENCES), strict=True)
            assert [(ours == theirs).all() for ours, theirs in both] == [True] * 3
        assert runtimes.kept("echo", subject) is kept
        assert kept.greedy(SEQUENCES[:1]) == [[1, 2, 0]]


@pytest.mark.parametrize(("given", "told"), [("looked_at[1:]", "2 distributions too few"), ("ids", "3 .* too many")])
def test_wrong_number_of_rows(install_package: InstallPackage, given: str, told: str) -> None:
    """A runtime that leaves tokens out, or tells of more, is told."""
    short = ECHO.replace("sequence.looked_at", f"sequence.{given}")
    install_package("echo_runtime", short, {"tagship.runtimes": "echo = echo_runtime:RUNTIME"})
    with (
        Runtimes() as runtimes,
        runtimes.model("echo", Subject(what="it", model=Path("a"))) as model,
        pytest.raises(ToolError, match=told),
    ):
        list(model.rows(SEQUENCES))


def test_unknown_runtime() -> None:
    """A runtime that nothing brings is refused, with those that are there."""
    with pytest.raises(ReleaseError, match=r"there is no runtime 'none' .* llama_cpp, mlx_lm, transformers, vllm"):
        find_runtime("none")


def test_reference(install_package: InstallPackage) -> None:
    """Base + adapter are run by tagship's own runtime that takes adapters, whatever else is installed."""
    adapts = ECHO.replace('name = "echo"', 'name = "aaa"\n    runs_adapters = True')
    install_package("echo_runtime", adapts, {"tagship.runtimes": "aaa = echo_runtime:RUNTIME"})
    assert find_runtime("aaa").runs_adapters
    assert reference_runtime().name == "transformers"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import nothing_of_the_kind", "cannot be loaded: ModuleNotFoundError"),
        ("RUNTIME = 1", "is no tagship.verify.runtimes.protocol.Runtime, but int"),
        (
            "from tagship.verify.runtimes.protocol import Runtime\nclass Half(Runtime):\n    name = 'echo'\n"
            "RUNTIME = Half()",
            "cannot be loaded: TypeError.*load",
        ),
        (ECHO.replace('"echo"', '"other"'), "calls itself 'other'"),
        (ECHO.replace("memory = 0", ""), "lacks memory"),
    ],
)
def test_broken_package(install_package: InstallPackage, text: str, problem: str) -> None:
    """What another package brings and is no runtime is told with the package's name."""
    install_package("echo_runtime", text, {"tagship.runtimes": "echo = echo_runtime:RUNTIME"})
    with pytest.raises(ReleaseError, match=f"echo of the package echo_runtime {problem}") as caught:
        find_runtime("echo")
    assert caught.value.remedy == "update or uninstall echo_runtime"
