"""Tasks with a positional name, through Invoke's own parser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from invoke import Collection, Context, Program, task
from invoke.exceptions import ParseError
from invoke.parser import Parser
from tagship.cli.positional_name import OptionalName, PositionalName

Parse = Callable[..., dict[str, Any]]


@contextmanager
def unparsed() -> Iterator[pytest.ExceptionInfo[ParseError]]:
    with pytest.raises(ParseError) as caught:
        yield caught


@task(klass=PositionalName, positional=[], iterable=["field"], auto_shortflags=False)
def name(
    context: Context, name: str = "", new: bool = False, base: str | None = None, field: list[str] | None = None
) -> None:
    """With the flag that makes the name unnecessary."""


@task(klass=PositionalName, positional=[], auto_shortflags=False)
def tag(context: Context, name: str = "", push: bool = False) -> None:
    """Without such a flag."""


@task(klass=PositionalName, positional=[], auto_shortflags=False)
def other(context: Context, base: str | None = None) -> None:
    """Without a name."""


@task(klass=OptionalName, positional=[], auto_shortflags=False)
def lint(context: Context, name: str = "", base: str | None = None) -> None:
    """With a name that may be left out."""


TASKS = Collection(name, tag, other, lint)


@pytest.fixture
def parse() -> Parse:
    """A function that parses a command line and gives the first task's arguments."""

    def parsed(*line: str) -> dict[str, Any]:
        found = Parser(contexts=TASKS.to_contexts()).parse_argv(list(line))
        return {argument.name: argument.value for argument in found[0].args.values()}

    return parsed


@pytest.mark.parametrize(
    "line",
    [
        ("name", "v1.0.0"),
        ("name", "v1.0.0", "--base", "b"),
        ("name", "--base", "b", "v1.0.0"),
        ("name", "--field", "a=1", "v1.0.0", "--field", "b=2"),
        ("name", "--name", "v1.0.0"),
        ("name", "--name=v1.0.0"),
    ],
)
def test_name_stands_anywhere(parse: Parse, line: tuple[str, ...]) -> None:
    """The name stands before, between or after the options, or is an option itself."""
    assert parse(*line)["name"] == "v1.0.0"


@pytest.mark.parametrize("text", ["tag", "name", "выпуск/v1.0.0", "a b", "v1.2.3+cu124", "other"])
def test_any_text_is_a_name(parse: Parse, text: str) -> None:
    """A name may be called as a task is, and have spaces, slashes and any letters."""
    assert parse("name", text)["name"] == text


def test_flag_makes_the_name_unnecessary(parse: Parse) -> None:
    """With --new no name is asked for, wherever the flag stands."""
    for line in (("name", "--new"), ("name", "--new", "--base", "b"), ("name", "--base", "b", "--new")):
        assert (parse(*line)["name"], parse(*line)["new"]) == ("", True)


def test_missing_name() -> None:
    """Without a name, Invoke says which argument is missing."""
    for line in (["name"], ["tag"], ["tag", "--push"], ["name", "--base", "b"]):
        with unparsed() as caught:
            Parser(contexts=TASKS.to_contexts()).parse_argv(line)
        assert "did not receive required positional arguments: 'name'" in str(caught.value)


def test_second_name() -> None:
    """There is one name; another word is refused, not dropped."""
    for line in (["tag", "v1.0.0", "v2.0.0"], ["name", "--new", "v1.0.0"]):
        with unparsed() as caught:
            Parser(contexts=TASKS.to_contexts()).parse_argv(line)
        assert "No idea what" in str(caught.value)


def test_two_tasks(parse: Parse) -> None:
    """After its name a task may be followed by another one."""
    found = Parser(contexts=TASKS.to_contexts()).parse_argv(["tag", "v1.0.0", "--push", "name", "v2.0.0"])
    assert [(context.name, context.args["name"].value) for context in found] == [("tag", "v1.0.0"), ("name", "v2.0.0")]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (("lint",), None),
        (("lint", "--base", "b"), None),
        (("lint", "a"), "a"),
        (("lint", "--base", "b", "a"), "a"),
        (("lint", "a", "--base", "b"), "a"),
        (("lint", "other"), "other"),
    ],
)
def test_name_that_may_be_left_out(parse: Parse, line: tuple[str, ...], name: str | None) -> None:
    """Such a task runs without its name, and takes one wherever it stands."""
    assert parse(*line)["name"] == name


def test_task_after_a_name_that_may_be_left_out() -> None:
    """After its name such a task may be followed by another one; two names are refused."""
    found = Parser(contexts=TASKS.to_contexts()).parse_argv(["lint", "a", "tag", "v1.0.0"])
    assert [(context.name, context.args["name"].value) for context in found] == [("lint", "a"), ("tag", "v1.0.0")]
    with unparsed():
        Parser(contexts=TASKS.to_contexts()).parse_argv(["lint", "a", "b"])


def test_task_without_a_name(parse: Parse) -> None:
    """A task that has no name has no positional argument."""
    assert parse("other", "--base", "b") == {"base": "b"}
    with unparsed():
        parse("other", "v1.0.0")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of such a task can be asked for, and names the argument."""
    Program(namespace=TASKS).run(["tagship", "--help", "tag"], exit=False)
    assert "--name" in capsys.readouterr().out


def test_values_reach_the_task() -> None:
    """What was parsed is what the task gets."""
    seen: list[tuple[str, bool]] = []

    @task(name="tag", klass=PositionalName, positional=[], auto_shortflags=False)
    def body(context: Context, name: str = "", push: bool = False) -> None:
        seen.append((name, push))

    Program(namespace=Collection(body)).run(["tagship", "tag", "--push", "v1.0.0"], exit=False)
    assert seen == [("v1.0.0", True)]
