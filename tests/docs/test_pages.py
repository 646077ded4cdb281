"""Pages for people: their links lead somewhere, and the site has all of them and needs nothing from elsewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SETTINGS = "docs/site/mkdocs.yml"
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *REPOSITORY.glob("examples/*/*.md")])
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
_LARGEST_IMAGE = 200_000
# What a browser fetches by itself, from another place.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*https?://[^>]*>|<link[^>]*rel=\"?(?:stylesheet|preconnect)[^>]*https?://[^>]*>"
    r"|url\([\"']?https?:[^)]*\)|@import[^;]*https?:[^;]*"
)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", line) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead to no file, or to no heading of one."""
    for found in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
        link = found[1] or found[2]
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file that there is, and to a heading that it has."""
    assert list(broken(page)) == []


def test_every_page_is_in_the_site() -> None:
    """A page below docs/ has a place in the navigation."""
    settings = (REPOSITORY / SETTINGS).read_text(encoding="utf-8")
    listed = set(re.findall(r": (\S+\.md)$", settings, re.MULTILINE))
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert pages <= listed


@pytest.mark.slow
def test_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Without a warning, and whoever reads it tells no third party of it."""
    pytest.importorskip("material", reason='the extra "docs" is not installed')
    command = ["mkdocs", "build", "--strict", "--config-file", SETTINGS, "--site-dir", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".css", ".svg")]
    assert len(made) > len(PAGES)
    assert [found for path in made for found in FETCHED.findall(path.read_text(encoding="utf-8"))] == []
    # What leads from file to file in the repository leads from page to page.
    assert 'href="hub.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="index.html#adapters-that-were' in (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert (tmp_path / "workflows" / "export-complete.yml").is_file()


def test_images_are_small_and_used() -> None:
    """Each picture is shown by a page, loads nothing, and is small enough for a page that is read by phone."""
    shown = {
        (page.parent / (found[1] or found[2])).resolve()
        for page in PAGES
        for found in LINK.finditer(page.read_text(encoding="utf-8"))
    }
    images = sorted((REPOSITORY / "docs" / "images").iterdir())
    assert images and [path.name for path in images if path.resolve() not in shown] == []
    assert [path.name for path in images if path.stat().st_size > _LARGEST_IMAGE] == []
    drawn = [path.read_text(encoding="utf-8") for path in images if path.suffix == ".svg"]
    assert [found for text in drawn for found in FETCHED.findall(text)] == []
