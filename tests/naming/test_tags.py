"""Tags: which stream they are of, and which version they carry (the guide, "Version Extraction Logic")."""

import pytest
from tagship.naming.pattern import Pattern
from tagship.naming.tags import EXPORT, PUBLISH, Stream, read_tag, version_tags

STREAMS = (
    Stream(name="semantic", pattern=Pattern("v{version}"), does=(EXPORT, PUBLISH)),
    Stream(name="model", pattern=Pattern("model-v{version}"), does=(EXPORT, PUBLISH)),
    Stream(name="export", pattern=Pattern("export-v{version}"), does=(EXPORT,)),
    Stream(name="ollama", pattern=Pattern("gguf/{version}"), does=(EXPORT, PUBLISH), format="ollama"),
)


@pytest.mark.parametrize(
    ("name", "version", "stream", "does"),
    [
        ("v2.0.0", "2.0.0", "semantic", (EXPORT, PUBLISH)),
        ("model-v1.5.0", "1.5.0", "model", (EXPORT, PUBLISH)),
        ("export-v1.0.0", "1.0.0", "export", (EXPORT,)),
        ("v2.0.0-rc.1", "2.0.0-rc.1", "semantic", (EXPORT, PUBLISH)),
        ("v2.0.0+build.7", "2.0.0+build.7", "semantic", (EXPORT, PUBLISH)),
        ("export-v1.0.0-rc.1+cu124", "1.0.0-rc.1+cu124", "export", (EXPORT,)),
        ("gguf/1.0.0", "1.0.0", "ollama", (EXPORT, PUBLISH)),
    ],
)
def test_version_tags(name: str, version: str, stream: str, does: tuple[str, ...]) -> None:
    """A tag of a stream carries what stands after the stream's prefix, and does what the stream does."""
    tag = read_tag(name, STREAMS)
    assert tag.stream is not None
    assert (tag.name, tag.version, tag.stream.name, tag.does) == (name, version, stream, does)


@pytest.mark.parametrize(
    "name",
    [
        "nightly",
        "gguf/v1.0.0",
        "gguf/1",
        "v1.0.0_x",
        "v2",
        "v2.0",
        "v2.0.0.0",
        "V2.0.0",
        "v02.0.0",
        "2.0.0",
        "vv2.0.0",
        "model-2.0.0",
        "release/v2.0.0",
        "",
    ],
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
    assert read_tag("v1.0.0", either).stream == either[0]
    assert read_tag("v1.0.0", either[::-1]).stream == either[1]


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
        assert version_tags(order, STREAMS)[0].name == first


@pytest.mark.parametrize("names", [[], ["nightly"], ["nightly", "v2"]])
def test_no_version_tag(names: list[str]) -> None:
    """Without a tag of a stream there is no version."""
    assert version_tags(names, STREAMS) == []


def test_all_version_tags_in_order() -> None:
    """Version tags are listed by the priority of their streams, then the highest version first, and no others."""
    names = ["gguf/9.0.0", "nightly", "v1.0.0", "export-v3.0.0", "v1.10.0", "v1.10.0-rc.2", "model-v2.0.0", "v1.9.0"]
    assert [tag.name for tag in version_tags(names, STREAMS)] == [
        "v1.10.0",
        "v1.10.0-rc.2",
        "v1.9.0",
        "v1.0.0",
        "model-v2.0.0",
        "export-v3.0.0",
        "gguf/9.0.0",
    ]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
@pytest.mark.parametrize("version", ["0.1.0", "1.2.3-rc.1", "1.2.3+cu124"])
def test_tag_of_a_version(stream: Stream, version: str) -> None:
    """The tag that a stream makes of a version is read back as that version of that stream, and is of no other."""
    tag = stream.tag_of(version)
    found = read_tag(tag, STREAMS)
    assert (found.version, found.stream) == (version, stream)
    assert [other for other in STREAMS if other.version_of(tag)] == [stream]
