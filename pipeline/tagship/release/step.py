"""A step of a release, and its work on targets: what a process needs to do it, here or elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

from msgspec import Struct

from tagship.hub.connection import Hub, open_hub
from tagship.policy.config import Config
from tagship.release.export_checks import ExportChecks
from tagship.release.plan import Plan
from tagship.release.results import Results
from tagship.release.targets import Target, by_repo
from tagship.system.console import Console
from tagship.system.git import Repository
from tagship.system.scratch_folders import ScratchFolders
from tagship.system.templating import Templates
from tagship.system.worker import lending
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.registry import reference_runtime


class Tools(Struct, frozen=True, kw_only=True):
    """The effects that steps use, given from outside; `scratch` are folders for what steps of a task share, and
    `checks` looks at exports that are there already, while steps go on that do not use them."""

    repository: Repository
    hub: Hub
    runtimes: Runtimes
    console: Console
    templates: Templates
    scratch: ScratchFolders
    checks: ExportChecks


@contextmanager
def open_tools(plan: Plan, repository: Repository, console: Console) -> Iterator[Tools]:
    """The tools for a plan; what they start, an embedded Hub and the runtimes, ends with the block."""
    config = plan.config
    with (
        open_hub(plan.endpoint, config.namespace, hub_root(config), console.note) as hub,
        tools_of(config, repository, hub, console) as tools,
    ):
        yield tools


@contextmanager
def tools_of(config: Config, repository: Repository, hub: Hub, console: Console) -> Iterator[Tools]:
    """As `open_tools`, with a Hub that is open."""
    with (
        ScratchFolders("beside") as scratch,
        Runtimes() as runtimes,
        lending(partial(runtimes.lent, reference_runtime().name)),
        ExportChecks(console) as checks,
    ):
        yield Tools(
            repository=repository,
            hub=hub,
            runtimes=runtimes,
            console=console,
            templates=templates_of(config),
            scratch=scratch,
            checks=checks,
        )


def hub_root(config: Config) -> Path:
    """Where the embedded Hub of a project keeps its repositories."""
    return config.state / "hub"


def templates_of(config: Config) -> Templates:
    """The templates of a project: its own, those that its formats bring, and those that tagship ships."""
    brought = {policy.name: policy.format.templates for policy in config.formats}
    return Templates(config.root, {name: folder for name, folder in brought.items() if folder})


# The steps that send exports ahead of their commit: all of them, or those that this disk has no room for; and the one
# that makes what exports share. Others ask whether a task has them.
SENDS, SENDS_WHERE_FULL, SHARES = "send", "send_where_full", "share"
# What steps leave on this machine's disks, as large as the models are.
EXPORTS, ARCHIVES, STORE, BASE_IN_STORE = "exports", "archives", "the Hub's store", "the base in the Hub's store"
# What is there only while exports are compared, or what they share is made.
BESIDE, SHARED = "what exports are compared beside", "what exports share"


def never_skipped(plan: Plan) -> str | None:
    """No reason to leave a step out."""
    return None


class Step(Struct, frozen=True, kw_only=True):
    """One step of a release: `once` runs for the whole plan, `each` for every target, `together` for all
    targets of one format at a time, `of_repo` for all that go to one repo.

    All take what earlier steps returned and give what later ones select from. `skip` gives the
    reason why a plan does not need the step, or None. `portable` is whether an executor may do its work on
    targets elsewhere: each piece then depends on earlier steps alone, and all functions are those of a module. One that
    `goes_on` looks at all targets, also where one is refused, before the run ends: who mends that knows of the others.
    `writes` is what it leaves on the disk, of EXPORTS and those beside it.
    """

    name: str
    title: str
    once: Callable[[Plan, Results, Tools], Iterable[object]] | None = None
    each: Callable[[Plan, Target, Results, Tools], Iterable[object]] | None = None
    together: Callable[[Plan, Sequence[Target], Results, Tools], Iterable[object]] | None = None
    of_repo: Callable[[Plan, Sequence[Target], Results, Tools], Iterable[object]] | None = None
    skip: Callable[[Plan], str | None] = never_skipped
    portable: bool = False
    goes_on: bool = False
    writes: tuple[str, ...] = ()


def written_by(steps: Iterable[Step], plan: Plan) -> list[str]:
    """What the steps of a task leave on this machine's disks for a plan, in order: another machine's Hub has a store of
    its own."""
    written = dict.fromkeys(what for step in steps if not step.skip(plan) for what in step.writes)
    elsewhere = () if plan.embedded else (STORE, BASE_IN_STORE)
    whole = all(target.policy.format.whole for target in plan.targets)
    return [what for what in written if what not in (*elsewhere, *((BESIDE,) if whole else ()))]


def verifies(steps: Iterable[Step]) -> bool:
    """Whether a task runs models."""
    return any(step.name == "verify" for step in steps)


class Work(Struct, frozen=True, kw_only=True):
    """What a step has to do for targets that are done at a time. It can be pickled: with the repository at the plan's
    commit, the base model, and tools of its own, another process does the same."""

    step: Step
    plan: Plan
    targets: tuple[Target, ...]
    done: Results


class WorkDone(Struct, frozen=True, kw_only=True):
    """What came of a piece of work, and in how many seconds."""

    results: tuple[object, ...]
    seconds: float


def groups_of(step: Step, plan: Plan) -> list[tuple[Target, ...]]:
    """The targets that a step does at a time; none for one that is done once."""
    if step.each:
        return [(target,) for target in plan.targets]
    if step.of_repo:
        return list(by_repo(plan.targets).values())
    by_format: dict[str, list[Target]] = {}
    for target in plan.targets if step.together else ():
        by_format.setdefault(target.policy.name, []).append(target)
    return [tuple(targets) for targets in by_format.values()]


def do(work: Work, tools: Tools) -> WorkDone:
    """Do a piece of work in this process. Raises what the step raises."""
    began = monotonic()
    results: list[object] = []
    if work.step.each:
        for target in work.targets:
            results += work.step.each(work.plan, target, work.done, tools)
    for whole in filter(None, (work.step.together, work.step.of_repo)):
        results += whole(work.plan, work.targets, work.done, tools)
    return WorkDone(results=tuple(results), seconds=monotonic() - began)
