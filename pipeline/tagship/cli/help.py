"""What `--help` and `--list` print: the verbs in groups first, and of a verb its options, as wide as the terminal."""

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from invoke import Collection, Task
from invoke.parser import Argument, ParserContext

OTHERS = "Of this repository"
_SUMMARY = "tagship takes a training run and a git tag to published, verified models"
# Columns: where the terminal says nothing; the least that a text gets; what stands before and between.
_WIDTH, _LEAST, _INDENT, _GAP = 80, 30, 2, 2

Rows = Sequence[tuple[str, str]]


def manual(program: str, verbs: Collection, own: Iterable[Argument]) -> str:
    """The whole help of a program; `own` are the options that stand before the verb."""
    return "\n".join(
        [
            *_wrapped(_SUMMARY, ""),
            "",
            f"Usage: {program} VERB [OPTIONS]",
            f"       {program} VERB --help",
            "",
            *listing(verbs),
            "Before the verb",
            *_table([(spelled(argument), argument.help or "") for argument in own]),
        ]
    )


def listing(verbs: Collection) -> list[str]:
    """The verbs with what they do, by their groups; what belongs to no group comes last. An empty line ends each."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for task in verbs.tasks.values():
        groups.setdefault(group_of(task), []).append((str(task.name), _does(task)))
    for name in verbs.collections:
        groups.setdefault(OTHERS, []).append((name, f"tasks of its own: --list {name}"))
    if OTHERS in groups:
        groups[OTHERS] = groups.pop(OTHERS)
    width = max((len(name) for rows in groups.values() for name, _ in rows), default=0)
    return [line for title, rows in groups.items() for line in (title, *_table(rows, width), "")]


def help_of(program: str, task: Task, context: ParserContext) -> str:
    """The help of one verb."""
    arguments = list(context.args.values())
    return "\n".join(
        [
            f"Usage: {usage_of(program, task, context)}",
            "",
            *(line for part in paragraphs(task) for line in (*_wrapped(part, " " * _INDENT), "")),
            *_table([(spelled(argument), argument.help or "") for argument in arguments]),
        ]
    ).rstrip()


def usage_of(program: str, task: Task, context: ParserContext) -> str:
    """How a verb is called."""
    arguments = list(context.args.values())
    positional = next((argument for argument in arguments if argument.positional), None)
    word = "" if positional is None else f" {_word(positional)}"
    if word and getattr(task, "may_be_left_out", False):
        word = f" [{word.strip()}]"
    return f"{program} {context.name}{word}" + (" [OPTIONS]" if arguments else "")


def grouped(groups: Mapping[str, Iterable[Task]]) -> Collection:
    """The tasks as a namespace that `listing` shows in these groups."""
    verbs = Collection()
    for title, tasks in groups.items():
        for task in tasks:
            task.group = title
            verbs.add_task(task)
    return verbs


def group_of(task: Task) -> str:
    """The title of a task's group."""
    return getattr(task, "group", OTHERS)


def _does(task: Task) -> str:
    return next(iter(paragraphs(task)), "").rstrip(".")


def paragraphs(task: Task) -> list[str]:
    """What a verb does: its docstring, a line for each paragraph."""
    told = inspect.getdoc(task.body) or ""
    return [" ".join(part.split()) for part in told.split("\n\n") if part.strip()]


def spelled(argument: Argument) -> str:
    """How an option is written, with a word for its value."""
    names = sorted(argument.names, key=len)
    flags = ", ".join(f"{'-' if len(name) == 1 else '--'}{name}" for name in names)
    if not argument.takes_value:
        return flags
    return f"{flags} [{_word(argument)}]" if argument.optional is True else f"{flags} {_word(argument)}"


def _word(argument: Argument) -> str:
    return max(argument.names, key=len).rpartition("-")[2].upper()


def _table(rows: Rows, width: int | None = None) -> Iterator[str]:
    """Two columns, the second one folded; a name that is wider than half of the terminal has a line of its own."""
    column = width or max((len(name) for name, _ in rows), default=0)
    column = min(column, max(terminal_width() // 2 - _INDENT - _GAP, 10))
    for name, text in rows:
        folded = _wrapped(text, " " * (_INDENT + column + _GAP))
        if not folded or len(name) > column:
            yield f"{' ' * _INDENT}{name}"
        else:
            folded[0] = f"{' ' * _INDENT}{name:<{column + _GAP}}{folded[0].lstrip()}"
        yield from folded


def _wrapped(text: str, indent: str) -> list[str]:
    width = max(terminal_width() - 1, len(indent) + _LEAST)
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def terminal_width() -> int:
    """The columns of the terminal, or COLUMNS; 80 where there is neither."""
    return shutil.get_terminal_size((_WIDTH, 24)).columns
