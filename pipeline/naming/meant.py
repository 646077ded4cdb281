"""Why a tag is of no stream, and which one was probably meant."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from pipeline.naming.fields import is_semver
from pipeline.naming.tag import Stream

_PLACE = "{version}"
# A version as people write it: one to three numbers, with what may follow them.
_VERSION_LIKE = re.compile(
    r"(?P<major>[0-9]+)(?:[._-](?P<minor>[0-9]+))?(?:[._-](?P<patch>[0-9]+))?"
    r"(?P<pre>[.-]?(?:alpha|beta|rc|pre|dev|a|b)[.-]?[0-9]*)?(?P<build>\+[0-9A-Za-z.-]+)?(?P<rest>.*)"
)
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
    found = _VERSION_LIKE.search(tag)
    if found is None:
        return None
    version = ".".join(str(int(found[part] or 0)) for part in ("major", "minor", "patch"))
    if found["pre"]:
        label = found["pre"].strip(".-")
        word = re.match("[a-z]+", label)
        assert word is not None
        number = label[word.end() :].strip(".-")
        version += f"-{word[0]}" + (f".{int(number)}" if number else "")
    version += found["build"] or ""
    if not is_semver(version):
        return None
    return _nearest_stream(tag[: found.start()].lower(), streams).tag_of(version)


def _nearest_stream(before: str, streams: Sequence[Stream]) -> Stream:
    prefixes = [(stream.pattern.text.partition(_PLACE)[0], stream) for stream in streams]
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
    if any(number != str(int(number)) for number in numbers):
        return "a number has no zero before it"
    return "what follows the three numbers is not as SemVer has it, such as -rc.1 or +build.5"
