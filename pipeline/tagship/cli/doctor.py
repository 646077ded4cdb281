"""The verb `doctor`: what would stop a release here, what an adapter is and takes, why a tag triggers what it does."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from msgspec import to_builtins

from tagship.cli.options import unusable_options
from tagship.cli.session import Document, Session
from tagship.cli.shell import Refusal
from tagship.formats.protocol import Footprint
from tagship.history.tag_checks import Outcome, Tagging, run_checks
from tagship.hub.connection import Hub
from tagship.hub.fetch import fetch_base, locate_base
from tagship.lint.finding import ERROR
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.naming.tags import VersionTag, read_tag, version_tags
from tagship.policy.verify import GENERAL_PROMPTS
from tagship.policy.versions import REQUIRED
from tagship.release import gates
from tagship.release.describing import check_cards
from tagship.release.destinations import check_base_is_there, check_local, check_repos
from tagship.release.evaluating import check_task_file
from tagship.release.finding import OK, STOP, WARN, Finding, tried
from tagship.release.name_checks import check_names, lint_run
from tagship.release.native import native_findings
from tagship.release.plan import Plan, choose_named_run
from tagship.release.release_notes import unreleased_in
from tagship.release.results import Fetched, Results
from tagship.release.seal_checks import asks_for_seals, check_sealable
from tagship.release.step import tools_of
from tagship.release.steps import RELEASE
from tagship.release.surroundings import look_around
from tagship.release.targets import Target
from tagship.release.verifying import examine_model
from tagship.runs.base_folder import BaseFolder
from tagship.system.called import called
from tagship.system.errors import ReleaseError
from tagship.system.git_objects import Tag
from tagship.system.shown import masked
from tagship.system.templating import human_size


def diagnose(session: Session) -> Document:
    """Look at everything that a release would, and change nothing."""
    with session.hub() as hub:
        findings = list(_findings(session, hub))
    return _document(findings)


def examine(session: Session) -> Document:
    """Look at the adapter of a run, its base, and what releasing it takes, and change nothing."""
    from tagship.release.examination.document import document_of
    from tagship.release.examination.examine import examine_run
    from tagship.release.examination.findings import findings_of

    with session.hub() as hub:
        found = examine_run(session.config, session.options, hub, session.templates)
    return _document([*findings_of(found), *_names(session)], **document_of(found))


def _names(session: Session) -> Iterator[Finding]:
    """What the run's name says that is not so. One that cannot be made is told elsewhere."""
    config, options = session.config, session.options
    try:
        run, base = choose_named_run(config, options, options.run)
        findings = lint_run(config, run, base)
    except ReleaseError:
        return
    lies = STOP if config.checks.names == REQUIRED else WARN
    for finding in findings:
        if finding.level != OK and not finding.omission:
            level = lies if finding.level == ERROR else WARN
            yield Finding(level=level, what=finding.sentence, remedy=finding.remedy)


def lines_of(document: Document) -> list[str]:
    """The findings of a document as people read them."""
    return [
        masked(f"{finding['level']}: {finding['what']}" + (f" ({finding['remedy']})" if finding["remedy"] else ""))
        for finding in document["findings"]
    ]


def _document(findings: list[Finding], **facts: Any) -> Document:
    stopped = any(finding.level == STOP for finding in findings)
    document = {**facts, "ok": not stopped, "findings": [to_builtins(finding) for finding in findings]}
    return Refusal(document) if stopped else document


def explain_tag(session: Session, name: str) -> Document:
    """Why a tag triggers what it does, or nothing, and what was probably meant."""
    streams = session.config.streams
    tag = read_tag(name, streams)
    if tag.stream is None:
        meant = probably_meant(name, streams)
        why = f"{name} triggers nothing, and its version is its full name: {why_no_stream(name, streams)}"
        findings = [Finding(level=STOP, what=why, remedy=f"did you mean {meant}?" if meant else None)]
    else:
        meant = None
        findings = list(_tag_findings(session, tag))
    return _document(
        findings,
        tag=name,
        version=tag.version,
        stream=tag.stream.name if tag.stream else None,
        triggers=tag.stream is not None,
        does=list(tag.does),
        meant=meant,
    )


def _tag_findings(session: Session, tag: VersionTag) -> Iterator[Finding]:
    assert tag.stream is not None
    released = ", ".join(policy.name for policy in session.config.released_by(tag.stream)) or "no format"
    does = " and ".join(tag.does)
    yield Finding(level=OK, what=f"{tag.name} is of the stream {tag.stream.name}, carries version {tag.version}")
    yield Finding(level=OK if released else STOP, what=f"it triggers: {does}, of {released}")
    if not session.repository.has_tag(tag.name):
        yield Finding(level=STOP, what=f"there is no tag {tag.name} here", remedy=f"{called()} tag {tag.name}")
        return
    found = session.repository.tag(tag.name)
    yield from _place_findings(session, tag, found)


def _place_findings(session: Session, tag: VersionTag, found: Tag) -> Iterator[Finding]:
    deciding = version_tags(session.repository.tags_at(found.commit), session.config.streams)[0]
    if deciding.name != tag.name:
        yield Finding(
            level=OK,
            what=f"{deciding.name} is on the same commit, and outside of CI decides, by the order of [tags]",
            remedy=f"{called()} release --tag {tag.name}",
        )
    head = session.repository.head()
    if found.commit.sha == head.sha:
        tagging = Tagging(config=session.config, repository=session.repository, version_tag=tag, commit=head, tag=found)
        yield from map(_checked, run_checks(tagging))
    else:
        yield Finding(
            level=STOP,
            what=f"it is on {found.commit.sha[:10]}, and {head.sha[:10]} is checked out",
            remedy=f"git checkout {tag.name}",
        )


def _findings(session: Session, hub: Hub) -> Iterator[Finding]:
    yield from look_around(session.config, session.repository)
    plans: list[Plan] = []
    yield tried("release.toml, the run and every name", lambda: plans.append(session.plan()))
    if not plans:
        return
    plan = plans[0]
    yield tried("model cards and runtimes", lambda: gates.check_formats(plan.targets, session.templates))
    yield from (Finding(level=WARN, what=problem) for problem in unusable_options())
    if session.config.verify.asks_in_general:
        yield Finding(level=WARN, what=GENERAL_PROMPTS)
    if session.config.evaluate:
        yield tried("the cases of the task", lambda: check_task_file(plan))
    yield tried("the runs were trained to write text", lambda: gates.check_tasks(plan.targets))
    adapters = tried("the formats can hold what the adapters change", lambda: gates.check_adapters(plan.targets))
    yield adapters
    modules = tried(
        "optional dependencies",
        lambda: gates.check_modules(plan.targets, verifies=True, native=bool(plan.config.verify.native)),
    )
    yield modules
    if modules.level == OK:
        yield from native_findings(plan)
    if plan.tag is None:
        yield Finding(level=OK, what="no version tag is at HEAD: names have the time")
    else:
        outcomes: list[Outcome] = []
        yield tried(f"the tag {plan.tag.name}", lambda: outcomes.extend(gates.check_tag(plan, session.repository)))
        yield from map(_checked, outcomes)
    if plan.stream is not None and session.config.card.notes:
        yield tried("the history that the release notes are made of", lambda: unreleased_in(plan, session.repository))
    if plan.publishes:
        yield tried(f"access to {plan.endpoint}, and its names there", lambda: check_repos(plan, hub))
        found: list[Finding | None] = []
        there = tried("the base of the adapter on the Hub", lambda: found.append(check_base_is_there(plan, hub)))
        yield from filter(None, found) if any(found) else [there]
        if asks_for_seals(session.config):
            yield tried("what its files are signed and described by", lambda: check_sealable(plan))
    yield tried("nothing of another release has its names here", lambda: check_local(plan))
    base = cache(lambda: fetch_base(locate_base(plan.base, hub)))
    whole = tried(f"the base model {plan.base.id}", lambda: _check_base(plan, hub, base))
    yield whole
    if whole.level != OK:
        return
    yield tried("the names say what is so", lambda: check_names(plan, plan.base.path))
    if plan.base.path is not None:
        footprints: list[tuple[Target, Footprint]] = []
        if adapters.level == OK:  # else it is told already
            what = f"the adapter of {plan.run.name}, memory and disk"
            fit = tried(what, lambda: footprints.extend(_footprints(session, plan, base())))
            yield fit
            if OK == fit.level == modules.level:
                can = "the trained model can be run and converted"
                yield tried(can, lambda: _examine_model(session, plan, hub, base()))
        yield tried("what the cards say", lambda: check_cards(plan, base(), session.templates))
        for target, needed in footprints:
            size = f"{human_size(needed.disk)} on disk, {human_size(needed.memory)} of memory"
            yield Finding(level=OK, what=f"{target.name}: {size}")


def _check_base(plan: Plan, hub: Hub, fetched: Callable[[], BaseFolder]) -> None:
    """Raise ReleaseError for a base that cannot be had, or, where it is on this disk, is not whole."""
    gates.check_base(locate_base(plan.base, hub))
    if plan.base.path is not None:
        fetched()


def _checked(outcome: Outcome) -> Finding:
    if outcome.problem is None:
        return Finding(level=OK, what=outcome.name)
    level = STOP if outcome.level == REQUIRED else WARN
    return Finding(level=level, what=f"{outcome.name}: {outcome.problem}", remedy=outcome.remedy)


def _examine_model(session: Session, plan: Plan, hub: Hub, base: BaseFolder) -> None:
    done = Results().plus([Fetched(base=base)])
    with tools_of(session.config, session.repository, hub, session.console) as tools:
        for _ in examine_model(plan, done, tools):
            pass


def _footprints(session: Session, plan: Plan, base: BaseFolder) -> list[tuple[Target, Footprint]]:
    fits = gates.check_fit(plan, base, session.templates, RELEASE)
    return [(fitting.target, fitting.footprint) for fitting in fits]
