"""Runtimes of other packages, and those that tagship ships."""

from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.questions import Questions
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Subject
from tagship.verify.runtimes.registry import find_runtime, reference_runtime

from tests.conftest import InstallPackage

# Answers with what it was asked, and of what.
ECHO = """
import numpy as np
from tagship.verify.questions import Answer
from tagship.verify.runtimes.protocol import Runtime

class Echo(Runtime):
    name = "echo"
    memory = 0

    def answer(self, subject, questions):
        return tuple(
            Answer(prompt=prompt, prompt_ids=(1,), ids=ids, text=repr(subject), logprobs=np.zeros((1, 2), np.float32))
            for prompt, ids in zip(questions.prompts, questions.forced)
        )

RUNTIME = Echo()
"""


def test_runtime_of_another_package(install_package: InstallPackage) -> None:
    """It is found by its name, and asked in a process of its own for what is to be known."""
    install_package("echo_runtime", ECHO, {"tagship.runtimes": "echo = echo_runtime:RUNTIME"})
    subject = Subject(what="it", model=Path("a/b"), adapter=None, tokenizer=Path("c"), rendered=("x\n", "\u4e2d"))
    questions = Questions(prompts=("one", "\U0001f600"), max_tokens=7, forced=((1, 2), ()))
    with Runtimes() as runtimes:
        answers = runtimes.answers("echo", subject, questions)
    assert [(answer.prompt, answer.ids) for answer in answers] == [("one", (1, 2)), ("\U0001f600", ())]
    assert {answer.text for answer in answers} == {repr(subject)}


def test_wrong_number_of_answers(install_package: InstallPackage) -> None:
    """A runtime that leaves a prompt out is told."""
    short = ECHO.replace("zip(questions.prompts", "zip(questions.prompts[:1]")
    install_package("echo_runtime", short, {"tagship.runtimes": "echo = echo_runtime:RUNTIME"})
    questions = Questions(prompts=("one", "two"), max_tokens=7, forced=((1,), (2,)))
    with Runtimes() as runtimes, pytest.raises(ToolError, match="it gave 1 answers to 2 prompts"):
        runtimes.answers("echo", Subject(what="it", model=Path("a")), questions)


def test_unknown_runtime() -> None:
    """A runtime that nothing brings is refused, with those that are there."""
    with pytest.raises(ReleaseError, match=r"there is no runtime 'none' .* llama_cpp, transformers"):
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
            "cannot be loaded: TypeError.*answer",
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
