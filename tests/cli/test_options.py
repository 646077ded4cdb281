"""Options of the command line that belong to formats."""

import pytest
from tagship.cli.options import OPTIONS, format_options, read_options, unusable_options
from tagship.system.errors import UsageError

from tests.conftest import InstallPackage

BRINGS = {"tagship.options": "bits = bits_options:BITS\ntag = bits_options:BITS"}
TEXT = 'from tagship.formats.options import FormatOption\n\nBITS = FormatOption(help="how many bits", format="vllm")\n'


def test_of_tagship_s_own_formats() -> None:
    """The importance matrix is an option of a format; its value is handed on as it is."""
    assert "importance matrix" in format_options()["imatrix"][1]
    assert read_options({"imatrix": "m.dat", "tag": "v1.0.0"}).of_formats == {"imatrix": "m.dat"}
    assert read_options({"imatrix": None}).of_formats == read_options({"imatrix": ""}).of_formats == {}
    assert unusable_options() == []


def test_of_another_package(install_package: InstallPackage) -> None:
    """A package adds options, but for those that have a meaning already."""
    install_package("bits_options", TEXT, BRINGS)
    assert format_options().keys() == {"bits", "imatrix"}
    assert format_options()["bits"] == (None, "how many bits")
    options = read_options({"bits": "4", "tag": "v1.0.0"})
    assert (options.of_formats, options.tag) == ({"bits": "4"}, "v1.0.0")
    assert "version tag" in OPTIONS["tag"][1]


@pytest.mark.parametrize("text", ["import nothing_of_the_kind", "BITS = 4"])
def test_broken_package(install_package: InstallPackage, text: str) -> None:
    """A package that cannot be loaded stops no task; what is wrong with it is its option's help."""
    install_package("bits_options", text, BRINGS)
    assert "bits of the package bits_options" in format_options()["bits"][1]


@pytest.mark.parametrize(
    "name",
    ["tag", "dry_run", "dry-run", "repo_name", "context", "session", "self", "class", "a.b", "x y", "1a", "-a", "A"],
)
def test_names_that_cannot_be_options(install_package: InstallPackage, name: str) -> None:
    """An option that is called like another one, or as no option can be, is left out and told."""
    install_package("bits_options", TEXT, {"tagship.options": f"{name} = bits_options:BITS"})
    assert format_options().keys() == {"imatrix"}
    (said,) = unusable_options()
    assert f"the option {name!r} of the package bits_options is left out" in said


def test_two_packages(install_package: InstallPackage) -> None:
    """A name that several packages bring is refused: nobody can tell which is meant."""
    for package in ("bits_options", "other_options"):
        install_package(package, TEXT, {"tagship.options": f"bits = {package}:BITS"})
    assert "bits is brought by several packages: bits_options, other_options" in format_options()["bits"][1]


def test_proposals() -> None:
    """--create-pr is of the whole release."""
    assert read_options({"create_pr": True}).proposes
    assert not read_options({"create_pr": False}).proposes


def test_several_runs() -> None:
    """Runs in the order in which they are named, each once; none where it is empty, as a workflow's inputs come. Of
    several none is left out for that."""
    for given, first, more in (([], None, ()), ([""], None, ()), (["b", "a", "b"], "b", ("a",))):
        options = read_options({"run": given})
        assert (options.run, options.more_runs) == (first, more)
    with pytest.raises(UsageError, match="once empty"):
        read_options({"run": ["a", ""]})
