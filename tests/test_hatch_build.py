"""What is compiled when tagship is installed, and wheels where nothing can be compiled."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What a wheel is made of.
PARTS = ("pipeline", "templates", "tasks.py", "pyproject.toml", "hatch_build.py", "README.md")


def wheel(folder: Path, **environment: str) -> tuple[str, list[str]]:
    """The name of the wheel that is built from a copy of the project, and what is in it of the loop in C."""
    tree = folder / "tree"
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / part, tree)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "made")],
        cwd=tree,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    (made,) = (folder / "made").iterdir()
    names = zipfile.ZipFile(made).namelist()
    return made.name, sorted(Path(name).name for name in names if "bf16" in name)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_wheel_with_what_was_compiled(tmp_path: Path) -> None:
    """With a compiler the wheel has the library, and is for this kind of machine and any Python."""
    name, files = wheel(tmp_path)
    assert files == ["bf16.c", "bf16.py", "libbf16.so"]
    assert "-py3-none-" in name
    assert not name.endswith("-any.whl")


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "true"])
def test_wheel_where_nothing_can_be_compiled(tmp_path: Path, compiler: str) -> None:
    """Without a compiler that does its work, installing works nevertheless, and the wheel is for all machines; a
    library of an earlier build is not taken for this one's."""
    (tmp_path / "tree/pipeline/tagship/weights").mkdir(parents=True)
    (tmp_path / "tree/pipeline/tagship/weights/libbf16.so").write_bytes(b"of an earlier build")
    name, files = wheel(tmp_path, CC=compiler)
    assert files == ["bf16.c", "bf16.py"]
    assert name.endswith("-py3-none-any.whl")
