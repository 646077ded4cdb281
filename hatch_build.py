"""Compiles what is in C when tagship is installed; where that fails, the same bytes take longer to make."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCE = "pipeline/tagship/weights/bf16.c"
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC")


class CompileHook(BuildHookInterface):
    """Puts the library into the wheel, which is then for this kind of machine; without a compiler it is for all."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root, _SOURCE)
        library = source.with_name(f"lib{source.stem}.so")
        library.unlink(missing_ok=True)
        if sys.platform == "win32" or not _compile(source, library):
            self.app.display_warning(f"{_SOURCE} could not be compiled: merging will take longer")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")
        build_data["artifacts"].append(str(library.relative_to(self.root)))


def _compile(source: Path, library: Path) -> bool:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not compiler:
        return False
    making = library.with_suffix(".partial")
    command = [*compiler.split(), *_FLAGS, "-o", str(making), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True)
        making.rename(library)
    except (OSError, subprocess.CalledProcessError):
        making.unlink(missing_ok=True)
        return False
    return True
