"""The embedded Hub against `sha256sum` and `cp`, git's own server, and the client's own work.

Run as `python -m bench.hub [PART]`; PART is `files`, `large`, `list` or `git`, all by default. Servers and clients are
processes of their own, and the memory is the server's.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from bench.measure import Measured, table

_FILES, _REQUESTS, _MODELS = 5_000, 5_000, 1_000
_LARGE_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 24
_REPO = "acme/model"
_SERVE = (
    "import sys\nfrom pathlib import Path\nfrom tagship.hub_server.app import serve\n"
    "serve(root=Path(sys.argv[1]), announce=lambda url: print(url, flush=True))\n"
)


class _Server(Struct, frozen=True):
    url: str
    process: int

    @property
    def memory(self) -> int:
        """The peak of its resident memory so far, in bytes."""
        status = Path(f"/proc/{self.process}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * 1024

    def connection(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)

    def measured(self, work: Callable[[], object]) -> Measured:
        began = time.monotonic()
        work()
        return Measured(seconds=time.monotonic() - began, memory=self.memory)


@contextmanager
def _serving(root: Path) -> Iterator[_Server]:
    process = subprocess.Popen([sys.executable, "-c", _SERVE, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield _Server(process.stdout.readline().strip(), process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def main(parts: list[str]) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="tagship-bench-") as name:
        folder = Path(name)
        os.environ["HF_XET_CACHE"] = str(folder / "xet-cache")
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        for part in parts:
            with _serving(folder / part / "hub") as server:
                _PARTS[part](server, folder / part)
            shutil.rmtree(folder / part)


def _files(server: _Server, folder: Path) -> None:
    """Many small files by the client, and by requests alone."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=server.url, token="bench")
    api.create_repo(_REPO)
    names = [f"part-{number % 50:02}/{number:05}.txt" for number in range(_FILES)]
    adds = [CommitOperationAdd(name, f"{name}\n".encode() * 20) for name in names]
    committed = server.measured(lambda: api.create_commit(_REPO, adds, commit_message="files"))
    began = time.process_time()
    got = server.measured(lambda: api.snapshot_download(_REPO, cache_dir=folder / "cache"))
    of_client = time.process_time() - began
    into_folder = server.measured(lambda: api.snapshot_download(_REPO, local_dir=folder / "got"))
    copied = _run(["cp", "-r", str(folder / "got"), str(folder / "copy")])
    connection = server.connection()

    def requests() -> None:
        for name in names[:_REQUESTS]:
            connection.request("GET", f"/{_REPO}/resolve/main/{name}")
            response = connection.getresponse()
            assert (len(response.read()), response.status) == (20 * (len(name) + 1), 200)

    plain = server.measured(requests)
    table(
        f"{_FILES:,} files of 400 bytes",
        [
            ("`snapshot_download`", got),
            ("the same into a folder, with a lock and a record for each", into_folder),
            (f"{_REQUESTS:,} requests on one connection", plain),
            ("one commit of all", committed),
            ("`cp -r` of them", copied),
        ],
    )
    print(
        f"\n{_FILES / got.seconds:.0f} files/s by snapshot_download, whose own process took {of_client:.1f} s of a"
        f" processor; {_REQUESTS / plain.seconds:.0f} requests/s"
    )


def _large(server: _Server, folder: Path) -> None:
    """A file of 1 GiB, up and down, by plain HTTP and by Xet."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=server.url, token="bench")
    api.create_repo(_REPO)
    file = folder / "large.bin"
    sha256 = _random_file(file)
    summed = _run(["sha256sum", str(file)])
    copied = _run(["cp", str(file), str(folder / "copy")])
    rows = [("`sha256sum` of it", summed), ("`cp` of it", copied)]
    rows.append(("up by LFS", server.measured(lambda: _put(server, file, sha256))))
    rows.append(("down by plain HTTP", server.measured(lambda: _get(server, "large.bin", folder / "copy"))))
    shutil.rmtree(folder / "hub" / "blobs")
    (folder / "hub" / "blobs").mkdir()
    upload = lambda: api.upload_file(path_or_fileobj=file, path_in_repo="xet.bin", repo_id=_REPO)  # noqa: E731
    rows.append(("up by Xet, the client's work included", server.measured(upload)))
    fetch = lambda: api.hf_hub_download(_REPO, "xet.bin", local_dir=folder / "got")  # noqa: E731
    rows.append(("down by Xet, the client's work included", server.measured(fetch)))
    rows.append(
        ("what came by Xet down by plain HTTP", server.measured(lambda: _get(server, "xet.bin", folder / "copy")))
    )
    rows.append(("`sha256sum` again", _run(["sha256sum", str(file)])))
    table(f"A file of {_LARGE_BYTES >> 30} GiB; memory is the server's", rows)


def _random_file(path: Path) -> str:
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(_LARGE_BYTES // _BLOCK_BYTES):
            block = os.urandom(_BLOCK_BYTES)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _put(server: _Server, file: Path, sha256: str) -> None:
    size = file.stat().st_size
    body = json.dumps({"operation": "upload", "objects": [{"oid": sha256, "size": size}]})
    answer = json.loads(_answer(server, "POST", f"/{_REPO}.git/info/lfs/objects/batch", body))
    href = answer["objects"][0]["actions"]["upload"]["href"]
    subprocess.run(["curl", "--silent", "--show-error", "--fail", "--upload-file", str(file), href], check=True)
    value = {"path": "large.bin", "algo": "sha256", "oid": sha256, "size": size}
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": value}]
    _answer(server, "POST", f"/api/models/{_REPO}/commit/main", "\n".join(map(json.dumps, lines)))


def _get(server: _Server, name: str, target: Path) -> None:
    address = f"{server.url}/{_REPO}/resolve/main/{name}"
    subprocess.run(["curl", "--silent", "--show-error", "--fail", "--output", str(target), address], check=True)


def _answer(server: _Server, method: str, path: str, body: str) -> bytes:
    connection = server.connection()
    connection.request(method, path, body=body)
    response = connection.getresponse()
    answer = response.read()
    assert response.status == 200, answer
    return answer


def _list(server: _Server, folder: Path) -> None:
    """Many repositories, listed by the client: by the server that made them, and by one that was just started."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=server.url, token="bench")
    made = server.measured(lambda: [api.create_repo(f"acme/model-{number}") for number in range(_MODELS)])
    first = server.measured(lambda: list(api.list_models(full=True)))
    rows = [("`list_models(full=True)`", first), ("making them", made)]
    with _serving(folder / "hub") as again:
        fresh = HfApi(endpoint=again.url, token="bench")
        assert len(list(fresh.list_models(limit=1))) == 1
        rows.append(("the same of a server just started", again.measured(lambda: list(fresh.list_models(full=True)))))
    rows.append(("`find` of their folders", _run(["find", str(folder / "hub" / "repos"), "-name", "HEAD"])))
    table(f"{_MODELS:,} models", rows)


def _git(server: _Server, folder: Path) -> None:
    """A clone and a push, beside git's own server."""
    from huggingface_hub import HfApi

    HfApi(endpoint=server.url, token="bench").create_repo(_REPO)
    work = folder / "work"
    _git_run("clone", "--quiet", f"{server.url}/{_REPO}", str(work))
    for number in range(_FILES):
        path = work / f"part-{number % 50:02}" / f"{number:05}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(hashlib.sha512(b"%d" % number).hexdigest() * 20)
    _git_run("-C", str(work), "add", "--all")
    _git_run("-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "files")
    rows = [("push to the embedded Hub", _run(["git", "-C", str(work), "push", "--quiet", "origin", "main"]))]
    with _git_daemon(folder / "theirs") as daemon:
        rows.append(("push to `git daemon`", _run(["git", "-C", str(work), "push", "--quiet", daemon, "main"])))
        ours = _run(["git", "clone", "--quiet", f"{server.url}/{_REPO}", str(folder / "ours-clone")])
        rows.append(("clone from the embedded Hub", ours))
        rows.append(("clone from `git daemon`", _run(["git", "clone", "--quiet", daemon, str(folder / "their-clone")])))
    table(f"Git with {_FILES:,} files; memory is the client's", rows)


@contextmanager
def _git_daemon(folder: Path) -> Iterator[str]:
    folder.mkdir()
    _git_run("init", "--quiet", "--bare", "--initial-branch=main", str(folder / "model.git"))
    with _free_port() as port:
        pass
    options = ["--export-all", "--enable=receive-pack", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(["git", "daemon", *options, f"--base-path={folder}", str(folder)])
    try:
        time.sleep(1)
        yield f"git://127.0.0.1:{port}/model.git"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _free_port() -> Iterator[int]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found.getsockname()[1]


def _git_run(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def _run(command: list[str]) -> Measured:
    from bench.measure import measure

    return measure(command)


_PARTS: Mapping[str, Callable[[_Server, Path], None]] = {
    "files": _files,
    "large": _large,
    "list": _list,
    "git": _git,
}

if __name__ == "__main__":
    main(sys.argv[1:] or list(_PARTS))
