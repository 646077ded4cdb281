"""Which byte ranges of which xorbs make up a range of a file: the CAS API's answer to a download."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.hub_server.xet import Chunk, FileRecord, Segment, XetStore, chunk_table


class Term(Struct, frozen=True, kw_only=True):
    """Chunks `first` to `last` (exclusive) of a xorb, which are `start` bytes into the file."""

    xorb: str
    first: int
    last: int
    start: int
    chunks: tuple[Chunk, ...]

    def as_json(self) -> dict[str, Any]:
        """The term, as api.md names its fields."""
        return {
            "hash": self.xorb,
            "unpacked_length": sum(chunk.length for chunk in self.chunks),
            "range": {"start": self.first, "end": self.last},
        }

    def fetch_info(self, url: str) -> dict[str, Any]:
        """Where its chunks are inside the xorb at `url`; the byte range includes its end."""
        return {
            "range": {"start": self.first, "end": self.last},
            "url": url,
            "url_range": {"start": self.chunks[0].start, "end": self.chunks[-1].end - 1},
        }


def _term(segment: Segment, position: int, chunks: tuple[Chunk, ...], start: int, end: int) -> Term:
    """The part of a segment, at `position` in the file, that covers `start` to `end`, in whole chunks."""
    first, last = segment.first, segment.last
    while position + chunks[first].length <= start:
        position += chunks[first].length
        first += 1
    stop, after = position, first
    while after < last and stop < end:
        stop += chunks[after].length
        after += 1
    return Term(xorb=segment.xorb, first=first, last=after, start=position, chunks=chunks[first:after])


def terms(store: XetStore, record: FileRecord, start: int, end: int) -> tuple[Term, ...]:
    """The terms that cover the bytes `start` to `end` (exclusive) of a file.

    Only the first may begin before `start`. Raises XetError if a xorb is malformed.
    """
    found, position = [], 0
    for segment in record.segments:
        if position < end and start < position + segment.length:
            chunks = chunk_table(store.xorb(segment.xorb))
            found.append(_term(segment, position, chunks, start, end))
        position += segment.length
    return tuple(found)


def _merged(found: list[Term]) -> list[Term]:
    """Terms of one xorb as few separate ranges: hf_xet panics if two ranges to fetch overlap."""
    ranges: list[Term] = []
    for term in sorted(found, key=lambda term: (term.first, term.last)):
        if ranges and term.first <= ranges[-1].last:
            before = ranges.pop()
            chunks = before.chunks + term.chunks[before.last - term.first :]
            term = replace(before, last=max(before.last, term.last), chunks=chunks)
        ranges.append(term)
    return ranges


def answer(found: tuple[Term, ...], start: int, url_of: Callable[[str], str]) -> dict[str, Any]:
    """The body of GET /v1/reconstructions; `url_of` gives the (signed) URL of a xorb."""
    by_xorb: dict[str, list[Term]] = {}
    for term in found:
        by_xorb.setdefault(term.xorb, []).append(term)
    fetch = {}
    for xorb, parts in by_xorb.items():
        url = url_of(xorb)
        fetch[xorb] = [part.fetch_info(url) for part in _merged(parts)]
    return {
        "offset_into_first_range": start - found[0].start if found else 0,
        "terms": [term.as_json() for term in found],
        "fetch_info": fetch,
    }
