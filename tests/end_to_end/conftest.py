"""A project as a user has one: a git repository with the example's base and runs, and the tasks."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from msgspec import Struct, field
from tagship.hub_server.app import EmbeddedHub

from tests.preloaded import Preloaded, preloaded

REPOSITORY = Path(__file__).parents[2]
NEWEST_RUN = "phi3avro-minimal-r16-a32-e6-20250914-132416"
AT = "20250915-124051"

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A. Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.com",
    "GIT_COMMITTER_NAME": "A. Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.com",
    "GIT_AUTHOR_DATE": "2025-09-14T12:00:00Z",
    "GIT_COMMITTER_DATE": "2025-09-14T12:00:00Z",
    "CI": "true",
}
_LEFT_OUT = ("COLUMNS", "HF_TOKEN", "HF_ENDPOINT", "SOURCE_DATE_EPOCH", "HF_HUB_OFFLINE")


_MEASURED = """Write an AVRO schema for Customer with fields id: long, email: string

{"type": "record", "name": "Order", "fields": [{"name": "number", "type": "int"}]}
"""


class Finished(Struct, frozen=True, dict=True):
    """A task that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


class Project(Struct, frozen=True, dict=True):
    """A scratch project; everything of it is below `folder`. `tasks` is what tasks have in their environment so that
    they are forked (`tests/preloaded/`)."""

    folder: Path
    environment: Mapping[str, str]
    tasks: Mapping[str, str] = field(default_factory=dict)

    def git(self, *arguments: str) -> str:
        return self._run(["git", *arguments], check=True).stdout.strip()

    def invoke(self, *arguments: str, **environment: str) -> Finished:
        done = self._run(self.command(*arguments), check=False, **self._forked(environment))
        return Finished(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def _forked(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """What a task has in its environment, so that it is forked where that decides nothing of how modules load."""
        alike = not any(name.startswith(("LC_", "LANG", "PATH", "PYTHON")) for name in environment)
        return {**(self.tasks if alike else {}), **environment}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "invoke", *arguments]

    def _run(self, command: list[str], *, check: bool, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            check=check,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a text file, which must hold `old`."""
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def published(self) -> dict[str, dict[str, Any]]:
        """Every file of every repo on the project's embedded Hub, by its hash there."""
        store = self.folder / ".tagship/hub"
        if not store.is_dir():
            return {}
        with EmbeddedHub(root=store) as hub:
            api = HfApi(endpoint=hub.url, token=False)
            return {
                model.id: {item.path: item.blob_id for item in api.list_repo_tree(model.id, recursive=True)}
                for model in api.list_models()
            }

    def files(self) -> set[str]:
        """Every file but git's."""
        return {
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and ".git/" not in path.relative_to(self.folder).as_posix()
        }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole tasks take seconds."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


def new_project(folder: Path) -> Project:
    """A project in an empty folder, with the example committed."""
    environment = {key: value for key, value in os.environ.items() if key not in _LEFT_OUT} | _ENVIRONMENT
    project = Project(folder, environment)
    for name in ("tasks.py", "release.toml", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    # The whole text takes seconds in every format.
    project.replace("release.toml", "[verify]\n", '[verify]\ntext = "measured.txt"\n')
    (folder / "measured.txt").write_text(_MEASURED)
    for part in ("base", "adapters"):
        shutil.copytree(REPOSITORY / "examples/avro" / part, folder / "examples/avro" / part)
    policy = folder / "release.toml"
    policy.write_text(policy.read_text().partition("[evaluate]")[0])
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=feat: train on minimal schemas")
    return project


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """What is started hears Ctrl-C, also where the tests were started in the background of a shell, which has such
    programs ignore it, and all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    """The environments in which workers and tasks have their modules loaded."""
    with preloaded(tmp_path_factory.mktemp("preloaded")) as environments:
        yield environments


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory, loaded: Preloaded) -> Callable[[], Project]:
    """Make another project with the example committed: a copy of one that is made once."""
    first = new_project(tmp_path_factory.mktemp("made-once"))

    def make() -> Project:
        folder = shutil.copytree(first.folder, tmp_path_factory.mktemp("project"), dirs_exist_ok=True)
        environment = {**first.environment, **loaded.workers, "HF_HOME": str(tmp_path_factory.mktemp("hf"))}
        return Project(folder, environment, loaded.tasks)

    return make


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    """A project of one's own."""
    return make_project()
