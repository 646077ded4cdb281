"""What makes a task of a verb: its options, a session for it to work with, and the one place that turns an error into
an exit code (0 done, 1 the release failed or a gate refused, 2 a mistake in options or release.toml).

Only Invoke and the table of options are imported here, so that `invoke --list` is quick.
"""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from invoke import Context, Exit, Task, task

from tagship.cli.options import OPTIONS, format_options, read_options
from tagship.cli.positional_name import OptionalName, PositionalName

if TYPE_CHECKING:
    from tagship.system.console import Console
    from tagship.system.errors import ReleaseError


class Refusal(dict[str, Any]):
    """A document that says no: it is printed as others are, and the task ends with exit code 1."""


def verb(
    *names: str,
    of_formats: bool = False,
    repeated: tuple[str, ...] = (),
    valueless: tuple[str, ...] = (),
    flags: dict[str, str] | None = None,
    name_is_optional: bool = False,
    writes: bool = True,
    needs_policy: bool = True,
) -> Callable[[Callable[..., Any]], Task[Any]]:
    """A task with some of OPTIONS; its body gets a session and the options, and returns a document.

    `of_formats` is whether it takes the options that belong to formats as well. `repeated` are options that
    this task takes more than once, `valueless` those that may stand without a value, `flags` those of this task
    alone, which are on or off, with their help; `name_is_optional` is whether a positional name may be left out,
    `writes` whether it changes anything. A task that does without a policy gets the console in place of a session.
    """
    options = {name: OPTIONS[name] for name in names} | (format_options() if of_formats else {})
    options |= {name: ([], OPTIONS[name][1] + "; may be repeated") for name in repeated}
    planned = {name.replace("-", "_") for name in options}
    options |= {name: (False, text) for name, text in (flags or {}).items()}

    def decorate(body: Callable[..., Any]) -> Task[Any]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            if context.config.run.dry and writes:
                given |= _dry(body.__name__, given)
            _guarded(body, given, planned if needs_policy else None)

        parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for name, (default, _) in options.items():
            key, value = name.replace("-", "_"), None if default == [] else default
            parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return task(
            run,
            name=body.__name__.replace("_", "-"),
            klass=OptionalName if name_is_optional else PositionalName,
            positional=[],
            optional=[name.replace("-", "_") for name in valueless],
            iterable=[name.replace("-", "_") for name, (default, _) in options.items() if default == []],
            help={name: text for name, (_, text) in options.items()},
            auto_shortflags=False,
        )

    return decorate


def _dry(task: str, given: dict[str, Any]) -> dict[str, Any]:
    """Invoke's own --dry, or -R, is --dry-run of a task that has it."""
    from tagship.system.console import Console
    from tagship.system.errors import UsageError

    if "dry_run" not in given:
        Console().fail(f"{task.replace('_', '-')} has no dry run", "leave --dry out")
        raise Exit(code=UsageError.exit_code)
    return {"dry_run": True}


def _guarded(body: Callable[..., Any], given: dict[str, Any], planned: set[str] | None) -> None:
    from tagship.cli import ci_output
    from tagship.system.console import Console
    from tagship.system.errors import NothingToDo, ReleaseError
    from tagship.system.shown import ShownOutput

    console = Console()
    task = body.__name__.replace("_", "-")
    ci_output.mask_tokens()
    try:
        from tagship.cli.session import open_session

        with redirect_stdout(ShownOutput(sys.stdout, as_json=bool(given.get("json")))):
            if planned is None:
                document = body(console, **given)
            else:
                options = read_options({key: value for key, value in given.items() if key in planned})
                with open_session(given.get("config"), options, console) as session:
                    document = body(session, **given)
            _hand_over(task, document, given)
        if isinstance(document, Refusal):
            raise Exit(code=ReleaseError.exit_code)
    except NothingToDo as nothing:
        console.step("Nothing to do", str(nothing))
        _hand_over(task, nothing.document, given)
    except ReleaseError as error:
        _failed(console, task, error, given)
    except KeyboardInterrupt:
        console.fail("interrupted", "the same command goes on where this one stopped")
        raise Exit(code=130) from None
    except BrokenPipeError:  # nobody reads the output any more, as in `invoke plan --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=1) from None
    except OSError as error:
        from tagship.system.disk import told

        if (refused := told(error)) is None:
            raise
        _failed(console, task, refused, given)


def _hand_over(task: str, document: Any, given: dict[str, Any]) -> None:
    """Give a document to those who asked for it: on standard output, in a file, to the workflow."""
    from tagship.cli import ci_output

    if document is not None:
        _write_document(document, given)
    ci_output.tell(task, document)


def _write_document(document: Any, given: dict[str, Any], *, printed: bool = True) -> None:
    from tagship.system.errors import UsageError
    from tagship.system.files import write_text
    from tagship.system.shown import visible_json

    text = json.dumps(document, indent=2, ensure_ascii=False)
    if printed and given.get("json"):
        print(text, flush=True)
    if file := given.get("json_file"):
        try:
            write_text(Path(file), visible_json(text) + "\n")
        except OSError as error:
            raise UsageError(f"--json-file {file} cannot be written: {error.strerror}") from None


def _failed(console: "Console", task: str, error: "ReleaseError", given: dict[str, Any]) -> NoReturn:
    """Tell people, those who asked for a file, and the workflow what went wrong, and end."""
    from tagship.cli import ci_output
    from tagship.system.errors import UsageError

    console.fail(str(error), error.remedy)
    ci_output.tell_failure(task, error)
    try:
        _write_document({"error": str(error), "remedy": error.remedy}, given, printed=False)
    except UsageError as unwritten:
        console.fail(str(unwritten), None)
    raise Exit(code=error.exit_code) from None
