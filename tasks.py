"""The Invoke tasks, one for each verb; `tagship` is the same program as a console command.

Another repository gets them with a tasks.py of its own:

    from tagship.cli.program import collection

    namespace = collection()
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from invoke import Context, task
from tagship.cli.program import namespace_of
from tagship.cli.shell import verb

COMMON = ("config", "json", "json-file")
EXTENT = ("quick", "thorough")
RELEASING = ("tag", "untagged", "run", "base", "format", "quant", "hub", "at", "dry-run", "yes", *COMMON)
TO_HUB = {"to-hub": "send large files to the Hub, where they show when all is committed, and remove them here"}


def _prints(given: dict[str, Any]) -> bool:
    """Whether a task's document is read by anybody."""
    return bool(given.get("json") or given.get("json_file"))


@verb(
    *RELEASING,
    "repo-name",
    "private",
    "create-pr",
    "on",
    "results",
    *EXTENT,
    of_formats=True,
    tag_is_positional=True,
    repeated=("run",),
    flags=TO_HUB,
)
def release(session: Any, dry_run: bool, on: str | None, results: str, to_hub: bool, **given: Any) -> Any:
    """Plan, export, verify, describe, package, publish and check a model; --on says where."""
    from tagship.cli import fleet, releases

    if dry_run:
        return releases.plan(session, units=_prints(given))
    return fleet.release(session, on, results, to_hub=to_hub)


@verb(
    *RELEASING,
    "output",
    "repo-name",
    "private",
    *EXTENT,
    of_formats=True,
    tag_is_positional=True,
    writes=False,
    repeated=("run",),
    flags={"matrix": "print the units as GitHub's strategy.matrix takes them through fromJSON"},
)
def plan(session: Any, json: bool, matrix: bool, **given: Any) -> Any:
    """Print what `release` with the same options would do; as JSON, what `work` and `gather` take."""
    from tagship.cli import releases
    from tagship.system.errors import UsageError

    if json and matrix:
        raise UsageError("--json and --matrix both print on standard output", remedy="--matrix --json-file plan.json")
    return releases.plan(session, units=json or _prints(given), matrix=matrix)


@verb(
    "plan",
    "index",
    "results",
    *COMMON,
    flags=TO_HUB,
)
def work(session: Any, plan: str | None, index: str | None, results: str, to_hub: bool, **given: Any) -> Any:
    """Do one unit of a plan, anywhere: export and verify it, and leave the result for `gather`."""
    from tagship.cli import units

    return units.work(session, plan, index, results, to_hub=to_hub)


@verb("plan", "results", *COMMON)
def gather(session: Any, plan: str | None, results: str, **given: Any) -> Any:
    """Check the results of all units of a plan, and publish them as one release."""
    from tagship.cli import units

    return units.gather(session, plan, results)


@verb(*RELEASING, "output", of_formats=True, repeated=("run",))
def export(session: Any, dry_run: bool, **given: Any) -> Any:
    """Export one or more formats."""
    from tagship.cli import releases

    return releases.shown(session) if dry_run else releases.export(session)


@verb("tag", "untagged", "run", "base", "hub", "at", *COMMON)
def imatrix(session: Any, **given: Any) -> Any:
    """Make an importance matrix of a run's merged model, which the types of its GGUFs are weighed by."""
    from tagship.cli import releases

    return releases.imatrix(session)


@verb("tag", "run", "base", "format", "quant", "hub", "at", "path", *EXTENT, *COMMON, of_formats=True)
def verify(session: Any, path: str | None, **given: Any) -> Any:
    """Run an export and compare its answers with base + adapter."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, steps.VERIFY_ONLY)


@verb("tag", "run", "format", "quant", "at", "path", *COMMON, of_formats=True)
def package(session: Any, path: str | None, **given: Any) -> Any:
    """Make the reproducible archive of an export."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, steps.PACKAGE_ONLY)


@verb("tag", "run", "base", "format", "quant", "hub", "at", "path", *COMMON, of_formats=True)
def card(session: Any, path: str | None, **given: Any) -> Any:
    """Render the model card of an export."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, steps.CARD_ONLY)


@verb(*RELEASING, "path", "repo-name", "private", "create-pr", *EXTENT, of_formats=True)
def publish(session: Any, path: str | None, dry_run: bool, **given: Any) -> Any:
    """Verify an export and upload it."""
    from tagship.cli import releases
    from tagship.release import steps

    return releases.on_exports(session, path, () if dry_run else steps.PUBLISH_ONLY)


@verb("tag", *COMMON, tag_is_positional=True, writes=False)
def version(session: Any, json: bool, **given: Any) -> Any:
    """Print the version that a tag carries."""
    from tagship.cli import names

    document = names.version(session)
    if not json:
        print(document["version"])
    return document


@verb(*COMMON, writes=False)
def runs(session: Any, json: bool, **given: Any) -> Any:
    """List the training runs, newest first."""
    from tagship.cli import names

    listed = names.runs(session)
    if not json:
        for run in listed:
            print(run["run"] + (f"  ({run['problem']})" if "problem" in run else ""))
    return listed


@verb("tag", "map", "hub", "dry-run", "yes", *COMMON)
def migrate(session: Any, map: list[str], dry_run: bool, yes: bool, **given: Any) -> Any:
    """Give date-based artifacts and repos versioned names; a plan first, --yes applies it."""
    from tagship.cli.migrate import migrate_names

    return migrate_names(session, map, yes=yes and not dry_run)


@verb("keep", "hub", "dry-run", *COMMON)
def clean(session: Any, keep: str | None, dry_run: bool, **given: Any) -> Any:
    """Remove exports and archives that are published, or with --keep N all but the newest."""
    from tagship.cli import clean as cleaning

    return cleaning.clean(session, keep, dry_run=dry_run)


@verb("tag", "run", "base", "format", "quant", "hub", *COMMON, writes=False)
def doctor(session: Any, tag: str | None, run: str | None, json: bool, **given: Any) -> Any:
    """Say what would stop a release here; --run: what an adapter is and takes; --tag: what a tag triggers and why."""
    from tagship.cli.doctor import diagnose, examine, explain_tag, lines_of
    from tagship.cli.lines import print_lines

    document = explain_tag(session, tag) if tag else examine(session) if run else diagnose(session)
    if not json:
        print_lines(lines_of(document))
    return document


@verb("name", "new", "base", "run", "dataset", "rank", "alpha", "epochs", "field", "at", *COMMON, writes=False)
def name(session: Any, name: str, new: bool, field: list[str], json: bool, **given: Any) -> Any:
    """Say what a name says; --new: make a training run's name."""
    from tagship.cli import names
    from tagship.cli.lines import print_lines

    document = names.new_name(session, given, field) if new else names.name(session, name)
    if not json:
        print_lines([document["name"]] if new else names.described(document))
    return document


@verb(
    "name", "repo", "tag", "run", "base", "format", "quant", "hub", "at", *COMMON, name_is_optional=True, writes=False
)
def lint(session: Any, name: str | None, repo: str | None, **given: Any) -> Any:
    """Hold a run's, an export's or a repo's name against the weights; without one, those of a release."""
    from tagship.cli import lint

    return lint.lint(session, name, repo)


@verb("name", "message", "push", "run", "base", "dry-run", *COMMON)
def tag(session: Any, name: str, message: str | None, push: bool, dry_run: bool, **given: Any) -> Any:
    """Check what has to be true before tagging, then create an annotated tag."""
    from tagship.cli import versions

    return versions.tag(session, name, message=message, push=push, dry_run=dry_run)


@verb("hub", *COMMON, writes=False)
def tags(session: Any, json: bool, **given: Any) -> Any:
    """List version tags by stream, newest version first."""
    from tagship.cli.tags import tags_as_json, tags_as_lines

    sys.stdout.writelines(tags_as_json(session) if json else tags_as_lines(session))


@verb("stream", "part", "pre", "push", "run", "base", "hub", "dry-run", *COMMON, flags={"tag": "create the tag"})
def bump(session: Any, tag: bool, push: bool, dry_run: bool, json: bool, **given: Any) -> Any:
    """Say the next version of a stream, and why; --tag creates it."""
    from tagship.cli import versions

    document = versions.bump(session, given["stream"], given["part"], given["pre"])
    if tag or push:
        document |= versions.tag(session, document["tag"], message=None, push=push, dry_run=dry_run)
    if not json:
        print(document["version"])
    return document


@verb("tag", "stream", "write", "run", "hub", "dry-run", *COMMON)
def notes(session: Any, stream: str | None, write: bool, dry_run: bool, json: bool, **given: Any) -> Any:
    """Write release notes from the commits since the stream's last tag."""
    from tagship.cli import versions

    document = versions.notes(session, stream, write=write, dry_run=dry_run)
    if not json:
        print(document["notes"], end="")
    return document


@verb("repo", "tag", "hub", *COMMON, writes=False)
def audit(session: Any, repo: str | None, **given: Any) -> Any:
    """Compare what is published with what its manifest claims."""
    from tagship.cli import published

    return published.audit(session, repo)


@verb("repo", "revision", "run", "hub", *COMMON, writes=False)
def reproduce(session: Any, repo: str | None, revision: str | None, **given: Any) -> Any:
    """Export again what a release.json tells, and compare it byte by byte with what was published."""
    from tagship.cli import reproduce

    return reproduce.reproduce(session, repo, revision)


@verb("to", "format", "hub", "create-pr", "dry-run", "yes", *COMMON)
def rollback(session: Any, to: str | None, dry_run: bool, yes: bool, create_pr: bool, **given: Any) -> Any:
    """Make an earlier release the live one again, or a later one; a plan first, --yes applies it."""
    from tagship.cli import published

    return published.rollback(session, to, yes=yes and not dry_run, create_pr=create_pr)


@verb("html", "markdown", "hub", *COMMON, valueless=("html", "markdown"), writes=False)
def matrix(session: Any, html: Any, markdown: Any, json: bool, **given: Any) -> Any:
    """Show versions by formats: what is there, what was shown of it, and what is live."""
    from tagship.cli import published

    return published.matrix(session, html, markdown, json=json)


@verb("hub", *COMMON, writes=False)
def status(session: Any, json: bool, **given: Any) -> Any:
    """Show published models, and the CI runs that version tags triggered."""
    from tagship.cli.lines import print_lines
    from tagship.cli.status import lines_of
    from tagship.cli.status import status as read_status

    document = read_status(session)
    if not json:
        print_lines(lines_of(document))
    return document


@verb("port", "root", "auth", "host", "config", flags={"gc": "remove what no commit has any longer, and do not serve"})
def hub(session: Any, port: str, root: str | None, auth: str | None, host: str, gc: bool, **given: Any) -> None:
    """Serve the embedded Hub in the foreground; --gc frees its storage."""
    from tagship.cli.hub import Address, clean_hub, serve_hub

    clean_hub(session, root) if gc else serve_hub(session, Address(host=host, port=port), root=root, auth=auth)


@verb("set", "template", "yes", "dry-run", "json", "json-file", needs_policy=False)
def init(console: Any, set: list[str], template: list[str], yes: bool, dry_run: bool, json: bool, **given: Any) -> Any:
    """Set up a repository: release.toml, .gitignore, workflows, tasks.py; a plan first, --yes writes it."""
    from tagship.cli import init

    return init.init(console, set, template, yes=yes and not dry_run, asks=init.asks_people(as_json=json))


@task(
    help={
        "quick": "leave out what takes seconds",
        "long": "run what takes a minute, too",
        "coverage": "print which lines no test runs",
    }
)
def test(context: Context, quick: bool = False, long: bool = False, coverage: bool = False) -> None:
    """Run this repository's tests."""
    chosen = ["not slow"] * quick + ["not long"] * (not long)
    options = [f"-m '{' and '.join(chosen)}'"] * bool(chosen)
    options += ["--cov --cov-report=term-missing:skip-covered"] * coverage
    context.run(" ".join([sys.executable, "-m pytest", *options]))


@task(name="lint-code")
def lint_code(context: Context) -> None:
    """Check this repository's style, types, imports, workflows and site."""
    run, tools = f"{sys.executable} -m", Path(sys.executable).parent
    context.run(f"{run} ruff check .")
    context.run(f"{run} ruff format --check .")
    context.run(f"{run} mypy")
    context.run(f"{tools}/lint-imports")
    context.run(f"{run} deptry .")
    context.run(f"{tools}/zizmor --offline --quiet .github")
    context.run(f"{tools}/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml")
    if find_spec("mkdocs"):
        quiet = {"NO_MKDOCS_2_WARNING": "1"}
        context.run(f"{run} mkdocs build --strict --config-file docs/site/mkdocs.yml", env=quiet)
    else:
        print('left out: the site of docs/, which pip install -e ".[docs]" lets it build', file=sys.stderr)


@task(help={"name": "startup, tags, export, package, hub, release or another of bench; default: the first five"})
def bench(context: Context, name: str = "") -> None:
    """Measure this program against what a user would use instead."""
    for module in [name] if name else ["startup", "tags", "export", "package", "hub"]:
        context.run(f"{sys.executable} -m bench.{module}")


GROUPS = {
    "Release": (init, release, plan, doctor),
    "On several machines": (work, gather),
    "Parts of a release": (export, imatrix, verify, card, package, publish),
    "Versions": (version, tags, bump, tag, notes),
    "Names and runs": (name, lint, runs, migrate),
    "What was released": (audit, reproduce, rollback, matrix, status, clean),
    "The embedded Hub": (hub,),
}
namespace = namespace_of(GROUPS)
for own in (test, lint_code, bench):  # of this repository alone: others get GROUPS
    namespace.add_task(own)
