"""Holding the prompts that a runtime makes against the model's own."""

from pathlib import Path

import pytest
from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.conversations import CONVERSATIONS, QUESTION, TOOLS_GIVEN, Conversation, Prompt
from tagship.verify.prompts import compare_prompts
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Subject

from tests.conftest import InstallPackage

RUNTIME = """
from tagship.verify.runtimes.protocol import Runtime

class Shouts(Runtime):
    name = "shouts"
    memory = 0

    def load(self, subject):
        raise NotImplementedError

    def prompts(self, subject, conversations):
        return tuple(None if talk.tools else talk.messages[-1]["content"].upper() for talk in conversations)

RUNTIME = Shouts()
"""


def expected(talk: Conversation, text: str | None) -> Prompt:
    return Prompt(conversation=talk, text=text)


def test_prompts_of_a_runtime(install_package: InstallPackage) -> None:
    """A runtime is asked in a process of its own, and may refuse a conversation."""
    install_package("shouts_runtime", RUNTIME, {"tagship.runtimes": "shouts = shouts_runtime:RUNTIME"})
    with Runtimes() as runtimes:
        said = runtimes.prompts("shouts", Subject(what="it", model=Path("m")), (QUESTION, TOOLS_GIVEN))
    assert said == ("WHAT IS IT?\nTELL ME.", None)


def test_runtime_without_prompts(install_package: InstallPackage) -> None:
    """A runtime whose format asks for prompts that it does not make is told by name."""
    plain = RUNTIME[: RUNTIME.index("    def prompts")] + "RUNTIME = Shouts()\n"
    install_package("shouts_runtime", plain, {"tagship.runtimes": "shouts = shouts_runtime:RUNTIME"})
    with Runtimes() as runtimes, pytest.raises(ToolError, match="shouts makes no prompts of conversations"):
        runtimes.prompts("shouts", Subject(what="it", model=Path("m")), (QUESTION,))


def test_equal_prompts() -> None:
    """What is equal, and what the template itself refuses, is nothing to tell."""
    wanted = [expected(QUESTION, "a"), expected(TOOLS_GIVEN, None)]
    assert compare_prompts(wanted, ["a", "whatever"], "it") == ()


@pytest.mark.parametrize("given", ["b", None])
def test_other_prompt_of_text(given: str | None) -> None:
    """A conversation of text alone must become the model's prompt."""
    with pytest.raises(ReleaseError, match="it does not make the model's prompt of a question") as caught:
        compare_prompts([expected(QUESTION, "a")], [given], "it")
    assert "chat_template.jinja" in str(caught.value.remedy)


def test_other_prompt_with_tools() -> None:
    """Other conversations are named."""
    assert compare_prompts([expected(TOOLS_GIVEN, "a")], ["b"], "it") == ("tools that are offered",)


def test_conversations_have_names_of_their_own() -> None:
    """People are told of them by name."""
    assert len({talk.name for talk in CONVERSATIONS}) == len(CONVERSATIONS)
