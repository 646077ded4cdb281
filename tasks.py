"""The Invoke tasks: one short task for each verb, and the one place that turns an error into an
exit code (0 done, 1 the release failed or a gate refused, 2 a mistake in options or release.toml).

Only Invoke is imported here, so that `invoke --list` is quick.
"""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from invoke import Collection, Context, Exit, Task, task

# What options mean, everywhere: name -> (default, help). A list is an option that may be repeated.
OPTIONS: dict[str, tuple[Any, str]] = {
    "tag": (None, "the version tag to release; default: the one at HEAD, if there is one"),
    "run": (None, "the training run: a name below [project] runs, or a path; default: the newest"),
    "base": (None, "the base model in place of the run's own: a Hub id or a folder"),
    "format": ([], "a format to release; may be repeated; default: all of release.toml"),
    "quant": ([], "a quantization type, such as q4_k_m; may be repeated"),
    "hub": (None, "the Hub: a URL, or 'embedded'"),
    "at": (None, "the time for names as YYYYMMDD-HHMMSS in UTC; default: SOURCE_DATE_EPOCH, else now"),
    "config": (None, "the policy file; default: release.toml"),
    "output": (None, "the folder that exports go to"),
    "path": (None, "the folder of one export"),
    "repo-name": (None, "the repo's name in place of the policy's"),
    "private": (False, "make the repo private"),
    "dry-run": (False, "print the plan and do nothing"),
    "yes": (False, "do not ask"),
    "json": (False, "print one JSON document on standard output"),
    "port": (8765, "the port on 127.0.0.1"),
    "root": (None, "the folder that holds the repositories"),
}
COMMON = ("config", "json")
RELEASING = ("tag", "run", "base", "format", "quant", "hub", "at", "dry-run", "yes", *COMMON)
# Options that become fields of pipeline.plan.Options, by the names they have there.
PLANNED = {
    "tag": "tag",
    "run": "run",
    "base": "base",
    "format": "formats",
    "quant": "quants",
    "hub": "hub",
    "repo_name": "repo_name",
    "private": "private",
}


def verb(*names: str) -> Callable[[Callable[..., Any]], Task[Any]]:
    """A task with some of OPTIONS; its body gets a session and the options, and returns a document."""

    def decorate(body: Callable[..., Any]) -> Task[Any]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            _guarded(body, given)

        keys = [name.replace("-", "_") for name in names]
        parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for key, name in zip(keys, names, strict=True):
            default = OPTIONS[name][0]
            parameters.append(
                inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None if default == [] else default)
            )
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        repeated = [key for key, name in zip(keys, names, strict=True) if OPTIONS[name][0] == []]
        helps = {name: OPTIONS[name][1] for name in names}
        return task(run, name=body.__name__.replace("_", "-"), iterable=repeated, help=helps, auto_shortflags=False)

    return decorate


def _guarded(body: Callable[..., Any], given: dict[str, Any]) -> None:
    from pipeline.console import Console
    from pipeline.errors import ReleaseError

    console = Console()
    try:
        from pipeline.commands import open_session

        with open_session(given.get("config"), _planned(given), console) as session:
            document = body(session, **given)
        if given.get("json") and document is not None:
            print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)
    except ReleaseError as error:
        console.fail(str(error), error.remedy)
        raise Exit(code=error.exit_code) from None
    except KeyboardInterrupt:
        console.fail("interrupted", "the same command goes on where this one stopped")
        raise Exit(code=130) from None
    except BrokenPipeError:  # nobody reads the output any more, as in `invoke plan --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=1) from None


def _planned(given: dict[str, Any]) -> Any:
    from pathlib import Path

    from pipeline.naming.clock import parse_moment
    from pipeline.plan import Options

    values = {field: given[key] for key, field in PLANNED.items() if given.get(key)}
    for field in ("formats", "quants"):
        values[field] = tuple(values.get(field, ()))
    if given.get("at"):
        values["at"] = parse_moment(given["at"])
    if given.get("output"):
        values["output"] = Path(given["output"]).absolute()
    return Options(**values)


@verb(*RELEASING, "repo-name", "private")
def release(session: Any, dry_run: bool, **given: Any) -> Any:
    """Plan, export, verify, describe, package, publish and check a model."""
    from pipeline import commands

    return commands.plan(session) if dry_run else commands.release(session)


@verb(*RELEASING, "output", "repo-name", "private")
def plan(session: Any, **given: Any) -> Any:
    """Print what `release` with the same options would do."""
    from pipeline import commands

    return commands.plan(session)


@verb(*RELEASING, "output")
def export(session: Any, dry_run: bool, **given: Any) -> Any:
    """Export one or more formats."""
    from pipeline import commands

    return commands.plan(session) if dry_run else commands.export(session)


@verb("tag", "run", "base", "format", "quant", "at", "path", *COMMON)
def verify(session: Any, path: str | None, **given: Any) -> Any:
    """Run an export and compare its answers with base + adapter."""
    from pipeline import commands, steps

    return commands.on_exports(session, path, steps.VERIFY_ONLY)


@verb("tag", "run", "format", "quant", "at", "path", *COMMON)
def package(session: Any, path: str | None, **given: Any) -> Any:
    """Make the reproducible archive of an export."""
    from pipeline import commands, steps

    return commands.on_exports(session, path, steps.PACKAGE_ONLY)


@verb("tag", "run", "base", "format", "quant", "at", "path", *COMMON)
def card(session: Any, path: str | None, **given: Any) -> Any:
    """Render the model card of an export."""
    from pipeline import commands, steps

    return commands.on_exports(session, path, steps.CARD_ONLY)


@verb(*RELEASING, "path", "repo-name", "private")
def publish(session: Any, path: str | None, dry_run: bool, **given: Any) -> Any:
    """Verify an export and upload it."""
    from pipeline import commands, steps

    return commands.on_exports(session, path, () if dry_run else steps.PUBLISH_ONLY)


@verb("tag", *COMMON)
def version(session: Any, json: bool, **given: Any) -> Any:
    """Print the version that a tag carries."""
    from pipeline import commands

    document = commands.version(session)
    if not json:
        print(document["version"])
    return document


@verb(*COMMON)
def runs(session: Any, json: bool, **given: Any) -> Any:
    """List the training runs, newest first."""
    from pipeline import commands

    listed = commands.runs(session)
    if not json:
        for run in listed:
            print(run["run"] + (f"  ({run['problem']})" if "problem" in run else ""))
    return listed


@verb("port", "root", "config")
def hub(session: Any, port: int, root: str | None, **given: Any) -> None:
    """Serve the embedded Hub in the foreground."""
    from pipeline import commands

    commands.serve_hub(session, port, root)


@task
def test(context: Context) -> None:
    """Run this repository's tests."""
    context.run(f"{sys.executable} -m pytest")


@task(name="lint-code")
def lint_code(context: Context) -> None:
    """Check this repository's style and types."""
    context.run(f"{sys.executable} -m ruff check .")
    context.run(f"{sys.executable} -m ruff format --check .")
    context.run(f"{sys.executable} -m mypy")


@task(help={"name": "startup, merge or package; default: all"})
def bench(context: Context, name: str = "") -> None:
    """Measure this program against what a user would use instead."""
    for module in [name] if name else ["startup", "merge", "package"]:
        context.run(f"{sys.executable} -m bench.{module}")


namespace = Collection(
    release, plan, export, verify, package, card, publish, version, runs, hub, test, lint_code, bench
)
