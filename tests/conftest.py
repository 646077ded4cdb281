"""Real git repositories and training runs in temporary folders."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct
from safetensors.numpy import save_file
from tagship.system.ci import VARIABLES as CI_VARIABLES
from tagship.system.entry_points import found

PHI3 = "microsoft/Phi-3-mini-4k-instruct"
RUN = "phi3mini4k-minimal-r32-a64-e20-20250914-132416"
COMMITTED = "2025-09-15T14:40:51+02:00"
POLICY = """\
[project]
namespace = "acme"

[formats.vllm]
[formats.ollama]
[formats.lora]
repo = { untagged = "{run}-lora" }
"""

# The tag that these tests run for is not the one that they release; xdist's workers say how wide a terminal is, where
# there is none.
for variable in (*CI_VARIABLES, "COLUMNS"):
    os.environ.pop(variable, None)

WriteRun = Callable[..., Path]


class GitFolder(Struct, frozen=True, kw_only=True):
    """A git repository on disk, changed by git itself."""

    folder: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, name: str, text: str = "text\n") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def commit(self, message: str = "Change") -> str:
        """Commit all that there is; returns the commit's hash."""
        self.git("add", "--all")
        self.git("commit", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, message: str | None = None) -> None:
        """Tag HEAD: annotated with a message, lightweight without."""
        self.git("tag", name, *(("--message", message) if message else ()))


@pytest.fixture(scope="session")
def git_environment() -> dict[str, str]:
    """What git is told: who commits and when, and no configuration but a repository's own."""
    environment = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {
            f"GIT_{role}_NAME": "Ada",
            f"GIT_{role}_EMAIL": "ada@example.org",
            f"GIT_{role}_DATE": COMMITTED,
        }
    return environment


@pytest.fixture(scope="session")
def write_run() -> WriteRun:
    """A function that writes a training run: a folder with a tiny LoRA adapter."""

    def write(folder: Path, *, base: str = PHI3, rank: int = 32, alpha: float = 64, **more: Any) -> Path:
        folder.mkdir(parents=True)
        config = {"peft_type": "LORA", "base_model_name_or_path": base, "r": rank, "lora_alpha": alpha}
        (folder / "adapter_config.json").write_text(json.dumps(config | more), encoding="utf-8")
        layer = "base_model.model.layer.proj"
        tensors = {
            f"{layer}.lora_A.weight": np.ones((rank, 4), np.float32),
            f"{layer}.lora_B.weight": np.ones((4, rank), np.float32),
        }
        save_file(tensors, folder / "adapter_model.safetensors")
        return folder

    return write


@pytest.fixture(scope="session")
def made_repositories(
    tmp_path_factory: pytest.TempPathFactory, git_environment: dict[str, str], write_run: WriteRun
) -> Path:
    """Repositories that are made once, to be copied: one without a commit, and a project with a run."""
    folder = tmp_path_factory.mktemp("repositories")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in git_environment.items():
            patch.setenv(name, value)
        (folder / "empty").mkdir()
        GitFolder(folder=folder / "empty").git("init", "--quiet", "--initial-branch=main")
        project = GitFolder(folder=shutil.copytree(folder / "empty", folder / "project"))
        project.write("release.toml", POLICY)
        write_run(project.folder / "adapters" / RUN)
        project.commit("Train")
    return folder


@pytest.fixture
def repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git_environment: dict[str, str], made_repositories: Path
) -> GitFolder:
    """A git repository without a commit, which knows no configuration but its own."""
    for name, value in git_environment.items():
        monkeypatch.setenv(name, value)
    return GitFolder(folder=shutil.copytree(made_repositories / "empty", tmp_path / "repository"))


@pytest.fixture
def project(repository: GitFolder, made_repositories: Path) -> GitFolder:
    """A committed project with a policy for all three formats and one training run."""
    shutil.copytree(made_repositories / "project", repository.folder, dirs_exist_ok=True)
    return repository


InstallPackage = Callable[..., None]


@pytest.fixture
def install_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPackage]:
    """A function that installs a package of one module, with its entry points by group, until the test ends."""
    site = tmp_path / "site-packages"

    def install(module: str, text: str, groups: Mapping[str, str]) -> None:
        described = site / f"{module}-1.0.dist-info"
        shutil.rmtree(described, ignore_errors=True)
        described.mkdir(parents=True)
        (site / f"{module}.py").write_text(text, encoding="utf-8")
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text(
            "".join(f"[{group}]\n{point}\n" for group, point in groups.items()), encoding="utf-8"
        )
        sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)  # of the processes that are started
        found.cache_clear()

    yield install
    monkeypatch.undo()
    found.cache_clear()


@pytest.fixture
def quiet_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A client of the Hub without progress bars, its cache of known chunks out of the user's home."""
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet-cache"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    """An embedded Hub that runs."""
    from tagship.hub_server.app import EmbeddedHub

    with EmbeddedHub(root=tmp_path / "hub") as running:
        yield running
