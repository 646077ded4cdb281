"""What mkdocs does beside its own work: pages of the repository's top level are in the site, too, and links that lead
from file to file in the repository lead from page to page in it."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
# What is not below docs/, by where it is in the site.
_OUTSIDE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "workflows/publish-huggingface.yml": ".github/workflows/publish-huggingface.yml",
    "workflows/export-complete.yml": ".github/workflows/export-complete.yml",
    "fleet/slurm.sh": "templates/fleet/slurm.sh",
    "fleet/kubernetes.yaml": "templates/fleet/kubernetes.yaml",
}
_PLACES = {source: place for place, source in _OUTSIDE.items()}
_LINK = re.compile(r"(\]\(|<img [^>]*src=\"|<source [^>]*srcset=\")([^)\s\"#:]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add what is not below docs/."""
    for place, source in _OUTSIDE.items():
        files.append(File.generated(config, place, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have a page's links lead to where the site has what they lead to."""
    place = page.file.src_uri
    folder = PurePosixPath(_OUTSIDE.get(place, f"docs/{place}")).parent

    def led(match: re.Match[str]) -> str:
        target = normpath(folder / match[2])
        if not (REPOSITORY / target).is_file():
            return match[0]  # mkdocs says of it what is to be said
        there = _PLACES.get(target, target.removeprefix("docs/"))
        return match[1] + relpath(there, PurePosixPath(place).parent)

    return _LINK.sub(led, markdown)
