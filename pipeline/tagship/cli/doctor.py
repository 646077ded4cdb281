"""The verb `doctor`: what would stop a release here, or why a tag triggers what it does."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from tagship.cli.options import unusable_options
from tagship.cli.session import Document, Session
from tagship.history.tag_checks import Outcome, Tagging, run_checks
from tagship.hub.access import check_access
from tagship.hub.connection import Hub
from tagship.hub.fetch import fetch_base, locate_base
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.naming.tags import VersionTag, read_tag, version_tags
from tagship.policy.versions import REQUIRED
from tagship.release import gates
from tagship.release.export_store import job_of
from tagship.release.name_checks import check_names
from tagship.release.plan import Plan
from tagship.release.release_notes import unreleased_in
from tagship.system.errors import ReleaseError
from tagship.system.git_objects import Tag
from tagship.system.templating import human_size

OK, WARN, STOP = "ok", "warn", "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was looked at: `ok`, `warn`, or `stop` where a release would be refused; and what
    mends it."""

    level: str
    what: str
    remedy: str | None = None


def diagnose(session: Session) -> Document:
    """Look at everything that a release would, and change nothing."""
    with session.hub() as hub:
        findings = list(_findings(session, hub))
    _show(session, findings)
    stopped = any(finding.level == STOP for finding in findings)
    return {"ok": not stopped, "findings": [asdict(finding) for finding in findings]}


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
    _show(session, findings)
    return {
        "tag": name,
        "version": tag.version,
        "stream": tag.stream.name if tag.stream else None,
        "triggers": tag.stream is not None,
        "does": list(tag.does),
        "meant": meant,
        "findings": [asdict(finding) for finding in findings],
    }


def _tag_findings(session: Session, tag: VersionTag) -> Iterator[Finding]:
    assert tag.stream is not None
    released = ", ".join(policy.name for policy in session.config.released_by(tag.stream)) or "no format"
    does = " and ".join(tag.does)
    yield Finding(level=OK, what=f"{tag.name} is of the stream {tag.stream.name}, carries version {tag.version}")
    yield Finding(level=OK if released else STOP, what=f"it triggers: {does}, of {released}")
    if not session.repository.has_tag(tag.name):
        yield Finding(level=STOP, what=f"there is no tag {tag.name} here", remedy=f"invoke tag {tag.name}")
        return
    found = session.repository.tag(tag.name)
    yield from _place_findings(session, tag, found)


def _place_findings(session: Session, tag: VersionTag, found: Tag) -> Iterator[Finding]:
    deciding = version_tags(session.repository.tags_at(found.commit), session.config.streams)[0]
    if deciding.name != tag.name:
        yield Finding(
            level=WARN,
            what=f"{deciding.name} is on the same commit and decides, by the order of [tags]",
            remedy=f"invoke release --tag {tag.name}",
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
    plans: list[Plan] = []
    yield _tried("release.toml, the run and every name", lambda: plans.append(session.plan()))
    if not plans:
        return
    plan = plans[0]
    yield _tried("model cards and runtimes", lambda: gates.check_formats(plan.targets, session.templates))
    yield from (Finding(level=WARN, what=problem) for problem in unusable_options())
    yield _tried("optional dependencies", lambda: gates.check_modules(plan.targets, verifies=True))
    if plan.tag is None:
        yield Finding(level=OK, what="no version tag is at HEAD: names have the time")
    else:
        outcomes: list[Outcome] = []
        yield _tried(f"the tag {plan.tag.name}", lambda: outcomes.extend(gates.check_tag(plan, session.repository)))
        yield from map(_checked, outcomes)
    if plan.stream is not None and session.config.card.notes:
        yield _tried("the history that the release notes are made of", lambda: unreleased_in(plan, session.repository))
    if plan.publishes:
        yield _tried(f"access to {plan.endpoint}", lambda: check_access(hub, session.config.namespace))
    yield _tried("what the names say", lambda: check_names(plan, plan.base.path))
    yield _tried(f"the base model {plan.base.id}", lambda: gates.check_download(locate_base(plan.base, hub).size))
    if plan.base.path is not None:
        yield _tried(f"the adapter of {plan.run.name}, memory and disk", lambda: _fit(session, plan, hub))


def _checked(outcome: Outcome) -> Finding:
    if outcome.problem is None:
        return Finding(level=OK, what=outcome.name)
    level = STOP if outcome.level == REQUIRED else WARN
    return Finding(level=level, what=f"{outcome.name}: {outcome.problem}", remedy=outcome.remedy)


def _fit(session: Session, plan: Plan, hub: Hub) -> None:
    base = fetch_base(locate_base(plan.base, hub))
    footprints = [
        (target, target.policy.format.footprint(job_of(plan, target, base, session.templates)))
        for target in plan.targets
    ]
    gates.check_disk(plan, footprints)
    gates.check_memory(footprints, verifies=True)
    for target, footprint in footprints:
        session.console.note(
            f"{target.name}: {human_size(footprint.disk)} on disk, {human_size(footprint.memory)} of memory"
        )


def _tried(what: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except ReleaseError as error:
        return Finding(level=STOP, what=str(error), remedy=error.remedy)
    return Finding(level=OK, what=what)


def _show(session: Session, findings: list[Finding]) -> None:
    for finding in findings:
        mended = f" ({finding.remedy})" if finding.remedy else ""
        session.console.note(f"{finding.level}: {finding.what}{mended}")
