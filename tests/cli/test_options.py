"""Options of the command line that belong to formats."""

import pytest
from tagship.cli.options import OPTIONS, format_options, read_options

from tests.conftest import InstallPackage

BRINGS = {"tagship.options": "bits = bits_options:BITS\ntag = bits_options:BITS"}
TEXT = 'from tagship.formats.options import FormatOption\n\nBITS = FormatOption(help="how many bits")\n'


def test_of_tagship_s_own_formats() -> None:
    """The importance matrix is an option of a format; its value is handed on as it is."""
    assert "importance matrix" in format_options()["imatrix"][1]
    assert read_options({"imatrix": "m.dat", "tag": "v1.0.0"}).of_formats == {"imatrix": "m.dat"}
    assert read_options({"imatrix": None}).of_formats == {}


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
