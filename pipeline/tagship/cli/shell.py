"""What makes a task of a verb: its options, a session for it to work with, and the one place that turns an error into
an exit code (0 done, 1 the release failed or a gate refused, 2 a mistake in options or release.toml).

Only Invoke and the table of options are imported here, so that `invoke --list` is quick.
"""

import atexit
import functools
import gc
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Context, Exit, Task, task

from tagship.cli.options import OPTIONS, format_options, read_options
from tagship.cli.positional_name import OptionalName, OptionalTag, PositionalName

if TYPE_CHECKING:
    from tagship.cli.outcome import Outcome
    from tagship.system.console import Console

INTERRUPTED, TERMINATED = 130, 143
"""The exit codes after Ctrl-C and after SIGTERM, as shells have them."""
_SAME = "the same command"
# New objects after which garbage is looked for. Loading what a task needs makes three times as many, which nothing lets
# go: by Python's own number, 700, it is looked through so often that it takes a sixth of starting.
_NEW_OBJECTS = 50_000


class Refusal(dict[str, Any]):
    """A document that says no: it is printed as others are, and the task ends with exit code 1."""


def verb(
    *names: str,
    of_formats: bool = False,
    repeated: tuple[str, ...] = (),
    valueless: tuple[str, ...] = (),
    flags: dict[str, str] | None = None,
    name_is_optional: bool = False,
    tag_is_positional: bool = False,
    writes: bool = True,
    needs_policy: bool = True,
) -> Callable[[Callable[..., Any]], Task[Any]]:
    """A task with some of OPTIONS; its body gets a session and the options, and returns a document.

    `of_formats` is whether it takes the options that belong to formats as well. `repeated` are options that
    this task takes more than once, `valueless` those that may stand without a value, `flags` those of this task
    alone, which are on or off, with their help; `name_is_optional` is whether a positional name may be left out,
    `tag_is_positional` whether `--tag` may stand as a word, `writes` whether it changes anything. A task that does
    without a policy gets the console in place of a session.
    """
    options = {name: OPTIONS[name] for name in names} | (format_options() if of_formats else {})
    options |= {name: ([], OPTIONS[name][1] + "; may be repeated") for name in repeated}
    planned = {name.replace("-", "_") for name in options}
    options |= {name: (False, text) for name, text in (flags or {}).items()}

    def decorate(body: Callable[..., Any]) -> Task[Any]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            # Invoke turns it off for people's tasks; each command would compile what an editable install has.
            sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
            gc.set_threshold(_NEW_OBJECTS)
            atexit.register(gc.freeze)  # else the interpreter looks through everything once more when it ends
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
            klass=OptionalTag if tag_is_positional else OptionalName if name_is_optional else PositionalName,
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
    from tagship.cli.ci_output import mask_tokens
    from tagship.cli.outcome import rendered

    mask_tokens()
    try:
        outcome = _outcome(body, given, planned)
        if file := given.get("json_file"):
            outcome = _kept(outcome, file)
        if given.get("json"):
            print(rendered(outcome), end="", flush=True)
    except BrokenPipeError:  # nobody reads the output any more, as in `invoke plan --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=1) from None
    if outcome.code:
        raise Exit(code=outcome.code)


def _kept(outcome: "Outcome", file: str) -> "Outcome":
    """An outcome whose document is in a file, too; a file that cannot be written is a mistake in the options."""
    from tagship.cli.outcome import failed, rendered
    from tagship.system.console import Console
    from tagship.system.errors import UsageError
    from tagship.system.files import write_text

    try:
        write_text(Path(file), rendered(outcome))
    except OSError as error:
        unwritten = UsageError(f"--json-file {file} cannot be written: {error.strerror}")
        Console().fail(str(unwritten), None)
        return outcome if outcome.code else failed(unwritten)
    return outcome


def _outcome(body: Callable[..., Any], given: dict[str, Any], planned: set[str] | None) -> "Outcome":
    """Run a task's body; what went wrong is told to people, and is the outcome. Raises what is a bug of tagship."""
    from tagship.cli.ci_output import tell, tell_failure
    from tagship.cli.outcome import Outcome, failed, failure
    from tagship.system.console import Console
    from tagship.system.disk import told
    from tagship.system.ending import Terminated
    from tagship.system.errors import NothingToDo, ReleaseError

    console, task = Console(), body.__name__.replace("_", "-")
    try:
        document = _document(body, given, planned, console)
        tell(task, document)
        return Outcome(document=document, code=ReleaseError.exit_code if isinstance(document, Refusal) else 0)
    except NothingToDo as nothing:
        console.step("Nothing to do", str(nothing))
        tell(task, nothing.document)
        return Outcome(document=nothing.document)
    except KeyboardInterrupt as stopped:
        terminated = isinstance(stopped, Terminated)
        error = "terminated" if terminated else "interrupted"
        remedy = _with_time(f"{_SAME} goes on where this one stopped", stopped)
        console.fail(error, remedy)
        return failure(error, remedy, TERMINATED if terminated else INTERRUPTED)
    except BrokenPipeError:
        raise
    except (ReleaseError, OSError) as error:
        refused = told(error) if isinstance(error, OSError) else error
        if refused is None:
            raise
        refused.remedy = _with_time(refused.remedy, error)
        console.fail(str(refused), refused.remedy)
        tell_failure(task, refused)
        return failed(refused)


def _with_time(remedy: str | None, stopped: BaseException) -> str | None:
    """A remedy that says what goes on, with the time that it has to be told (`releases.going_on`)."""
    times = getattr(stopped, "__notes__", ())
    return remedy.replace(_SAME, f"{_SAME} with {times[0]}", 1) if remedy and times else remedy


def _document(body: Callable[..., Any], given: dict[str, Any], planned: set[str] | None, console: "Console") -> Any:
    from tagship.cli.session import open_session
    from tagship.system.shown import ShownOutput

    with redirect_stdout(ShownOutput(sys.stdout, as_json=bool(given.get("json")))):
        if planned is None:
            return body(console, **given)
        options = read_options({key: value for key, value in given.items() if key in planned})
        with open_session(given.get("config"), options, console) as session:
            return body(session, **given)
