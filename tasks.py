"""The Invoke tasks: one short task for each verb, and the one place that turns an error into an
exit code (0 done, 1 the release failed or a gate refused, 2 a mistake in options or release.toml).

Only Invoke and the table of options are imported here, so that `invoke --list` is quick.
"""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from invoke import Collection, Context, Exit, Task, task
from tagship.cli.options import OPTIONS, read_options
from tagship.cli.positional_name import PositionalName

COMMON = ("config", "json")
RELEASING = ("tag", "run", "base", "format", "quant", "hub", "at", "dry-run", "yes", *COMMON)
EXPORTING = (*RELEASING, "imatrix")


def verb(
    *names: str, repeated: tuple[str, ...] = (), flags: dict[str, str] | None = None
) -> Callable[[Callable[..., Any]], Task[Any]]:
    """A task with some of OPTIONS; its body gets a session and the options, and returns a document.

    `repeated` are options that this task takes more than once, `flags` those of this task alone, which are
    on or off, with their help.
    """
    options = {name: OPTIONS[name] for name in names}
    options |= {name: ([], OPTIONS[name][1] + "; may be repeated") for name in repeated}
    options |= {name: (False, text) for name, text in (flags or {}).items()}
    planned = {name.replace("-", "_") for name in names}

    def decorate(body: Callable[..., Any]) -> Task[Any]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            _guarded(body, given, planned)

        parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for name, (default, _) in options.items():
            key, value = name.replace("-", "_"), None if default == [] else default
            parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return task(
            run,
            name=body.__name__.replace("_", "-"),
            klass=PositionalName,
            positional=[],
            iterable=[name.replace("-", "_") for name, (default, _) in options.items() if default == []],
            help={name: text for name, (_, text) in options.items()},
            auto_shortflags=False,
        )

    return decorate


def _guarded(body: Callable[..., Any], given: dict[str, Any], planned: set[str]) -> None:
    from tagship.system.console import Console
    from tagship.system.errors import ReleaseError

    console = Console()
    try:
        from tagship.cli.session import open_session

        options = read_options({key: value for key, value in given.items() if key in planned})
        with open_session(given.get("config"), options, console) as session:
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


@verb(*EXPORTING, "repo-name", "private")
def release(session: Any, dry_run: bool, **given: Any) -> Any:
    """Plan, export, verify, describe, package, publish and check a model."""
    from tagship.cli import releases

    return releases.plan(session) if dry_run else releases.release(session)


@verb(*EXPORTING, "output", "repo-name", "private")
def plan(session: Any, **given: Any) -> Any:
    """Print what `release` with the same options would do."""
    from tagship.cli import releases

    return releases.plan(session)


@verb(*EXPORTING, "output", repeated=("run",))
def export(session: Any, dry_run: bool, **given: Any) -> Any:
    """Export one or more formats."""
    from tagship.cli import releases

    return releases.plan(session) if dry_run else releases.export(session)


@verb("tag", "run", "base", "format", "quant", "at", "path", *COMMON)
def verify(session: Any, path: str | None, **given: Any) -> Any:
    """Run an export and compare its answers with base + adapter."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, steps.VERIFY_ONLY)


@verb("tag", "run", "format", "quant", "at", "path", *COMMON)
def package(session: Any, path: str | None, **given: Any) -> Any:
    """Make the reproducible archive of an export."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, steps.PACKAGE_ONLY)


@verb("tag", "run", "base", "format", "quant", "at", "path", *COMMON)
def card(session: Any, path: str | None, **given: Any) -> Any:
    """Render the model card of an export."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, steps.CARD_ONLY)


@verb(*RELEASING, "path", "repo-name", "private")
def publish(session: Any, path: str | None, dry_run: bool, **given: Any) -> Any:
    """Verify an export and upload it."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, () if dry_run else steps.PUBLISH_ONLY)


@verb("tag", *COMMON)
def version(session: Any, json: bool, **given: Any) -> Any:
    """Print the version that a tag carries."""
    from tagship.cli import names

    document = names.version(session)
    if not json:
        print(document["version"])
    return document


@verb(*COMMON)
def runs(session: Any, json: bool, **given: Any) -> Any:
    """List the training runs, newest first."""
    from tagship.cli import names

    listed = names.runs(session)
    if not json:
        for run in listed:
            print(run["run"] + (f"  ({run['problem']})" if "problem" in run else ""))
    return listed


@verb("tag", "map", "hub", "yes", *COMMON)
def migrate(session: Any, map: list[str], yes: bool, **given: Any) -> Any:
    """Give date-based artifacts and repos versioned names; a plan first, --yes applies it."""
    from tagship.cli.migrate import migrate_names

    return migrate_names(session, map, yes=yes)


@verb("tag", "run", "format", "hub", *COMMON)
def doctor(session: Any, tag: str | None, **given: Any) -> Any:
    """Say what would stop a release here; --tag: why a tag triggers what it does."""
    from tagship.cli.doctor import diagnose, explain_tag

    return explain_tag(session, tag) if tag else diagnose(session)


@verb("name", "new", "base", "run", "dataset", "rank", "alpha", "epochs", "field", "at", *COMMON)
def name(session: Any, name: str, new: bool, field: list[str], json: bool, **given: Any) -> Any:
    """Say what a name says; --new: make a training run's name."""
    from tagship.cli import names

    document = names.new_name(session, given, field) if new else names.name(session, name)
    if not json:
        print(document["name"] if new else names.described(document))
    return document


@verb("name", "message", "push", "run", "dry-run", *COMMON)
def tag(session: Any, name: str, message: str | None, push: bool, dry_run: bool, **given: Any) -> Any:
    """Check what has to be true before tagging, then create an annotated tag."""
    from tagship.cli import versions

    return versions.tag(session, name, message=message, push=push, dry_run=dry_run)


@verb("hub", *COMMON)
def tags(session: Any, json: bool, **given: Any) -> Any:
    """List version tags by stream, newest version first."""
    from tagship.cli.tags import tags_as_json, tags_as_lines

    sys.stdout.writelines(tags_as_json(session) if json else tags_as_lines(session))


@verb("stream", "part", "pre", "push", "run", "hub", *COMMON, flags={"tag": "create the tag"})
def bump(session: Any, tag: bool, push: bool, json: bool, **given: Any) -> Any:
    """Say the next version of a stream, and why; --tag creates it."""
    from tagship.cli import versions

    document = versions.bump(session, given["stream"], given["part"], given["pre"])
    if tag or push:
        document |= versions.tag(session, document["tag"], message=None, push=push, dry_run=False)
    if not json:
        print(document["version"])
    return document


@verb("tag", "stream", "write", "run", "hub", *COMMON)
def notes(session: Any, stream: str | None, write: bool, json: bool, **given: Any) -> Any:
    """Write release notes from the commits since the stream's last tag."""
    from tagship.cli import versions

    document = versions.notes(session, stream, write=write)
    if not json:
        print(document["notes"], end="")
    return document


@verb("port", "root", "config")
def hub(session: Any, port: int, root: str | None, **given: Any) -> None:
    """Serve the embedded Hub in the foreground."""
    from tagship.cli.hub import serve_hub

    serve_hub(session, port, root)


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


@task(help={"name": "startup, tags, export or package; default: all"})
def bench(context: Context, name: str = "") -> None:
    """Measure this program against what a user would use instead."""
    for module in [name] if name else ["startup", "tags", "export", "package"]:
        context.run(f"{sys.executable} -m bench.{module}")


namespace = Collection(
    release,
    plan,
    export,
    verify,
    package,
    card,
    publish,
    version,
    tags,
    bump,
    tag,
    notes,
    name,
    migrate,
    doctor,
    runs,
    hub,
    test,
    lint_code,
    bench,
)
