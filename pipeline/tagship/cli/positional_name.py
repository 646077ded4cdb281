"""Invoke tasks with a positional argument that a flag makes unnecessary."""

from typing import Any

from invoke import Argument, Task


class _Unless(Argument):
    """A positional argument that is not missing once a flag is on. Invoke itself knows only arguments
    that are required, or that may not be positional."""

    flag: Argument | None = None

    @property
    def value(self) -> Any:
        given = Argument.value.fget(self)
        return "" if given is None and self.flag is not None and self.flag.value else given

    @value.setter
    def value(self, given: str) -> None:
        Argument.value.fset(self, given)


class PositionalName(Task[Any]):
    """A task whose `name` is positional: required, unless the flag `--new` is given."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        flag = next((argument for argument in arguments if argument.name == "new"), None)
        for number, argument in enumerate(arguments):
            if argument.name == "name":
                positional = _Unless(names=argument.names, help=argument.help, positional=True)
                positional.flag = flag
                arguments[number] = positional
        return arguments
