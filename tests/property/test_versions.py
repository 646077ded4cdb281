"""Properties of versions: their order, what is one, which tag was meant, and which one is next."""

import semver
from hypothesis import example, given
from hypothesis import strategies as st
from tagship.history.bump import Reason, decide
from tagship.history.conventional import Part
from tagship.naming.pattern import Pattern
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.naming.tags import EXPORT, Stream, read_tag, version_tags
from tagship.naming.version import is_semver, precedence
from tagship.system.errors import ReleaseError, UsageError

numbers = st.integers(0, 30).map(str) | st.from_regex(r"[1-9][0-9]{0,20}", fullmatch=True)
identifiers = numbers | st.from_regex(r"[0-9]*[A-Za-z-][0-9A-Za-z-]{0,3}", fullmatch=True)
prereleases = st.lists(identifiers, min_size=1, max_size=3).map(lambda parts: "-" + ".".join(parts))
builds = st.from_regex(r"\+[0-9A-Za-z-]{1,4}(\.[0-9A-Za-z-]{1,4}){0,2}", fullmatch=True)
versions = st.builds(
    lambda core, pre, build: ".".join(core) + pre + build,
    st.tuples(numbers, numbers, numbers),
    st.just("") | prereleases,
    st.just("") | builds,
)
nearly_versions = st.lists(
    st.sampled_from([*"0123459.+-_aArv\n ", "1.2", "rc", "01", "10", "alpha", "\u0661", "²", "1.2.3", "-rc.1"]),
    max_size=8,
).map("".join)

STREAMS = [
    [Stream(name=name, pattern=Pattern(pattern), does=(EXPORT,)) for name, pattern in patterns.items()]
    for patterns in (
        {"semantic": "v{version}", "model": "model-v{version}", "export": "export-v{version}"},
        {"llama": "llama3-v{version}", "after": "v{version}-model", "capital": "V-{version}"},
        {"bare": "{version}", "slashes": "release/{version}", "größe": "größe-1-{version}"},
    )
]
streams = st.sampled_from(STREAMS)
tags = st.builds(
    lambda before, version, after: before + version + after,
    st.sampled_from(["", "v", "V", "model-v", "model_", "llama3-v", "llama3_", "release/", "größe-1-", "V-", "x"]),
    nearly_versions | versions | st.text(max_size=8),
    st.sampled_from(["", "-model", "_model"]),
)
SEMANTIC = STREAMS[0][0]


@given(versions, versions)
@example("1.0.0-alpha", "1.0.0-alpha.1")
@example("1.0.0-2", "1.0.0-11")
@example("1.0.0-1a", "1.0.0-2")
def test_order(one: str, other: str) -> None:
    """Tags are listed in the order that SemVer gives their versions."""
    a, b = semver.Version.parse(one), semver.Version.parse(other)
    assert (precedence(one) < precedence(other), precedence(one) == precedence(other)) == (a < b, a == b)


@given(nearly_versions | versions | st.text(max_size=12))
@example("1.0.0\n")
@example("1.0.0-\u0661")
@example("1.0.0-01")
@example("1.0.0-0a.00")
@example("1.0.0+01")
def test_what_is_a_version(text: str) -> None:
    """A text is a version where the semver library reads it as one."""
    assert is_semver(text) == semver.Version.is_valid(text)


@given(streams, tags)
def test_meant_tag(known: list[Stream], tag: str) -> None:
    """What was probably meant is a tag of a stream, and means itself."""
    meant = probably_meant(tag, known)
    if meant is not None:
        assert read_tag(meant, known).stream is not None
        assert probably_meant(meant, known) == meant


@given(streams, versions, st.integers(0, 2))
def test_version_tag_is_mended_back(known: list[Stream], version: str, number: int) -> None:
    """A version tag that lost its last number means a tag of a stream."""
    tag = known[number].tag_of(version.removesuffix(".0"))
    meant = probably_meant(tag, known)
    assert meant is not None
    assert read_tag(meant, known).stream is not None


@given(streams, tags)
def test_reason(known: list[Stream], tag: str) -> None:
    """Any tag of no stream is told a reason."""
    if read_tag(tag, known).stream is None:
        assert why_no_stream(tag, known)


@given(
    st.lists(versions, max_size=5),
    st.lists(st.sampled_from([Part.PATCH, Part.MINOR, Part.MAJOR]), max_size=3),
    versions,
    st.none() | st.sampled_from([Part.PATCH, Part.MINOR, Part.MAJOR]),
    st.none() | identifiers,
)
def test_next_version(
    released: list[str], found: list[Part], first: str, part: Part | None, prerelease: str | None
) -> None:
    """The next version is greater than every release, and refused only where nothing or too little is asked for."""
    releases = version_tags([f"v{version}" for version in released], [SEMANTIC])
    reasons = [Reason(part=part, what="feat: x", commit="abc") for part in found]
    known = [semver.Version.parse(version) for version in released]
    try:
        made = decide(SEMANTIC, releases, reasons, first=first, part=part, prerelease=prerelease)
    except UsageError:
        assert prerelease is not None and any(version.prerelease for version in known)
        return
    except ReleaseError:
        assert not found and part is None and any(not version.prerelease for version in known)
        return
    assert is_semver(made.version)
    assert all(semver.Version.parse(made.version) > version for version in known)
    assert read_tag(made.tag, [SEMANTIC]).version == made.version
    assert bool(semver.Version.parse(made.version).prerelease) >= (prerelease is not None)
