"""Invoke tasks with a positional argument that a flag makes unnecessary, or that need not be given."""

import sys
from types import FrameType
from typing import Any

from invoke import Argument, Task


class _Unless(Argument):
    """A positional argument that is not missing once a flag is on, or never. Invoke itself knows only arguments
    that are required, or that may not be positional."""

    flag: Argument | None = None
    may_be_left_out = False
    gives_way = False

    @property
    def value(self) -> Any:
        given = Argument.value.fget(self)
        return "" if given is None and self._is_not_asked_for() else given

    @value.setter
    def value(self, given: str) -> None:
        Argument.value.fset(self, given)

    def _is_not_asked_for(self) -> bool:
        """Whether nothing, or not the word that Invoke's parser is at, is to be taken for the name. The parser asks for
        the value to know whether it is missing, and nothing tells what it wants to know but where it asks from."""
        if self.flag is not None and self.flag.value:
            return True
        frame: FrameType | None = sys._getframe(2)
        for _ in range(4):  # a property, and before Python 3.12 a comprehension, are in between
            if frame is None:
                break
            if frame.f_code.co_name == "complete_context":  # where what is missing is refused
                return self.may_be_left_out
            if frame.f_code.co_name == "handle" and "token" in frame.f_locals:  # where a word is taken
                word = frame.f_locals["token"]
                return word.startswith("-") or (self.gives_way and word in frame.f_locals["self"].contexts)
            frame = frame.f_back
        return False


class PositionalName(Task[Any]):
    """A task whose `name` is positional: required, unless the flag `--new` is given, or `may_be_left_out`. With
    `gives_way` a word that is a task's name is the next task, and not the name."""

    positional_name = "name"
    may_be_left_out = False
    gives_way = False

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        flag = next((argument for argument in arguments if argument.name == "new"), None)
        for number, argument in enumerate(arguments):
            if argument.name == self.positional_name:
                positional = _Unless(names=argument.names, help=argument.help, positional=True)
                positional.flag = flag
                positional.may_be_left_out = self.may_be_left_out
                positional.gives_way = self.gives_way
                arguments[number] = positional
        return arguments


class OptionalName(PositionalName):
    """A task whose `name` is positional, and need not be given."""

    may_be_left_out = True


class OptionalTag(OptionalName):
    """A task whose `--tag` may stand as a word, without the option. Invoke runs several tasks one after another, so
    that a task's name is never taken for a tag."""

    positional_name = "tag"
    gives_way = True
