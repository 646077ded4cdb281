"""What is done when tagship is built: compiling what is in C, and finding out where its repository is."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

# It needs nothing but the standard library.
_LINKS = "pipeline/tagship/history/web_links.py"
_LOOPS = {"weights": ("bf16", "low_rank", "nf4", "schemes", "tiles", "vectors"), "gguf": ("k_quants",)}
_SOURCES = tuple(f"pipeline/tagship/{room}/{name}.c" for room, names in _LOOPS.items() for name in names)
_FLAGS = ("-O3", "-std=c11", "-fno-math-errno", "-shared", "-fPIC")


class CompileHook(BuildHookInterface):
    """Compiles what is in C; where that fails, the same bytes take longer to make.

    The library goes into the wheel, which is then for this kind of machine; without a compiler it is for all.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for source in (Path(self.root, name) for name in _SOURCES):
            library = source.with_name(f"lib{source.stem}.so")
            library.unlink(missing_ok=True)
            if sys.platform == "win32" or not _compile(source, library):
                self.app.display_warning(f"{source.name} could not be compiled: exporting will take longer")
                continue
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data.update(pure_python=False, tag=f"py3-none-{platform}")
            build_data["artifacts"].append(str(library.relative_to(self.root)))


def _compile(source: Path, library: Path) -> bool:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not compiler:
        return False
    making = library.with_suffix(".partial")
    command = [*compiler.split(), *_FLAGS, "-o", str(making), str(source), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True)
        making.rename(library)
    except (OSError, subprocess.CalledProcessError):
        making.unlink(missing_ok=True)
        return False
    return True


class ProjectUrls(MetadataHookInterface):
    """The project's addresses: those of the repository that it is built from, if that one has a page."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        page = _page(self.root)
        paths = {"Documentation": "README.md", "Changelog": "CHANGELOG.md"}
        metadata["urls"] = (
            {"Source": page, **{name: f"{page}/blob/HEAD/{path}" for name, path in paths.items()}} if page else {}
        )


def _page(root: str) -> str | None:
    """The web page of the remote `origin`, without what a user's secret may have added to its address."""
    asked = ["git", "-C", root, "remote", "get-url", "origin"]
    try:
        url = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, or built from an archive
        return None
    spec = importlib.util.spec_from_file_location("web_links", Path(root, _LINKS))
    assert spec is not None and spec.loader is not None
    links = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = links  # dataclasses look for their module there
    spec.loader.exec_module(links)
    found: str | None = links.web_address(url)
    return found
