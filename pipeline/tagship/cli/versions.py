"""The verbs about versions: tag, bump, notes."""

from collections.abc import Sequence

from tagship.cli.session import Document, Session
from tagship.history.bump import Bump, next_version
from tagship.history.changelog import write_entry
from tagship.history.conventional import Part
from tagship.history.line import choose_stream
from tagship.history.notes import make_notes, render_notes
from tagship.history.tag_checks import Outcome, refuse
from tagship.history.unreleased import Unreleased, gather
from tagship.naming.tag_hints import version_tag
from tagship.naming.tags import Stream, VersionTag, read_tag
from tagship.policy.versions import REQUIRED
from tagship.release.plan import make_plan, repository_page
from tagship.release.release_notes import archives_of, recorded_states
from tagship.release.tagging import check_release, check_remote, check_tagging, push_tag, tag_on, taken_versions
from tagship.runs.run import choose_run, find_runs
from tagship.system.called import called
from tagship.system.errors import UsageError
from tagship.system.git_objects import Commit

# How many commits that follow no convention are named.
_SHOWN = 3


def bump(session: Session, stream_name: str | None, part: str | None, prerelease: str | None) -> Document:
    """The next version of a stream, and why."""
    stream = choose_stream(session.config, stream_name)
    unreleased = _gather(session, stream, session.repository.head(), None)
    _show_unconventional(session, unreleased)
    made = _next(session, unreleased, part, prerelease)
    _show_bump(session, made)
    return {
        "stream": stream.name,
        "last": made.last.name if made.last else None,
        "part": made.part.name.lower() if made.part else None,
        "version": made.version,
        "tag": made.tag,
        "commits": unreleased.commits,
        "unconventional": len(unreleased.unconventional()),
        "skipped": [skipped.name for skipped in made.skipped],
        "reasons": [
            {"part": reason.part.name.lower(), "what": reason.what, "commit": reason.commit, "file": reason.file}
            for reason in made.reasons
        ],
    }


def tag(session: Session, name: str, *, message: str | None, push: bool, dry_run: bool) -> Document:
    """Check what the guide asks before tagging, create an annotated tag, and push it where asked to."""
    config, repository, console = session.config, session.repository, session.console
    version = _version_tag(session, name)
    head, remote = repository.head(), config.versions.remote
    there = tag_on(repository, name, head)
    if silent := check_remote(config, repository, name, here=there is not None, push=push):
        console.warn(silent, f"git ls-remote --tags {remote} {name}, before you push it")
    outcomes = check_tagging(config, repository, version, head, there)
    _show_checks(session, outcomes)
    refuse(outcomes, name)
    plan = make_plan(config, session.options, repository, session.now, coming=version)
    if silent := check_release(plan, session.hub if push else None):
        console.warn(
            f"nobody could say whether the base model is there: {silent}", f"{called()} doctor, once it answers"
        )
    if there is None:
        text = (message or _message(session, version, head)).strip()
        if dry_run:
            console.step(f"{head.sha[:10]} would be tagged as {name}" + (f", and pushed to {remote}" if push else ""))
        else:
            repository.create_tag(name, text)
            console.step(f"Tagged {head.sha[:10]} as {name}")
    else:
        text = (there.message or "").strip()
        console.note(f"{name} is on {head.sha[:10]} already")
    if push and not dry_run:
        push_tag(config, repository, name)
        console.step(f"Pushed {name} to {remote}")
    elif there is None and not dry_run and repository.remote_url(remote):
        console.note(f"git push {remote} {name} lets CI release it; --push does both")
    return {
        "tag": name,
        "version": version.version,
        "commit": head.sha,
        "message": text,
        "created": there is None and not dry_run,
        "pushed": push and not dry_run,
        "checks": {outcome.name: outcome.problem for outcome in outcomes},
    }


def notes(session: Session, stream_name: str | None, *, write: bool, dry_run: bool = False) -> Document:
    """The notes of a tag, there or to come; without one, of what is not released yet. With `dry_run` they are not
    written, but all that comes before that is done."""
    config, repository, name = session.config, session.repository, session.options.tag
    version, commit, date = None, repository.head(), session.now
    if name is not None:
        version = _version_tag(session, name)
        assert version.stream is not None
        stream = version.stream
        if stream_name not in (None, stream.name):
            raise UsageError(f"{name} is of the stream {stream.name}, not {stream_name}", remedy="leave --stream out")
        if repository.has_tag(name):
            commit = repository.tag(name).commit
            date = commit.time
    else:
        stream = choose_stream(config, stream_name)
        if write:
            coming = _gather(session, stream, commit, None)
            version = read_tag(_next(session, coming, None, None).tag, [stream])
    unreleased = _gather(session, stream, commit, version.version if version else None)
    _show_unconventional(session, unreleased)
    made = make_notes(
        unreleased,
        version,
        date,
        web=repository_page(config, repository),
        artifacts=archives_of(config, repository, version, session.options.run, session.now) if version else (),
    )
    text = render_notes(made, session.templates)
    if write:
        assert version is not None
        path = unreleased.line.changelog
        if dry_run:
            session.console.step(f"The entry for {version.version} would be written into {path.name}")
        elif write_entry(path, version.version, date.date(), text, tag=version.name):
            session.console.step(f"Wrote the entry for {version.version} into {path.name}")
        else:
            session.console.note(f"{path.name} has an entry for {version.version} already: it is left as it is")
    return {
        "tag": made.tag,
        "version": made.version,
        "since": made.since.name if made.since else None,
        "commits": unreleased.commits,
        "unconventional": len(unreleased.unconventional()),
        "contributors": list(made.contributors),
        "notes": text,
    }


def _next(session: Session, unreleased: Unreleased, part: str | None, prerelease: str | None) -> Bump:
    if unreleased.since and unreleased.model and unreleased.model[0] is None:
        session.console.note(
            f"nothing here tells what the model of {unreleased.since.name} was made of, so that only commits decide: "
            "commit the runs, or keep the release's exports"
        )
    taken = taken_versions(session.config, session.repository, unreleased.line.stream, session.console.note)
    made = next_version(
        unreleased,
        first=session.config.versions.first,
        part=_part(part),
        prerelease=prerelease,
        taken=tuple(taken),
    )
    for skipped in made.skipped:
        session.console.note(f"{skipped.name} is taken, {taken[skipped]}: skipped")
    return made


def _gather(session: Session, stream: Stream, commit: Commit, version: str | None) -> Unreleased:
    config = session.config
    has_runs = session.options.run is not None or bool(find_runs(config.runs, config.naming))
    return gather(
        config,
        session.repository,
        stream,
        commit,
        run=choose_run(config.runs, config.naming, session.options.run) if has_runs else None,
        version=version,
        recorded=recorded_states(config, session.hub, session.console.note),
    )


def _version_tag(session: Session, name: str) -> VersionTag:
    return version_tag(name, session.config.streams)


def _message(session: Session, version: VersionTag, head: Commit) -> str:
    assert version.stream is not None
    unreleased = _gather(session, version.stream, head, version.version)
    text = render_notes(make_notes(unreleased, version, session.now), session.templates)
    return f"Release {version.name}\n\n{text}"


def _part(text: str | None) -> Part | None:
    known = {part.name.lower(): part for part in Part if part}
    if text is None:
        return None
    if text not in known:
        raise UsageError(f"--part must be one of {', '.join(known)}, not {text!r}")
    return known[text]


def _show_unconventional(session: Session, unreleased: Unreleased) -> None:
    """What of the commits could not be read, and what it counts for."""
    if found := unreleased.unconventional():
        shown = [f"{logged.commit.sha[:7]} {logged.change.description}" for logged in found[:_SHOWN]]
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        session.console.note(
            f"{len(found)} of {unreleased.commits} commits {'follows' if len(found) == 1 else 'follow'} no convention "
            f"(type: description), and count as a patch: {'; '.join([*shown, *more])}"
        )
    if types := unreleased.unknown_types():
        session.console.note(
            f"types that raise nothing, as nobody said what they mean: "
            f"{', '.join(f'{kind} ({number})' for kind, number in types.items())}; [versions.aliases] can say it"
        )


def _show_bump(session: Session, made: Bump) -> None:
    after = f"after {made.last.name}: {made.part.name.lower()}" if made.last else "the first of its stream"
    session.console.step(f"Next: {made.tag}", after)
    for reason in made.reasons:
        where = f"commit {reason.commit[:10]}" if reason.commit else reason.file
        session.console.note(f"{reason.part.name.lower()}: {reason.what} ({where})")


def _show_checks(session: Session, outcomes: Sequence[Outcome]) -> None:
    session.console.step("Checks")
    for outcome in outcomes:
        if outcome.problem is None:
            session.console.note(f"{outcome.name}: ok")
        elif outcome.level != REQUIRED:
            session.console.warn(f"{outcome.name}: {outcome.problem}", outcome.remedy)
