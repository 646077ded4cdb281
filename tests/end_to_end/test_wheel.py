"""The wheel: what is compiled into it, what is in it, and a release by it from somebody else's repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import AT, Project

ROOT = Path(__file__).parents[2]
# What a wheel is made of.
PARTS = ("pipeline", "templates", "docs", "tasks.py", "pyproject.toml", "hatch_build.py", "README.md")
LOOPS = {"weights": ("bf16", "low_rank", "nf4", "schemes", "tiles", "vectors"), "gguf": ("k_quants",)}
SOURCES = [f"{room}/{name}.c" for room, names in LOOPS.items() for name in names]
LIBRARIES = [f"{room}/lib{name}.so" for room, names in LOOPS.items() for name in names]


def build(folder: Path, **environment: str) -> Path:
    """The wheel that is built from a copy of the project."""
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
    return made


def of_the_loops(wheel: Path) -> list[str]:
    """What is in a wheel of the loops in C."""
    names = [name.removeprefix("tagship/") for name in zipfile.ZipFile(wheel).namelist()]
    return sorted(name for name in names if name.endswith((".c", ".so")))


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_wheel_with_what_was_compiled(tmp_path: Path) -> None:
    """With a compiler the wheel has the library, and is for this kind of machine and any Python."""
    wheel = build(tmp_path)
    assert of_the_loops(wheel) == sorted([*SOURCES, *LIBRARIES])
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false", "true"])
def test_wheel_where_nothing_can_be_compiled(tmp_path: Path, compiler: str) -> None:
    """Without a compiler that does its work, installing works nevertheless, and the wheel is for all machines; a
    library of an earlier build is not taken for this one's."""
    for name in LIBRARIES:
        library = tmp_path / "tree/pipeline/tagship" / name
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_bytes(b"of an earlier build")
    wheel = build(tmp_path, CC=compiler)
    assert of_the_loops(wheel) == sorted(SOURCES)
    assert wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://user:pa55word@github.com/acme/models.git", "https://github.com/acme/models"),
        ("git@gitlab.com:acme/models.git", "https://gitlab.com/acme/models"),
        ("/srv/models.git", None),
        (None, None),
    ],
)
def test_project_urls(tmp_path: Path, remote: str | None, page: str | None) -> None:
    """The addresses in the wheel are those of the repository that it was built from, without anybody's secret."""
    tree = tmp_path / "tree"
    tree.mkdir()
    if remote:
        subprocess.run(["git", "init", "--quiet", tree], check=True)
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=tree, check=True)
    with zipfile.ZipFile(build(tmp_path, CC="false")) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        metadata = wheel.read(name).decode()
    assert "pa55word" not in metadata
    urls = [line.removeprefix("Project-URL: ") for line in metadata.splitlines() if line.startswith("Project-URL: ")]
    assert (f"Source, {page}" in urls) == bool(page)
    assert len(urls) == (3 if page else 0)


# A repository's own tasks: tagship's three lines, and a task that imports the repository's own `pipeline`.
TASKS = """
from invoke import task
from tagship.cli.program import collection

namespace = collection()


@task
def train(context):
    import pipeline.steps
    import tagship

    print(pipeline.steps.OWN, tagship.__file__)


namespace.add_task(train)
"""


def test_release_from_a_repository_with_a_pipeline_of_its_own(
    make_project: Callable[[], Project], tmp_path: Path
) -> None:
    """The installed wheel and a repository's own package `pipeline` do not see each other; what it needs is in it."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, build(tmp_path)]
    subprocess.run(install, check=True)
    assert (site / "tagship" / "py.typed").is_file()
    project = make_project()
    project = Project(project.folder, {**project.environment, "PYTHONPATH": str(site)})
    (project.folder / "pipeline").mkdir()
    (project.folder / "pipeline" / "__init__.py").write_text("")
    (project.folder / "pipeline" / "steps.py").write_text('OWN = "my own steps"\n')
    (project.folder / "tasks.py").write_text(TASKS)
    own, ours = project.invoke("train").stdout.rsplit(" ", 1)
    assert own == "my own steps"
    assert Path(ours).is_relative_to(site)
    planned = project.invoke("plan", "--json", "--at", AT).document
    console = [sys.executable, str(site / "bin" / "tagship")]
    plan = subprocess.run(
        [*console, "plan", "--json", "--at", AT],
        cwd=project.folder,
        env=dict(project.environment),
        capture_output=True,
        text=True,
    )
    assert (plan.returncode, json.loads(plan.stdout)) == (0, planned), plan.stderr
    started = subprocess.run(
        [*console, "init", "--yes", "--json", "--set", "namespace=ada"],
        cwd=tmp_path / "made",
        env=dict(project.environment),
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr
    written = json.loads(started.stdout)["written"]
    assert {"release.toml", "tasks.py", ".github/workflows/publish-huggingface.yml"} <= {*written}
    done = project.invoke("release", "--json", "--at", AT)
    assert done.code == 0, done.stderr
    assert [entry["format"] for entry in done.document["formats"]] == ["vllm", "ollama", "lora"]
    assert all(entry["verified"]["outcome"] == "passed" for entry in done.document["formats"])
