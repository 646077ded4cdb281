"""The verb `tags`: version tags by stream, newest version first."""

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter

from tagship.artifacts.manifest import manifests_below
from tagship.cli.session import Session
from tagship.hub.patience import ASIDE, impatient
from tagship.hub.released import released_tags
from tagship.naming.tags import PUBLISH, Stream, read_tag
from tagship.naming.version import Precedence, precedence
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git_objects import ListedTag, RemoteTag

_LITERAL = {None: "null", True: "true", False: "false"}
_json = json.JSONEncoder(ensure_ascii=False).encode
_text = json.encoder.encode_basestring


def tags_as_json(session: Session) -> Iterator[str]:
    """The document of `tags --json`, piece by piece: a repository may have a hundred thousand tags.

    `pushed` and `released` are null where the remote or the Hub did not answer. Of a stream that publishes nothing,
    `released` is whether its export is here.
    """
    listing = _Listing(session)
    yield '{\n  "streams": ['
    for number, stream in enumerate(session.config.streams):
        head = f'{{"stream": {_json(stream.name)}, "pattern": {_json(stream.pattern.text)}, "tags": ['
        yield f"{',' if number else ''}\n    {head}"
        for number_of_tag, (tag, version) in enumerate(listing.of(stream)):
            yield f"{',' if number_of_tag else ''}\n      {listing.entry(tag, version, stream)}"
        yield "\n    ]}"
    yield f'\n  ],\n  "other": {_json(listing.other)}\n}}\n'


def tags_as_lines(session: Session) -> Iterator[str]:
    """The tags as people read them, a line each."""
    listing = _Listing(session)
    for stream in session.config.streams:
        yield f"{stream.name}  ({stream.pattern.text})\n"
        done = "released" if PUBLISH in stream.does else "exported"
        for tag, _ in listing.of(stream):
            marks = f"{_mark(listing.pushed(tag), 'pushed')}, {_mark(listing.released(tag, stream), done)}"
            yield f"  {tag.name:<24} {tag.date[:10]}  {marks}  {tag.subject}\n"
        if not any(listing.of(stream)):
            yield "  none\n"
    if listing.other:
        more = f" and {len(listing.other) - 10} more" if len(listing.other) > 10 else ""
        yield f"other tags, which trigger nothing: {', '.join(listing.other[:10])}{more}\n"


class _Listing:
    """All tags, by stream, with what the remote and the Hub have of them."""

    def __init__(self, session: Session) -> None:
        streams = session.config.streams
        by_stream: dict[str, list[tuple[Precedence, ListedTag, str]]] = {stream.name: [] for stream in streams}
        self.other: list[str] = []
        with _uncollected():
            for tag in session.repository.list_tags():
                read = read_tag(tag.name, streams)
                if read.stream is None:
                    self.other.append(tag.name)
                else:
                    by_stream[read.stream.name].append((precedence(read.version), tag, read.version))
        for listed in by_stream.values():
            listed.sort(key=itemgetter(0), reverse=True)
        self._by_stream = by_stream
        self._on_remote = _on_remote(session)
        self._on_hub = _on_hub(session) if any(by_stream.values()) else {}
        self._exported = {manifest.tag for manifest in manifests_below(session.config.exports)}

    def of(self, stream: Stream) -> Iterator[tuple[ListedTag, str]]:
        return ((tag, version) for _, tag, version in self._by_stream[stream.name])

    def pushed(self, tag: ListedTag) -> bool | None:
        return None if self._on_remote is None else self._is_on_remote(tag)

    def _is_on_remote(self, tag: ListedTag) -> bool:
        found = self._on_remote.get(tag.name) if self._on_remote else None
        return found is not None and found.commit == tag.commit

    def released(self, tag: ListedTag, stream: Stream) -> bool | None:
        """Whether what its stream does was done: published, or exported here."""
        if PUBLISH not in stream.does:
            return tag.name in self._exported
        return None if self._on_hub is None else tag.name in self._on_hub

    def entry(self, tag: ListedTag, version: str, stream: Stream) -> str:
        """A tag in JSON. Version and hash have no letter that JSON would escape, nor has a date."""
        repos = self._on_hub.get(tag.name, ()) if self._on_hub else ()
        return (
            f'{{"tag": {_text(tag.name)}, "version": "{version}", "commit": "{tag.commit}", "date": "{tag.date}", '
            f'"message": {_text(tag.subject)}, "annotated": {_LITERAL[tag.annotated]}, '
            f'"pushed": {_LITERAL[self.pushed(tag)]}, "released": {_LITERAL[self.released(tag, stream)]}, '
            f'"repos": {_json(repos) if repos else "[]"}}}'
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: looking through what a hundred thousand tags have made takes a quarter of
    the time. They are all kept to the end, so that later collections need not look at them either."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _on_remote(session: Session) -> Mapping[str, RemoteTag] | None:
    """The tags on the remote, by their names; none where there is no remote."""
    remote = session.config.versions.remote
    if session.repository.remote_url(remote) is None:
        return {}
    try:
        return session.repository.remote_tags(remote, seconds=ASIDE)
    except ToolError as error:
        session.console.warn(f"{remote} did not say which tags it has: {error}", None)
        return None


def _on_hub(session: Session) -> Mapping[str, Sequence[str]] | None:
    with session.hub() as hub:
        try:
            with impatient(ASIDE):
                return released_tags(hub, session.config) if hub.has_repos else {}
        except ReleaseError as error:
            session.console.warn(str(error), error.remedy)
            return None


def _mark(value: bool | None, word: str) -> str:
    return {None: f"{word}?", True: word, False: f"not {word}"}[value]
