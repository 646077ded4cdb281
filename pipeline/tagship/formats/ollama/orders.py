"""Conversations that a derived template is tried with: every order of messages, and what templates cut or leave out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product

from tagship.verify.conversations import ASSISTANT, SYSTEM, TOOL, USER

Message = Mapping[str, str]

ROLES = (SYSTEM, USER, ASSISTANT, TOOL)
# How many messages the conversations have that a derived template is tried with, in every order; and those of which one
# has no text.
_LONGEST, _WITH_EMPTY = 5, 3
# Templates that cut what is old or long.
_MANY_TURNS = (7, 13, 41)
_LONG = "It is long. " * 3000 + "The end."


def conversations() -> Iterator[list[Message]]:
    """Every order of messages that Ollama hands to a template: it joins messages of one role that follow each other,
    but those of tools. Then short ones with a message without text, and some that are long."""
    for length in range(1, _LONGEST + 1):
        for roles in product(ROLES, repeat=length):
            if all(one != next_one or one == TOOL for one, next_one in pairwise(roles)):
                messages = [numbered(number, role) for number, role in enumerate(roles)]
                yield messages
                if length <= _WITH_EMPTY:
                    yield from (_emptied(messages, number) for number in range(length))
    for turns in _MANY_TURNS:
        asked = [numbered(number, (USER, ASSISTANT)[number % 2]) for number in range(turns)]
        yield asked
        yield [numbered(0, SYSTEM), *asked]
    yield [{"role": USER, "content": _LONG}, numbered(1, ASSISTANT), {"role": USER, "content": _LONG}]


def _emptied(messages: Sequence[Message], number: int) -> list[Message]:
    """The same, but one message without text."""
    return [dict(message) | ({"content": ""} if at == number else {}) for at, message in enumerate(messages)]


def numbered(number: int, role: str) -> Message:
    return {"role": role, "content": f"It is {{{number}}}.\nTell me {{{{ .{role} }}}}."}
