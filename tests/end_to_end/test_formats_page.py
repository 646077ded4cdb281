"""docs/formats.md: the package on that page, installed by pip, releases its format; its executor works elsewhere."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import AT, REPOSITORY, Project

PAGE = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
# The files of the page, in the order of its blocks.
FILES = ("pyproject.toml", "options.py", "format.py", "templates/card.md.j2", "runtime.py")


def blocks() -> list[str]:
    package = PAGE[PAGE.index("## A format\n") :]
    return re.findall(r"^```(?:toml|python|jinja)\n(.*?)^```$", package, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that has the page's."""
    folder = tmp_path_factory.mktemp("page")
    source = folder / "source"
    for name, text in zip(FILES, blocks(), strict=False):
        path = source / name if name == "pyproject.toml" else source / "tagship_full" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (source / "tagship_full" / "__init__.py").touch()
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder / "site"))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder / "site"


@pytest.fixture
def full(make_project: Callable[[], Project], site: Path) -> Project:
    """A project that releases the page's format, beside one of tagship's own."""
    project = make_project()
    project = Project(project.folder, {**project.environment, "PYTHONPATH": str(site)})
    project.replace("release.toml", "[formats.vllm]", "[formats.full]\n[formats.vllm]")
    return project


def test_format_is_short() -> None:
    """A format takes some thirty lines, and the page has every file of the package."""
    format_text = blocks()[FILES.index("format.py")]
    assert len([line for line in format_text.splitlines() if line.strip()]) < 45
    for name in FILES[1:]:
        assert f"`tagship_full/{name}`" in PAGE


def test_release_of_the_page_s_format(full: Project) -> None:
    """It is exported as its option says, verified by the page's runtime, described by its card, and published."""
    assert "--full-dtype" in full.invoke("--help", "release").stdout
    done = full.invoke("release", "--format", "full", "--full-dtype", "f16", "--at", AT, "--json")
    assert done.code == 0, done.stderr
    (entry,) = done.document["formats"]
    assert entry["repo_id"].endswith(f"-full-{AT}")
    assert entry["verified"]["same_answers"] == 2
    assert entry["verified"]["mean_kl"] < 0.01
    card = (full.folder / entry["export_dir"] / "README.md").read_text(encoding="utf-8")
    assert "merged\ninto its weights in f16, for further training." in card
    assert f'from_pretrained("{entry["repo_id"]}", dtype="auto")' in card
    assert f"hf download {entry['repo_id']}\n" in done.stderr  # nothing else finds the embedded Hub
    again = full.invoke("export", "--format", "full", "--full-dtype", "f16", "--at", AT)
    assert "exported before" in again.stderr


def test_settings_of_the_page_s_format(full: Project) -> None:
    """A mistake in its table is told like one in any other."""
    full.replace("release.toml", "[formats.full]", '[formats.full]\ndtype = "f8"\ncolour = 1')
    done = full.invoke("plan")
    assert done.code == 2
    assert "formats.full.dtype unknown 'f8'" in done.stderr
    assert "formats.full.colour is unknown" in done.stderr


def test_what_the_package_does_not_bring(full: Project, site: Path, tmp_path: Path) -> None:
    """A package without the card, or with a runtime that nobody has, is refused before anything is exported."""
    for old, new, said in (
        ('"templates"', '"no_such_folder"', "there is no template 'full/card.md.j2'"),
        ('"transformers64"', '"vapourware"', "there is no runtime 'vapourware'"),
    ):
        broken = tmp_path / new.strip('"')
        subprocess.run(["cp", "-r", site, broken], check=True)
        module = broken / "tagship_full" / "format.py"
        module.write_text(module.read_text().replace(old, new))
        done = full.invoke("release", "--format", "full", "--at", AT, PYTHONPATH=str(broken))
        assert (done.code, said in done.stderr) == (1, True), done.stderr
        assert not (full.folder / "exports").exists()


ELSEWHERE = """
import pickle
import sys
from pathlib import Path

{code}
asked, made = map(Path, sys.argv[1:])
made.write_bytes(pickle.dumps(do_elsewhere(pickle.loads(asked.read_bytes()))))
"""

RELEASE = """
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tagship.policy.config import load_config
from tagship.release import steps
from tagship.release.options import Options
from tagship.release.plan import make_plan
from tagship.release.runner import run_steps
from tagship.release.step import open_tools
from tagship.system.console import Console
from tagship.system.git import Repository

class Elsewhere:
    def run(self, works, tools):
        for number, work in enumerate(list(works)):
            print(work.step.name, *(target.name for target in work.targets))
            asked, made = scripts / f"asked-{number}", scripts / f"made-{number}"
            asked.write_bytes(pickle.dumps(work))
            subprocess.run([sys.executable, scripts / "elsewhere.py", asked, made], check=True)
            yield pickle.loads(made.read_bytes())

scripts = Path(__file__).parent
config = load_config(Path("release.toml").absolute())
with Repository(config.root) as repository:
    plan = make_plan(config, Options(formats=("lora", "vllm")), repository, datetime(2025, 9, 15, tzinfo=UTC))
    chosen = (*steps.EXPORT_ONLY, steps.REFERENCE, steps.VERIFY, steps.CARD, steps.PACKAGE)
    with open_tools(plan, repository, Console()) as tools:
        run_steps(chosen, plan, tools, Elsewhere() if sys.argv[1:] else None)
"""


@pytest.mark.long
def test_executor_of_the_page(make_project: Callable[[], Project], tmp_path: Path) -> None:
    """Work that other processes do, from a plan that was handed to them, gives the files of a release made here."""
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE.format(code=blocks()[-1]))
    (tmp_path / "release.py").write_text(RELEASE)
    made = {}
    for elsewhere in ((), ("elsewhere",)):
        project = make_project()
        done = subprocess.run(
            [sys.executable, tmp_path / "release.py", *elsewhere],
            cwd=project.folder,
            env=dict(project.environment),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == (
            ["export lora", "export vllm", "verify lora", "verify vllm", "package lora", "package vllm"]
            if elsewhere
            else []
        )
        made[elsewhere] = {
            path.relative_to(project.folder).as_posix(): path.read_bytes()
            for folder in ("exports", "dist")
            for path in (project.folder / folder).rglob("*")
            if path.is_file()
        }
    assert len(made[()]) > 10
    assert made[()] == made[("elsewhere",)]
