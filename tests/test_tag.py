"""Tags: which stream they are of, and which version they carry (the guide, "Version Extraction Logic")."""

import pytest

from pipeline.naming.pattern import Pattern
from pipeline.naming.tag import EXPORT, PUBLISH, Stream, first_version_tag, read_tag

STREAMS = (
    Stream(name="semantic", pattern=Pattern("v{version}"), does=(EXPORT, PUBLISH)),
    Stream(name="model", pattern=Pattern("model-v{version}"), does=(EXPORT, PUBLISH)),
    Stream(name="export", pattern=Pattern("export-v{version}"), does=(EXPORT,)),
)


@pytest.mark.parametrize(
    ("name", "version", "stream", "does"),
    [
        ("v2.0.0", "2.0.0", "semantic", (EXPORT, PUBLISH)),
        ("model-v1.5.0", "1.5.0", "model", (EXPORT, PUBLISH)),
        ("export-v1.0.0", "1.0.0", "export", (EXPORT,)),
        ("v2.0.0-rc.1", "2.0.0-rc.1", "semantic", (EXPORT, PUBLISH)),
        ("v2.0.0+build.7", "2.0.0+build.7", "semantic", (EXPORT, PUBLISH)),
    ],
)
def test_version_tags(name: str, version: str, stream: str, does: tuple[str, ...]) -> None:
    """A tag of a stream carries what stands after the stream's prefix, and does what the stream does."""
    tag = read_tag(name, STREAMS)
    assert (tag.name, tag.version, tag.stream, tag.does) == (name, version, stream, does)


@pytest.mark.parametrize(
    "name",
    ["nightly", "v2", "v2.0", "v2.0.0.0", "V2.0.0", "v02.0.0", "2.0.0", "vv2.0.0", "model-2.0.0", "release/v2.0.0", ""],
)
def test_other_tags(name: str) -> None:
    """Any other tag is a version by its full name, of no stream, and triggers nothing."""
    tag = read_tag(name, STREAMS)
    assert (tag.version, tag.stream, tag.does) == (name, None, ())


def test_first_stream_that_matches() -> None:
    """Where two patterns match a tag, the first of the policy has it."""
    either = (
        Stream(name="first", pattern=Pattern("v{version}"), does=(EXPORT,)),
        Stream(name="second", pattern=Pattern("v{version}"), does=(PUBLISH,)),
    )
    assert read_tag("v1.0.0", either).stream == "first"
    assert read_tag("v1.0.0", either[::-1]).stream == "second"


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["export-v9.0.0", "model-v8.0.0", "v1.0.0"], "v1.0.0"),
        (["export-v9.0.0", "model-v8.0.0"], "model-v8.0.0"),
        (["nightly", "export-v1.0.0"], "export-v1.0.0"),
        (["v1.9.0", "v1.10.0", "v1.2.0"], "v1.10.0"),
        (["v2.0.0-rc.1", "v2.0.0"], "v2.0.0"),
        (["v2.0.0-rc.10", "v2.0.0-rc.9", "v2.0.0-alpha"], "v2.0.0-rc.10"),
        (["v2.0.0-rc.1", "v1.9.9"], "v2.0.0-rc.1"),
    ],
)
def test_several_tags_on_one_commit(names: list[str], first: str) -> None:
    """The stream of the highest priority decides, then the highest version by SemVer, in any order of the tags."""
    for order in (names, names[::-1]):
        found = first_version_tag(order, STREAMS)
        assert found is not None
        assert found.name == first


@pytest.mark.parametrize("names", [[], ["nightly"], ["nightly", "v2"]])
def test_no_version_tag(names: list[str]) -> None:
    """Without a tag of a stream there is no version."""
    assert first_version_tag(names, STREAMS) is None
