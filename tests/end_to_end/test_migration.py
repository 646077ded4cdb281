"""`invoke migrate`: from date-based names to versioned ones, killed and finished."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub

from tests.end_to_end.conftest import Project

ARTIFACT, NEW_ARTIFACT = "vllm-adapter-20250915.tar.gz", "vllm-adapter-v2.0.0.tar.gz"
REPO, NEW_REPO = "phi3-avro-vllm-20250915", "phi3-avro-vllm-v2.0.0"


@contextmanager
def _hub(project: Project) -> Iterator[HfApi]:
    with EmbeddedHub(root=project.folder / ".tagship/hub") as server:
        yield HfApi(endpoint=server.url, token=False)


def _archives(project: Project, *names: str) -> None:
    """Write archives, and their SHA256SUMS as `sha256sum` does."""
    dist = project.folder / "dist"
    dist.mkdir()
    for name in names:
        (dist / name).write_text(name)
    sums = subprocess.run(["sha256sum", *names], cwd=dist, check=True, capture_output=True, text=True).stdout
    (dist / "SHA256SUMS").write_text(sums)


def _check_archives(project: Project, *names: str) -> None:
    dist = project.folder / "dist"
    assert {path.name for path in dist.iterdir()} == {*names, "SHA256SUMS"}
    done = subprocess.run(["sha256sum", "--check", "--strict"], cwd=dist, input=(dist / "SHA256SUMS").read_bytes())
    assert done.returncode == 0
    assert len((dist / "SHA256SUMS").read_text().splitlines()) == len(names)


def _repos(project: Project, *names: str) -> None:
    with _hub(project) as api:
        for name in names:
            api.create_repo(f"acme/{name}")
            api.upload_file(path_or_fileobj=name.encode(), path_in_repo="name.txt", repo_id=f"acme/{name}")


def _listed(project: Project) -> set[str]:
    with _hub(project) as api:
        return {model.id for model in api.list_models(author="acme")}


def test_guide_s_migration(project: Project, tmp_path: Path) -> None:
    """The guide's archive and repo get the version: a plan first, then the moves, then nothing more to do."""
    _archives(project, ARTIFACT)
    _repos(project, REPO)
    before = project.files()
    planned = project.invoke("migrate", "--tag", "v2.0.0")
    assert (planned.code, planned.stdout) == (0, "")
    assert f"archive {ARTIFACT} → {NEW_ARTIFACT}" in planned.stderr
    assert f"repo {REPO} → {NEW_REPO}" in planned.stderr and "--yes does it" in planned.stderr
    assert {name for name in project.files() - before if "__pycache__" not in name} == set()
    done = project.invoke("migrate", "--tag", "v2.0.0", "--yes", "--json")
    assert [move["new"] for move in done.document["moves"]] == [NEW_ARTIFACT, NEW_REPO]
    _check_archives(project, NEW_ARTIFACT)
    with _hub(project) as api:
        path = api.hf_hub_download(f"acme/{REPO}", "name.txt", cache_dir=tmp_path)
        assert Path(path).read_text() == REPO
        assert api.model_info(f"acme/{REPO}").id == f"acme/{NEW_REPO}"
    again = project.invoke("migrate", "--tag", "v2.0.0", "--yes", "--json")
    assert (again.code, again.document) == (0, {"applied": True, "moves": [], "unmapped": []})


def test_killed_migration_is_finished_by_the_same_command(project: Project) -> None:
    """Killed among its moves, a migration leaves each thing under one of its names; the same command finishes."""
    archives = [f"vllm-adapter-202509{day}.tar.gz" for day in range(10, 20)]
    repos = [f"phi3-avro-vllm-202509{day}" for day in range(10, 20)]
    _archives(project, *archives)
    _repos(project, *repos)
    table = "".join(f'"{name}" = "v1.{number}.0"\n' for number, name in enumerate(repos))
    table += "".join(f'"{name.removesuffix(".tar.gz")}" = "v1.{number}.0"\n' for number, name in enumerate(archives))
    project.replace("release.toml", "[verify]", f"[migrate]\n{table}\n[verify]")
    _kill_among_moves(project)
    moved = [(project.folder / "dist" / f"vllm-adapter-v1.{number}.0.tar.gz").is_file() for number in range(10)]
    assert any(moved)
    there = _listed(project)
    for number, name in enumerate(repos):
        assert len(there & {f"acme/{name}", f"acme/phi3-avro-vllm-v1.{number}.0"}) == 1
    done = project.invoke("migrate", "--yes")
    assert done.code == 0, done.stderr
    _check_archives(project, *(f"vllm-adapter-v1.{number}.0.tar.gz" for number in range(10)))
    assert _listed(project) == {f"acme/phi3-avro-vllm-v1.{number}.0" for number in range(10)}
    assert project.invoke("migrate", "--yes", "--json").document["moves"] == []


def _kill_among_moves(project: Project) -> None:
    """Start the migration and end it by SIGKILL as soon as the first archive has its new name."""
    process = subprocess.Popen(
        project.command("migrate", "--yes"),
        cwd=project.folder,
        env=dict(project.environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    first = project.folder / "dist/vllm-adapter-v1.0.0.tar.gz"
    while process.poll() is None and not first.is_file():
        pass
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_one_refused_move(project: Project) -> None:
    """A Hub that refuses one move ends the command with 1 and what was refused; the same command goes on."""
    _archives(project, ARTIFACT)
    _repos(project, REPO)
    stuck = project.folder / f".tagship/hub/repos/acme/{NEW_REPO}.git/held"  # taken, and in no list
    stuck.mkdir(parents=True)
    command = ("migrate", "--map", f"{ARTIFACT}={NEW_ARTIFACT}", "--map", f"acme/{REPO}=acme/{NEW_REPO}", "--yes")
    refused = project.invoke(*command)
    assert (refused.code, refused.stdout) == (1, "")
    assert f"refused to move acme/{REPO} to acme/{NEW_REPO}" in refused.stderr
    _check_archives(project, NEW_ARTIFACT)
    stuck.rmdir()
    for moves in ([{"what": "repo", "old": REPO, "new": NEW_REPO}], []):
        done = project.invoke(*command, "--json")
        assert (done.code, done.document["moves"]) == (0, moves)


def test_mistakes_in_the_mapping(project: Project) -> None:
    """A mapping of nothing, or that is none, ends with 2."""
    for mapped, words in (("vllm", "OLD=NEW"), ("vllm-adapter-20250915=v2.0.0", "there is no artifact and no repo")):
        done = project.invoke("migrate", "--map", mapped, "--yes")
        assert (done.code, done.stdout) == (2, "")
        assert words in done.stderr
