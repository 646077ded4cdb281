"""What the embedded Hub keeps: on the disk before it answers, mended after a power cut, freed when nobody has it."""

import hashlib
import http.client
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, set_client_factory
from huggingface_hub.utils._http import default_client_factory
from tagship.hub_server import claims, durable
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.claims import WAITING_SECONDS
from tagship.hub_server.garbage import collect
from tagship.system.errors import ReleaseError

REPO = "acme/model"
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(40_000))
OTHER = LARGE[::-1]

pytestmark = pytest.mark.usefixtures("quiet_client")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="anything")
    api.create_repo(REPO)
    return api


def commit(api: HfApi, files: dict[str, bytes], *, repo: str = REPO) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(repo, operations, commit_message="files").oid


def stored(root: Path) -> int:
    """Bytes of large files."""
    return sum(path.stat().st_size for kind in ("blobs", "xet") for path in (root / kind).rglob("*") if path.is_file())


def git_dir(root: Path, repo: str = REPO) -> Path:
    return root / "repos" / f"{repo}.git"


def put(hub: EmbeddedHub, data: bytes, *, sends: bool = True) -> dict[str, Any]:
    """A plain LFS upload; with `sends` False, the question that comes before it alone. The answer to that."""
    address = urlsplit(hub.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    item = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    body = json.dumps({"operation": "upload", "objects": [item]})
    connection.request("POST", f"/{REPO}.git/info/lfs/objects/batch", body=body)
    answer = json.loads(connection.getresponse().read())["objects"][0]
    if sends and "actions" in answer:
        connection.request("PUT", answer["actions"]["upload"]["href"].removeprefix(hub.url), body=data)
        assert connection.getresponse().read() == b""
    connection.close()
    return answer


def commit_pointer(hub: EmbeddedHub, data: bytes, path: str) -> int:
    """A commit that names an LFS file; the status of the answer."""
    address = urlsplit(hub.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    value = {"path": path, "algo": "sha256", "oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": value}]
    connection.request("POST", f"/api/models/{REPO}/commit/main", body="\n".join(map(json.dumps, lines)))
    status = connection.getresponse().status
    connection.close()
    return status


def age(root: Path, seconds: float) -> None:
    """Make everything that was stored older."""
    for path in (*(root / "blobs").rglob("*"), *(root / "xet").rglob("*")):
        if path.is_file():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


class TestGarbage:
    def test_deleted_repository(self, api: HfApi, hub: EmbeddedHub, root: Path, tmp_path: Path) -> None:
        """What only a deleted repository had is freed at once, beside the server; what others have stays whole."""
        api.create_repo("acme/kept")
        commit(api, {"model.bin": LARGE, "shared.bin": OTHER})
        commit(api, {"shared.bin": OTHER}, repo="acme/kept")
        put(hub, b"\0by LFS")
        assert commit_pointer(hub, b"\0by LFS", "lfs.bin") == 200
        assert stored(root) > len(LARGE) + len(OTHER)
        age(root, 1)
        before = collect(root)
        assert (before.files, before.size, before.waiting) == (0, 0, 0)
        api.delete_repo(REPO)
        age(root, 1)
        freed = collect(root)
        assert freed.size >= 7
        assert not list(root.glob("blobs/??/*"))
        path = api.hf_hub_download("acme/kept", "shared.bin", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == OTHER
        api.delete_repo("acme/kept")
        age(root, 1)
        assert collect(root).size > len(OTHER)
        assert stored(root) < 10

    def test_upload_again_by_the_same_client(self, api: HfApi, root: Path, tmp_path: Path) -> None:
        """A client that remembers that it has uploaded a file does not rely on it once it was freed."""
        commit(api, {"model.bin": LARGE})
        api.delete_repo(REPO)
        age(root, 1)
        collect(root)
        api.create_repo(REPO)
        commit(api, {"model.bin": LARGE})
        path = api.hf_hub_download(REPO, "model.bin", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == LARGE

    def test_history_is_kept(self, api: HfApi, root: Path, tmp_path: Path) -> None:
        """What an older commit or a tag has is not garbage; what no ref leads to is, in git too."""
        old = commit(api, {"model.bin": LARGE, "old.txt": b"old"})
        api.create_commit(REPO, [CommitOperationDelete("model.bin")], commit_message="delete")
        age(root, 1)
        assert collect(root).files == 0
        path = api.hf_hub_download(REPO, "model.bin", revision=old, cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == LARGE
        git = ["git", "--git-dir", str(git_dir(root))]
        subprocess.run([*git, "update-ref", "refs/heads/main", f"{old}~1"], check=True)
        age(root, 1)
        freed = collect(root)
        assert (freed.repositories, freed.size > len(LARGE)) == (1, True)
        assert subprocess.run([*git, "cat-file", "-e", old], check=False, capture_output=True).returncode
        assert not api.revision_exists(REPO, old)

    def test_waiting_uploads(self, api: HfApi, hub: EmbeddedHub, root: Path) -> None:
        """An upload is kept for a day, and so is a file of which a client was told that it is there."""
        put(hub, b"\0waits")
        put(hub, b"\0old")
        commit(api, {"x.txt": b"x"})
        age(root, 1)
        freed = collect(root)
        assert (freed.files, freed.waiting) == (0, 2)
        age(root, WAITING_SECONDS)
        assert "actions" not in put(hub, b"\0waits", sends=False)
        age(root, 1)
        freed = collect(root)
        assert (freed.files, freed.waiting) == (1, 1)
        assert commit_pointer(hub, b"\0old", "old.bin") == 400
        assert commit_pointer(hub, b"\0waits", "waits.bin") == 200

    def test_commit_while_it_reads(
        self, api: HfApi, hub: EmbeddedHub, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that gets into a commit after the repositories were read is not freed."""
        put(hub, b"\0there")
        assert commit_pointer(hub, b"\0there", "a.bin") == 200
        api.delete_repo(REPO)
        api.create_repo(REPO)
        age(root, 1)
        from tagship.hub_server.store_lock import StoreLock

        alone = StoreLock.alone

        def later(self: StoreLock) -> Any:
            assert commit_pointer(hub, b"\0there", "b.bin") == 200
            return alone(self)

        monkeypatch.setattr(StoreLock, "alone", later)
        assert collect(root).files == 0
        assert "actions" not in put(hub, b"\0there", sends=False)

    def test_parts_of_a_waiting_file(self, api: HfApi, root: Path, tmp_path: Path) -> None:
        """A file that waits for its commit keeps the chunks that it shares with one that is gone."""
        commit(api, {"model.bin": LARGE})
        waiting = CommitOperationAdd("more.bin", LARGE + b"more")
        api.preupload_lfs_files(REPO, [waiting])
        api.delete_repo(REPO)
        api.create_repo(REPO)
        for path in (root / "xet" / "xorbs").glob("??/*"):
            claims.settle(path)
        age(root, 1)
        collect(root)
        api.create_commit(REPO, [waiting], commit_message="more")
        path = api.hf_hub_download(REPO, "more.bin", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == LARGE + b"more"

    def test_unreadable_repository(self, api: HfApi, root: Path) -> None:
        """If one repository cannot be read, nothing is removed."""
        commit(api, {"model.bin": LARGE})
        before = stored(root)
        for path in git_dir(root).glob("objects/??/*"):
            path.chmod(0o600)
            path.write_bytes(b"x")
        age(root, 1)
        with pytest.raises(ReleaseError, match="acme/model cannot be read, and nothing was removed"):
            collect(root)
        assert stored(root) == before

    def test_requests_wait(self, api: HfApi, hub: EmbeddedHub, root: Path) -> None:
        """While the folder is held by `flock`, changes wait and reading goes on; the copy is one that works."""
        flag = root.parent / "copied"
        script = f"cp -a {root} {root.parent}/copy && sleep 1 && touch {flag}"
        process = subprocess.Popen(["flock", str(root / "lock"), "sh", "-c", script])
        while not (root.parent / "copy").exists():
            time.sleep(0.01)
        assert api.model_info(REPO).sha
        assert not flag.exists()
        commit(api, {"a.txt": b"a"})
        assert flag.exists()
        assert process.wait() == 0
        with EmbeddedHub(root=root.parent / "copy") as copy:
            assert HfApi(endpoint=copy.url, token="x").list_repo_files(REPO) == [".gitattributes"]


class TestDurable:
    def test_synced_before_the_answer(
        self, api: HfApi, hub: EmbeddedHub, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Branches, settings, uploads and their names are on the disk before the client is told."""
        synced: set[Path] = set()
        whole: Callable[[Path], None] = durable.sync

        def noted(path: Path) -> None:
            whole(path)
            synced.add(path)

        for module in ("durable", "git", "repos", "former_names"):
            monkeypatch.setattr(f"tagship.hub_server.{module}.sync", noted)
        commit(api, {"a.txt": b"a"})
        heads = git_dir(root) / "refs" / "heads"
        assert {heads, heads / "main"} <= synced
        put(hub, b"\0data")
        (blob,) = (root / "blobs").glob("??/*")
        assert {blob.parent, root / "blobs"} <= synced
        assert any(path.parent == root / "tmp" for path in synced)
        api.update_repo_settings(REPO, private=True)
        assert {git_dir(root), git_dir(root) / "config"} <= synced
        api.create_repo("zeta/new")
        assert {root / "repos", root / "repos" / "zeta"} <= synced

    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    def test_git_syncs(self, api: HfApi, root: Path, tmp_path: Path) -> None:
        """Git is told to wait for the disk for objects and refs."""
        script = (
            "import sys\nfrom pathlib import Path\nfrom tagship.hub_server.git import Git\n"
            "git = Git(git_dir=Path(sys.argv[1]))\n"
            "oid = git.line('hash-object', '-w', '--stdin', feed=b'x')\n"
            "git.change('update-ref', 'refs/heads/other', git.commit_oids(['refs/heads/main'])[0])\n"
        )
        trace = tmp_path / "trace"
        command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(trace), sys.executable, "-c", script]
        done = subprocess.run([*command, str(git_dir(root))], check=False, capture_output=True, text=True)
        if "Operation not permitted" in done.stderr:
            pytest.skip("strace is not allowed here")
        assert done.returncode == 0, done.stderr
        lines = trace.read_text()
        assert "/objects/" in lines
        assert "refs/heads/other.lock" in lines

    def test_many_files_in_one_pack(self, api: HfApi, root: Path) -> None:
        """A commit of many files waits for the disk once for all of them."""
        packs = len(list(git_dir(root).glob("objects/pack/*.pack")))
        commit(api, {f"{number}.txt": b"%d" % number for number in range(150)})
        assert len(list(git_dir(root).glob("objects/pack/*.pack"))) == packs + 1
        assert len(list(git_dir(root).glob("objects/??/*"))) < 20
        assert len(api.list_repo_files(REPO)) == 151

    def test_owner_only(self, api: HfApi, root: Path) -> None:
        """Nobody but its owner can read what the Hub keeps, whatever the umask."""
        before = os.umask(0o022)
        try:
            commit(api, {"model.bin": LARGE, "a.txt": b"a"})
            api.create_repo("zeta/new", private=True)
            api.create_tag(REPO, tag="v1", tag_message="one")
            api.move_repo("zeta/new", "eta/newer")
        finally:
            os.umask(before)
        paths = [path for path in root.rglob("*") if not path.is_symlink()]
        open_to_others = [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]
        assert open_to_others == []


class TestMending:
    def restarted(self, root: Path) -> HfApi:
        """A client of a new server on the folder."""
        self._hub = EmbeddedHub(root=root)
        return HfApi(endpoint=self._hub.__enter__().url, token="anything")

    @pytest.fixture(autouse=True)
    def _stop(self) -> Any:
        self._hub: EmbeddedHub | None = None
        yield
        if self._hub:
            self._hub.__exit__(None, None, None)

    @pytest.fixture
    def head(self, root: Path) -> str:
        """A Hub that was stopped; the last commit of three."""
        with EmbeddedHub(root=root) as hub:
            api = HfApi(endpoint=hub.url, token="anything")
            api.create_repo(REPO)
            commit(api, {"a.txt": b"a"})
            api.create_branch(REPO, branch="other")
            api.create_commit(REPO, [CommitOperationAdd("c.txt", b"c")], commit_message="x", revision="other")
            return commit(api, {"b.txt": b"b"})

    def test_empty_branch(self, root: Path, head: str, caplog: pytest.LogCaptureFixture) -> None:
        """A branch whose file a power cut has emptied has its last commit again, and takes the next one."""
        (git_dir(root) / "refs/heads/main").write_bytes(b"")
        with caplog.at_level(logging.WARNING):
            api = self.restarted(root)
        assert "acme/model: the branch main had no commit" in caplog.text
        assert api.model_info(REPO).sha == head
        commit(api, {"c.txt": b"c"})

    def test_missing_branch(self, root: Path, head: str) -> None:
        """The same where the file is gone; one that is packed is not missing."""
        subprocess.run(["git", "--git-dir", git_dir(root), "pack-refs", "--all"], check=True)
        assert self.restarted(root).model_info(REPO).sha == head
        assert self._hub
        self._hub.__exit__(None, None, None)
        (git_dir(root) / "packed-refs").unlink()
        assert self.restarted(root).model_info(REPO).sha is not None

    def test_half_written_commit(self, root: Path, head: str) -> None:
        """If objects of the last commit are empty, the branch has the one before, and the same files can be added."""
        objects = git_dir(root) / "objects"
        blob = subprocess.run(
            ["git", "--git-dir", git_dir(root), "rev-parse", f"{head}:b.txt"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        broken = objects / blob[:2] / blob[2:]
        broken.chmod(0o600)
        broken.write_bytes(b"")
        (git_dir(root) / "refs/heads/main").write_bytes(b"")
        api = self.restarted(root)
        assert api.list_repo_files(REPO) == [".gitattributes", "a.txt"]
        commit(api, {"b.txt": b"b"})
        assert api.list_repo_files(REPO) == [".gitattributes", "a.txt", "b.txt"]

    def test_other_empty_refs(self, root: Path, head: str) -> None:
        """Another ref without a commit is removed; those that are whole stay."""
        (git_dir(root) / "refs/heads/other").write_bytes(b"")
        (git_dir(root) / "refs/tags/v1").write_bytes(b"\0" * 41)
        (git_dir(root) / "HEAD").write_bytes(b"")
        api = self.restarted(root)
        assert api.model_info(REPO).sha == head
        refs = api.list_repo_refs(REPO)
        assert ([ref.name for ref in refs.branches], refs.tags) == (["main"], [])

    def test_stale_locks(self, root: Path, head: str) -> None:
        """Locks that nobody holds are gone when a server starts."""
        for name in ("refs/heads/main.lock", "config.lock", "packed-refs.lock", "HEAD.lock"):
            (git_dir(root) / name).write_bytes(b"")
        api = self.restarted(root)
        assert not list(git_dir(root).rglob("*.lock"))
        assert commit(api, {"c.txt": b"c"}) != head

    def test_stale_lock_of_a_running_server(self, api: HfApi, root: Path) -> None:
        """A lock that a killed git has left is removed by the request that meets it."""
        (git_dir(root) / "refs/heads/main.lock").write_bytes(b"")
        commit(api, {"a.txt": b"a"})
        (git_dir(root) / "config.lock").write_bytes(b"")
        api.update_repo_settings(REPO, private=True)
        assert api.model_info(REPO).private

    def test_held_locks_stay(self, root: Path, head: str) -> None:
        """A lock in a repository that another server is changing is left alone."""
        import fcntl

        lock = git_dir(root) / "refs/heads/main.lock"
        descriptor = os.open(git_dir(root), os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        lock.write_bytes(b"")
        try:
            self.restarted(root)
            assert lock.exists()
        finally:
            os.close(descriptor)


@pytest.fixture
def patient_client() -> Iterator[None]:
    """A client that waits as long as it takes: many that wait for each other take long on a busy machine."""
    set_client_factory(lambda: httpx2.Client(timeout=None))
    yield
    set_client_factory(default_client_factory)


@pytest.mark.usefixtures("patient_client")
def test_threads_are_free_while_changes_wait(api: HfApi, hub: EmbeddedHub, root: Path) -> None:
    """However many changes wait for the folder, reading goes on."""
    with open(root / "lock") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        writers = [
            threading.Thread(target=lambda number=number: commit(api, {f"{number}.txt": b"x"})) for number in range(60)
        ]
        for writer in writers:
            writer.start()
        time.sleep(0.5)
        assert api.list_repo_files(REPO) == [".gitattributes"]
    for writer in writers:
        writer.join()
    assert len(api.list_repo_files(REPO)) == 61


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_pushed_files_are_no_garbage(api: HfApi, hub: EmbeddedHub, root: Path, tmp_path: Path) -> None:
    """What was pushed stays as long as a branch leads to it; what a refused push uploaded waits for the next one."""
    environment = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    work = tmp_path / "work"

    def git(*arguments: str) -> int:
        names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(["git", *names, *arguments], cwd=tmp_path, env=environment, check=False).returncode

    assert git("clone", "--quiet", f"{hub.url}/{REPO}", str(work)) == 0
    assert git("-C", str(work), "lfs", "install", "--local") == 0
    (work / "model.bin").write_bytes(b"\0pushed")
    (work / "link").symlink_to("/etc/passwd")
    for arguments in (("add", "--all"), ("commit", "--quiet", "-m", "x")):
        assert git("-C", str(work), *arguments) == 0
    assert git("-C", str(work), "push", "--quiet", "origin", "main") != 0
    age(root, 1)
    freed = collect(root)
    assert (freed.files, freed.waiting) == (0, 1)
    (work / "link").unlink()
    for arguments in (
        ("add", "--all"),
        ("commit", "--quiet", "--amend", "-m", "x"),
        ("push", "--quiet", "origin", "main"),
    ):
        assert git("-C", str(work), *arguments) == 0
    age(root, WAITING_SECONDS + 1)
    freed = collect(root)
    assert (freed.files, freed.waiting) == (0, 0)
    api.delete_repo(REPO)
    age(root, 1)
    assert (collect(root).size, stored(root)) == (7, 0)
