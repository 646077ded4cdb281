"""Does a runtime make the same prompts of conversations as the model's own chat template?"""

from collections.abc import Sequence

from tagship.system.errors import ReleaseError
from tagship.verify.conversations import Prompt


def compare_prompts(expected: Sequence[Prompt], given: Sequence[str | None], what: str) -> tuple[str, ...]:
    """The names of conversations that become another prompt; those that the template itself refuses are not compared.

    Raises ReleaseError for one of plain text: every answer to it would be to another prompt than the model's.
    """
    unlike = []
    for prompt, text in zip(expected, given, strict=True):
        if prompt.text is None or prompt.text == text:
            continue
        if prompt.conversation.plain:
            raise ReleaseError(
                f"{what} does not make the model's prompt of {prompt.conversation.name}: {_apart(prompt.text, text)}",
                remedy="its runtime reads the chat template otherwise than transformers: simplify chat_template.jinja "
                "in the run's folder, or leave the format out; nothing was published",
            )
        unlike.append(prompt.conversation.name)
    return tuple(unlike)


def _apart(expected: str, given: str | None) -> str:
    if given is None:
        return f"it refuses it, and transformers makes {expected!r:.300}"
    return f"it makes\n  {given!r:.600}\nand transformers\n  {expected!r:.600}"
