"""Why a tag is of no stream, and which one was probably meant."""

import pytest
from tagship.naming.pattern import Pattern
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.naming.tags import EXPORT, Stream, read_tag


def streams(**patterns: str) -> list[Stream]:
    return [Stream(name=name, pattern=Pattern(pattern), does=(EXPORT,)) for name, pattern in patterns.items()]


GUIDE = streams(semantic="v{version}", model="model-v{version}", export="export-v{version}")


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("v1", "v1.0.0"),
        ("v1.2", "v1.2.0"),
        ("V1.2.0", "v1.2.0"),
        ("1.2.0", "v1.2.0"),
        ("v-1.2.0", "v1.2.0"),
        ("v01.2.3", "v1.2.3"),
        ("v1_2_3", "v1.2.3"),
        ("v1.2.3.4", "v1.2.3"),
        ("release-1.2.3", "v1.2.3"),
        ("release/v1.2", "v1.2.0"),
        ("refs/tags/v1.2", "v1.2.0"),
        ("model-v1", "model-v1.0.0"),
        ("model_v1.2.0", "model-v1.2.0"),
        ("modelv1.2.0", "model-v1.2.0"),
        ("model-1.2.0", "model-v1.2.0"),
        ("Model-V1.2.0", "model-v1.2.0"),
        ("models-v1.2.0", "model-v1.2.0"),
        ("exports-v2", "export-v2.0.0"),
        ("v1.2-rc1", "v1.2.0-rc.1"),
        ("v1.2.0rc2", "v1.2.0-rc.2"),
        ("v1.2.0.RC3", "v1.2.0-rc.3"),
        ("v1.2.0b1", "v1.2.0-b.1"),
        ("v1.2-beta", "v1.2.0-beta"),
        ("v1.2-alpha.01", "v1.2.0-alpha.1"),
        ("v1.2-preview", "v1.2.0"),
        ("v1.2+cu124", "v1.2.0+cu124"),
        ("model-v2-rc1+b.5", "model-v2.0.0-rc.1+b.5"),
    ],
)
def test_meant(tag: str, meant: str) -> None:
    """A tag that is nearly a version tag means the one that is nearest."""
    assert read_tag(tag, GUIDE).stream is None
    assert probably_meant(tag, GUIDE) == meant


@pytest.mark.parametrize(
    "tag", ["vfoo.bar.baz", "model-vX", "nightly", "", "v", "v\u0661.\u0662.\u0663", "v1.0.0+a..b"]
)
def test_nothing_meant(tag: str) -> None:
    """A tag without a version in it means nothing that could be told."""
    assert probably_meant(tag, GUIDE) is None


def test_version_of_many_digits() -> None:
    """A number longer than Python turns into one is read all the same."""
    digits = "9" * 5000
    assert probably_meant(f"v0{digits}", GUIDE) == f"v{digits}.0.0"
    assert "has 1" in why_no_stream(f"v{digits}", GUIDE)


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("llama3-v1.2", "llama3-v1.2.0"),
        ("llama3_v1.2", "llama3-v1.2.0"),
        ("v1.2", "v1.2.0"),
        ("v1.2-model", "v1.2.0-model"),
        ("v1.2+b.1-model", "v1.2.0+b.1-model"),
        ("V-2-Model", "V-2.0.0"),
    ],
)
def test_names_of_other_streams(tag: str, meant: str) -> None:
    """A stream's own name may have numbers or capitals, and text after the version."""
    own = streams(llama="llama3-v{version}", after="v{version}-model", capital="V-{version}", plain="v{version}")
    assert read_tag(tag, own).stream is None
    assert probably_meant(tag, own) == meant


def test_any_stream() -> None:
    """Where nothing tells which stream was meant, it is the first one."""
    assert probably_meant("nightly-1.2", streams(model="model-v{version}", export="export-v{version}")) == (
        "model-v1.2.0"
    )
    assert probably_meant("nightly-1.2", streams(bare="{version}")) == "1.2.0"


@pytest.mark.parametrize(
    ("tag", "stream", "rule"),
    [
        ("v1.2", "semantic", "SemVer has three numbers, MAJOR.MINOR.PATCH, and this has 2"),
        ("v1.2.3.4", "semantic", "SemVer has three numbers, MAJOR.MINOR.PATCH, and this has 4"),
        ("vfoo.bar.baz", "semantic", "SemVer begins with three numbers, MAJOR.MINOR.PATCH"),
        ("v\u0661.\u0662.\u0663", "semantic", "SemVer begins with three numbers, MAJOR.MINOR.PATCH"),
        ("model-vX", "model", "SemVer begins with three numbers, MAJOR.MINOR.PATCH"),
        ("v01.2.3", "semantic", "a number has no zero before it"),
        ("v1.2.3-01", "semantic", "what follows the three numbers is not as SemVer has it"),
        ("v1.2.3+", "semantic", "what follows the three numbers is not as SemVer has it"),
    ],
)
def test_why(tag: str, stream: str, rule: str) -> None:
    """A tag that looks like a stream's is told the rule of SemVer that it breaks."""
    assert read_tag(tag, GUIDE).stream is None
    found = why_no_stream(tag, GUIDE)
    assert found.startswith(f"it looks like the stream {stream}, but ")
    assert rule in found


@pytest.mark.parametrize("tag", ["nightly", "v", "model_v1.0.0", ""])
def test_why_not_any(tag: str) -> None:
    """A tag that looks like no stream's is told which tags there are."""
    assert why_no_stream(tag, GUIDE) == (
        "no stream has such tags: they are v{version}, model-v{version}, export-v{version}"
    )
