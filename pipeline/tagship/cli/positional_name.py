"""Invoke tasks with a positional argument that a flag makes unnecessary, or that need not be given."""

import sys
from typing import Any

from invoke import Argument, Task


class _Unless(Argument):
    """A positional argument that is not missing once a flag is on, or never. Invoke itself knows only arguments
    that are required, or that may not be positional."""

    flag: Argument | None = None
    optional = False

    @property
    def value(self) -> Any:
        given = Argument.value.fget(self)
        unnecessary = _is_ended() if self.optional else self.flag is not None and self.flag.value
        return "" if given is None and unnecessary else given

    @value.setter
    def value(self, given: str) -> None:
        Argument.value.fset(self, given)


class PositionalName(Task[Any]):
    """A task whose `name` is positional: required, unless the flag `--new` is given, or `may_be_left_out`."""

    may_be_left_out = False

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        flag = next((argument for argument in arguments if argument.name == "new"), None)
        for number, argument in enumerate(arguments):
            if argument.name == "name":
                positional = _Unless(names=argument.names, help=argument.help, positional=True)
                positional.flag = flag
                positional.optional = self.may_be_left_out
                arguments[number] = positional
        return arguments


class OptionalName(PositionalName):
    """A task whose `name` is positional, and need not be given."""

    may_be_left_out = True


def _is_ended() -> bool:
    """Whether Invoke's parser is where it refuses what is missing, at the end of a task's words. It asks the same
    before that, to know where a word belongs, and nothing else tells the two apart."""
    frame = sys._getframe(2)
    for _ in range(3):  # a property, and before Python 3.12 a comprehension, are in between
        if frame.f_code.co_name == "complete_context":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
