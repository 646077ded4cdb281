"""`tagship`: the Invoke tasks as a console command, for repositories without a tasks.py; and what `invoke` itself does
better where the tasks are ours."""

import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from invoke import Argument, Collection, Exit, Program, Task
from invoke.exceptions import ParseError

from tagship.cli.help import grouped, help_of, listing, manual
from tagship.cli.mistakes import understood
from tagship.cli.options import OPTIONS
from tagship.system.called import called
from tagship.system.errors import UsageError
from tagship.system.quiet import quieten_libraries

_REPOSITORY = Path(__file__).parents[3] / "tasks.py"
_INSTALLED = Path(__file__).parents[1] / "_shipped" / "tasks.py"
# What Invoke can read as a configuration of its own.
_OF_INVOKE = (".yaml", ".yml", ".json", ".py")


class VerbProgram(Program):
    """A program of verbs: help that begins with them, mistakes that name what was meant and end with exit code 2, and
    values that the shell completes."""

    def parse_tasks(self) -> None:
        self._read_help()
        try:
            super().parse_tasks()
        except ParseError as error:
            self._refuse(error)
        self._hand_on_the_policy()

    def parse_cleanup(self) -> None:
        if self.args.complete.value:
            self._complete()
        try:
            super().parse_cleanup()
        except ParseError as error:
            self._refuse(error)

    def _read_help(self) -> None:
        """`tag --help` is what `--help tag` is, which Invoke would take for the name of the tag."""
        line = self.core.unparsed
        if asked := next((place for place, word in enumerate(line) if place and word in ("--help", "-h")), None):
            verbs = [word for word in line[:asked] if word in self.collection.task_names]
            self.args.help.value = (verbs or line)[-1]
            self.core.unparsed = []

    def print_help(self) -> None:
        _print(manual(called(), self.collection, self._own_options()))

    def list_flat(self) -> None:
        _print("\n".join(listing(self.scoped_collection)).rstrip())

    def print_task_help(self, name: str) -> None:
        _print(help_of(called(), self.collection[name], self.parser.contexts[name]))

    def _own_options(self) -> list[Argument]:
        return [argument for argument in self.core_args() if argument.name != "complete"]

    def _refuse(self, error: ParseError) -> None:
        """End with what is wrong with the command line. Invoke itself would end with 1, a failed release."""
        known = self._make_parser().contexts.values() if hasattr(self, "collection") else ()
        refuse(understood(error, called(), list(known)), as_json="--json" in self.argv)

    def _hand_on_the_policy(self) -> None:
        """A policy file that is named before the verb is that of each task."""
        named = self.args.config
        if named.value is None or Path(named.value).suffix in _OF_INVOKE:
            return
        for context in self.tasks:
            if "config" in context.args and not context.args["config"].got_value:
                context.args["config"].value = named.value
        self.core[0].args["config"]._value = None

    def _complete(self) -> None:
        from tagship.cli.completion import candidates

        _print("\n".join(candidates(self.core.remainder, self._make_parser().contexts, self.initial_context)))
        raise Exit


class _Tagship(VerbProgram):
    """`tagship`, whose options before the verb are those of Invoke that mean something to our tasks, and --config."""

    _KEPT = ("complete", "dry", "help", "list", "list-depth", "list-format", "print-completion-script", "version")
    _SHOWN: Mapping[str, str] = {
        "config": OPTIONS["config"][1],
        "dry": "print what would be done, and do nothing, as --dry-run",
        "help": "this help, or that of a verb",
        "list": "the verbs",
        "print-completion-script": "what completes its words in bash, zsh or fish",
        "version": "the version of tagship",
    }

    def core_args(self) -> list[Argument]:
        kept = [argument for argument in super().core_args() if argument.name in self._KEPT]
        return [*kept, Argument(names=("config",), help=self._SHOWN["config"])]

    def _own_options(self) -> list[Argument]:
        shown = [argument for argument in self.core_args() if argument.name in self._SHOWN]
        for argument in shown:
            argument.help = self._SHOWN[argument.name]
        return sorted(shown, key=lambda argument: argument.name)

    def parse_core(self, argv: Any) -> None:
        self.normalize_argv(argv)
        try:
            self.parse_core_args()
            if self.args.version.value:
                self.print_version()
                raise Exit
            if shell := self.args["print-completion-script"].value:
                self._print_script(shell)
                raise Exit
        except ParseError as error:
            self._refuse(error)

    def _print_script(self, shell: str) -> None:
        from tagship.cli.completion import SCRIPTS

        if shell not in SCRIPTS:
            error = UsageError(f"there is no completion for {shell!r}", remedy=f"there is for {', '.join(SCRIPTS)}")
            refuse(error, as_json=False)
        _print(SCRIPTS[shell].format(program=self.binary))

    def update_config(self, merge: bool = True) -> None:
        self.config.load_overrides({"run": {"dry": bool(self.args.dry.value)}}, merge=merge)

    def _hand_on_the_policy(self) -> None:
        for context in self.tasks if self.args.config.value else ():
            if "config" in context.args and not context.args["config"].got_value:
                context.args["config"].value = self.args.config.value


def main() -> None:
    """Run a task; mistakes in the options end with exit code 2."""
    from importlib.metadata import version

    quieten_libraries()
    _Tagship(name="tagship", binary="tagship", namespace=collection(), version=version("tagship")).run()


def collection(own: Mapping[str, object] = MappingProxyType({})) -> Collection:
    """All verbs, as tagship's tasks.py has them: another repository's `namespace`, to which it may add its own.

    `own` are a tasks.py's `globals()`: the tasks in it are there, too, and in place of verbs that have their names.
    """
    _adopt_invoke()
    path = _INSTALLED if _INSTALLED.is_file() else _REPOSITORY
    spec = importlib.util.spec_from_file_location("tagship_tasks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tasks = [task for task in own.values() if isinstance(task, Task)]
    taken = {name for task in tasks for name in map(Collection().transform, (task.name, *task.aliases))}
    groups: Mapping[str, Iterable[Task]] = module.GROUPS
    namespace = namespace_of({title: [task for task in of if task.name not in taken] for title, of in groups.items()})
    for task in tasks:
        namespace.add_task(task)
    return namespace


def namespace_of(groups: Mapping[str, Iterable[Task]]) -> Collection:
    """The tasks as a `namespace` that shows them in these groups."""
    _adopt_invoke()
    return grouped(groups)


def _adopt_invoke() -> None:
    """Have `invoke`, where it is the program that loads our tasks, show them as `tagship` does: once Invoke has read a
    tasks.py nothing of it asks the tasks how they are to be listed, or what is to be said of a mistake."""
    running = sys.modules.get("invoke.main")
    if running is not None and type(running.program) is Program:
        running.program.__class__ = VerbProgram
        quieten_libraries()


def _print(text: str) -> None:
    """Print what may be more than is read of it, as by `head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=1) from None


def refuse(error: UsageError, *, as_json: bool) -> None:
    """End the program with a mistake of the command line, told as a task tells its own."""
    from tagship.cli.outcome import failed, rendered
    from tagship.system.console import Console

    Console().fail(str(error), error.remedy)
    if as_json:
        print(rendered(failed(error)), end="", flush=True)
    raise Exit(code=error.exit_code) from None
