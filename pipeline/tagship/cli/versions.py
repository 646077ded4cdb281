"""The verbs about versions: tag, bump, notes."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tagship.artifacts.archive import read_checksums
from tagship.cli.options import Options
from tagship.cli.session import Document, Session
from tagship.history.bump import Bump, decide, reasons
from tagship.history.changelog import insert
from tagship.history.conventional import Part
from tagship.history.line import choose_stream, line_of
from tagship.history.model import ModelState
from tagship.history.model_lookup import exported_state
from tagship.history.notes import Artifact, make_notes, render_notes
from tagship.history.tag_checks import Outcome, Tagging, refuse, run_checks
from tagship.history.unreleased import Coming, gather
from tagship.history.web_links import web_address
from tagship.hub.released import published_manifest, released_tags
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.naming.tags import Stream, VersionTag, read_tag
from tagship.policy.versions import REQUIRED
from tagship.release.plan import make_plan
from tagship.runs.run import choose_run, find_runs
from tagship.system.errors import ReleaseError, ToolError, UsageError
from tagship.system.files import write_text
from tagship.system.git_objects import Commit, Tag


def bump(session: Session, stream_name: str | None, part: str | None, prerelease: str | None) -> Document:
    """The next version of a stream, and why."""
    stream = choose_stream(session.config, stream_name)
    made = _next(session, stream, part, prerelease)
    _show_bump(session, made)
    return {
        "stream": stream.name,
        "last": made.last.name if made.last else None,
        "part": made.part.name.lower() if made.part else None,
        "version": made.version,
        "tag": made.tag,
        "reasons": [
            {"part": reason.part.name.lower(), "what": reason.what, "commit": reason.commit, "file": reason.file}
            for reason in made.reasons
        ],
    }


def tag(session: Session, name: str, *, message: str | None, push: bool, dry_run: bool) -> Document:
    """Check what the guide asks before tagging, create an annotated tag, and push it where asked to."""
    version_tag = _stream_tag(session, name)
    head = session.repository.head()
    remote = session.config.versions.remote
    if push and session.repository.remote_url(remote) is None:
        raise ReleaseError(
            f"there is no remote {remote!r} to push {name} to",
            remedy=f"git remote add {remote} URL, or name another one in [versions] remote",
        )
    there = _on_head(session, name, head) if session.repository.has_tag(name) else None
    created = there is None
    outcomes = _checked(session, version_tag, head, there)
    if there is None:
        text = (message or _message(session, version_tag, head)).strip()
        if not dry_run:
            session.repository.create_tag(name, text)
            session.console.step(f"Tagged {head.sha[:10]} as {name}")
    else:
        text = (there.message or "").strip()
        session.console.note(f"{name} is on {head.sha[:10]} already")
    if push and not dry_run:
        _push(session, remote, name)
    elif created and not dry_run and session.repository.remote_url(remote):
        session.console.note(f"git push {remote} {name} lets CI release it; --push does both")
    return {
        "tag": name,
        "version": version_tag.version,
        "commit": head.sha,
        "message": text,
        "created": created and not dry_run,
        "pushed": push and not dry_run,
        "checks": {outcome.name: outcome.problem for outcome in outcomes},
    }


def notes(session: Session, stream_name: str | None, *, write: bool) -> Document:
    """The notes of a tag, there or to come; without one, of what is not released yet."""
    repository, name = session.repository, session.options.tag
    version_tag, commit, date = None, repository.head(), session.now
    if name is not None:
        version_tag = _stream_tag(session, name)
        stream = version_tag.stream
        assert stream is not None
        if stream_name not in (None, stream.name):
            raise UsageError(f"{name} is of the stream {stream.name}, not {stream_name}", remedy="leave --stream out")
        if repository.has_tag(name):
            commit = repository.tag(name).commit
            date = commit.time
    else:
        stream = choose_stream(session.config, stream_name)
        if write:
            version_tag = read_tag(_next(session, stream, None, None).tag, [stream])
    coming = _gather(session, stream, commit, version_tag.version if version_tag else None)
    url = repository.remote_url(session.config.versions.remote)
    made = make_notes(
        coming,
        version_tag,
        date,
        web=web_address(url) if url else None,
        artifacts=_artifacts(session, version_tag) if version_tag else (),
    )
    text = render_notes(made, session.templates)
    if write:
        assert version_tag is not None
        _write_changelog(session, coming.line.changelog, version_tag, date, text)
    return {
        "tag": made.tag,
        "version": made.version,
        "since": made.since.name if made.since else None,
        "commits": len(coming.changes),
        "contributors": list(made.contributors),
        "notes": text,
    }


def _next(session: Session, stream: Stream, part: str | None, prerelease: str | None) -> Bump:
    coming = _gather(session, stream, session.repository.head(), None)
    if coming.since and coming.model and coming.model[0] is None:
        session.console.note(
            f"nothing here tells what the model of {coming.since.name} was made of, so that only commits decide: "
            "commit the runs, or keep the release's exports"
        )
    found = reasons(coming.changes, coming.model_changes(), coming.policy_files)
    return decide(
        stream,
        coming.releases,
        found,
        first=session.config.versions.first,
        part=_part(part),
        prerelease=prerelease,
    )


def _gather(session: Session, stream: Stream, commit: Commit, version: str | None) -> Coming:
    config = session.config
    has_runs = session.options.run is not None or bool(find_runs(config.runs, config.naming))
    return gather(
        config,
        session.repository,
        line_of(config, stream, session.repository),
        commit,
        run=choose_run(config.runs, config.naming, session.options.run) if has_runs else None,
        version=version,
        recorded=lambda release: exported_state(config, release) or _published_state(session, release),
    )


def _published_state(session: Session, release: VersionTag) -> ModelState | None:
    """What the Hub's manifest of a release says of its model; a Hub that does not answer is said."""
    with session.hub() as hub:
        if not hub.has_repos:
            return None
        try:
            for repo_id in released_tags(hub, session.config).get(release.name, ()):
                manifest = published_manifest(hub, repo_id, release.name)
                if manifest and (state := ModelState.from_manifest(manifest.model)):
                    return state
        except ReleaseError as error:
            session.console.note(str(error))
    return None


def _stream_tag(session: Session, name: str) -> VersionTag:
    """A tag of a stream. Raises UsageError that says why another is none, and what was probably meant."""
    streams = session.config.streams
    version_tag = read_tag(name, streams)
    if name.startswith("-"):  # Invoke takes whatever comes first for the name
        raise UsageError(f"{name} stands where the tag's name belongs", remedy="invoke --help tag")
    if version_tag.stream is None:
        meant = probably_meant(name, streams)
        raise UsageError(
            f"{name!r} is no version tag: {why_no_stream(name, streams)}",
            remedy=f"did you mean {meant}?" if meant else f"a version tag is such as {streams[0].tag_of('1.0.0')}",
        )
    return version_tag


def _push(session: Session, remote: str, name: str) -> None:
    try:
        session.repository.push_tag(remote, name)
    except ToolError as error:
        raise ReleaseError(
            f"{name} is tagged here, and {remote} did not take it: {error}",
            remedy=f"git push {remote} {name}, when that is mended; git tag --delete {name} takes the tag back",
        ) from None
    session.console.step(f"Pushed {name} to {remote}")


def _on_head(session: Session, name: str, head: Commit) -> Tag:
    existing = session.repository.tag(name)
    if existing.commit.sha != head.sha:
        raise ReleaseError(
            f"the tag {name} is on {existing.commit.sha[:10]} already, and {head.sha[:10]} is checked out",
            remedy="a version names one commit for ever: tag the next one (invoke bump)",
        )
    return existing


def _checked(session: Session, version_tag: VersionTag, head: Commit, there: Tag | None) -> list[Outcome]:
    """The checks' outcomes on a tag to be made, or on one that is there, as a release checks it."""
    tagging = Tagging(
        config=session.config, repository=session.repository, version_tag=version_tag, commit=head, tag=there
    )
    # Whether it is on the remote is what this verb is asked to change, or says at the end.
    outcomes = [outcome for outcome in run_checks(tagging) if outcome.name != "pushed"]
    _show_checks(session, outcomes)
    refuse(outcomes, version_tag.name)
    return outcomes


def _message(session: Session, version_tag: VersionTag, head: Commit) -> str:
    assert version_tag.stream is not None
    coming = _gather(session, version_tag.stream, head, version_tag.version)
    text = render_notes(make_notes(coming, version_tag, session.now), session.templates)
    return f"Release {version_tag.name}\n\n{text}"


def _artifacts(session: Session, version_tag: VersionTag) -> list[Artifact]:
    """The archives of a release that are here, with their recorded checksums."""
    options = Options(tag=version_tag.name, run=session.options.run)
    with suppress(ReleaseError):  # the tag, or its run, is not here: then there are no archives of it either
        plan = make_plan(session.config, options, session.repository, session.now)
        sums = read_checksums(session.config.artifacts)
        paths = [target.artifact for target in plan.targets]
        return [
            Artifact(name=path.name, size=path.stat().st_size, sha256=sums[path.name])
            for path in paths
            if path.is_file() and path.name in sums
        ]
    return []


def _write_changelog(session: Session, path: Path, version_tag: VersionTag, date: datetime, text: str) -> None:
    try:
        before = path.read_bytes().decode("utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is not UTF-8: {error}") from None
    after = insert(before, version_tag.version, date.date(), text)
    if after == before:
        session.console.note(f"{path.name} has an entry for {version_tag.version} already: it is left as it is")
        return
    write_text(path, after)
    session.console.step(f"Wrote the entry for {version_tag.version} into {path.name}")


def _part(text: str | None) -> Part | None:
    known = {part.name.lower(): part for part in Part if part}
    if text is None:
        return None
    if text not in known:
        raise UsageError(f"--part must be one of {', '.join(known)}, not {text!r}")
    return known[text]


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
