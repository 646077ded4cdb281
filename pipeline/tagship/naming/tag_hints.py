"""Why a tag is of no stream, and which one was probably meant."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from tagship.naming.tags import Stream, VersionTag, read_tag
from tagship.naming.version import is_semver
from tagship.system.errors import UsageError

_PLACE = "{version}"
# A version as people write it: one to three numbers, with what may follow them.
_VERSION_LIKE = re.compile(
    r"(?P<major>[0-9]+)(?:[._-](?P<minor>[0-9]+))?(?:[._-](?P<patch>[0-9]+))?"
    r"(?:[.-]?(?P<label>alpha|beta|rc|pre|dev|a|b)(?![A-Za-z])[.-]?(?P<number>[0-9]*))?(?P<build>\+[0-9A-Za-z.-]+)?",
    re.IGNORECASE,
)
_NUMBERS = ("major", "minor", "patch")
# Two prefixes that are as like each other as `model_v` and `model-v`.
_ALIKE = 0.7


def why_no_stream(tag: str, streams: Sequence[Stream]) -> str:
    """Why no stream has a tag, of which none does."""
    for stream in sorted(streams, key=lambda stream: len(stream.pattern.text), reverse=True):
        before, _, after = stream.pattern.text.partition(_PLACE)
        if tag.startswith(before) and tag.endswith(after) and len(tag) > len(before) + len(after):
            version = tag[len(before) : len(tag) - len(after)]
            return f"it looks like the stream {stream.name}, but {version!r} is no version: {_fault(version)}"
    patterns = ", ".join(stream.pattern.text for stream in streams)
    return f"no stream has such tags: they are {patterns}"


def probably_meant(tag: str, streams: Sequence[Stream]) -> str | None:
    """The tag of a stream that is nearest to one that is of none, or None where it has no version in it."""
    if read_tag(tag, streams).stream:
        return tag
    for stream in sorted(streams, key=lambda stream: len(stream.pattern.text), reverse=True):
        before, _, after = stream.pattern.text.partition(_PLACE)
        # The stream's own name may have a number in it, as llama3-v{version} has.
        if before and tag.startswith(before) and tag.removeprefix(before).endswith(after):
            version = _mended(_VERSION_LIKE.search(tag.removeprefix(before).removesuffix(after)))
            return stream.tag_of(version) if version else None
    found = max(_VERSION_LIKE.finditer(tag), key=_numbers, default=None)
    version = _mended(found)
    return _nearest_stream(tag[: found.start()].lower(), streams).tag_of(version) if found and version else None


def version_tag(name: str, streams: Sequence[Stream]) -> VersionTag:
    """A tag of a stream. Raises UsageError that says why another is none, and what was probably meant."""
    found = read_tag(name, streams)
    if found.stream is None:
        meant = probably_meant(name, streams)
        raise UsageError(
            f"{name!r} is no version tag: {why_no_stream(name, streams)}",
            remedy=f"did you mean {meant}?" if meant else f"a version tag is such as {streams[0].tag_of('1.0.0')}",
        )
    return found


def _numbers(found: re.Match[str]) -> int:
    return sum(found[part] is not None for part in _NUMBERS)


def _mended(found: re.Match[str] | None) -> str | None:
    """A version as SemVer writes it."""
    if found is None:
        return None
    version = ".".join(_without_zeros(found[part] or "") for part in _NUMBERS)
    if found["label"]:
        version += f"-{found['label'].lower()}" + (f".{_without_zeros(found['number'])}" if found["number"] else "")
    version += found["build"] or ""
    return version if is_semver(version) else None


def _without_zeros(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _nearest_stream(before: str, streams: Sequence[Stream]) -> Stream:
    prefixes = [(stream.pattern.text.partition(_PLACE)[0].lower(), stream) for stream in streams]
    likeness, nearest = max(
        ((SequenceMatcher(None, before, prefix).ratio(), number) for number, (prefix, _) in enumerate(prefixes)),
        key=lambda like: (like[0], -like[1]),
    )
    if likeness >= _ALIKE:
        return prefixes[nearest][1]
    ending = [(prefix, stream) for prefix, stream in prefixes if prefix and before.endswith(prefix)]
    return max(ending, key=lambda pair: len(pair[0]))[1] if ending else streams[0]


def _fault(version: str) -> str:
    """The rule of SemVer 2.0 that a text breaks."""
    core = re.split("[-+]", version, maxsplit=1)[0]
    numbers = core.split(".")
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return "SemVer begins with three numbers, MAJOR.MINOR.PATCH"
    if len(numbers) != 3:
        return f"SemVer has three numbers, MAJOR.MINOR.PATCH, and this has {len(numbers)}"
    if any(number != _without_zeros(number) for number in numbers):
        return "a number has no zero before it"
    return "what follows the three numbers is not as SemVer has it, such as -rc.1 or +build.5"
