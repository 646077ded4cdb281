"""Results at an address: whole or not at all, compared when they are read, in a real S3 server and in memory."""

import importlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub, Role
from tagship.release.remote_store import RemoteStore, open_store
from tagship.release.result_store import FolderStore, ResultStore
from tagship.system.errors import ReleaseError, ToolError, UsageError

S3_VARIABLES = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A server that speaks S3, in this process, with a bucket."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="tester", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket="bucket")
    yield url
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RemoteStore]:
    """A store with nothing in it."""
    if request.param == "memory":
        yield RemoteStore(f"memory://{tmp_path.name}")
        fsspec.filesystem("memory").store.clear()
        return
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    for name, value in S3_VARIABLES.items():
        monkeypatch.setenv(name, value)
    yield RemoteStore(f"s3://bucket/{tmp_path.name}")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files that lie here, by the paths that they will have."""
    made = {"result.json": tmp_path / "a", "export/parts/weights": tmp_path / "b", "export/copy": tmp_path / "c"}
    for path in made.values():
        path.write_text("the same" if path.name != "a" else "another")
    return made


def got(store: ResultStore, name: str, folder: Path) -> dict[str, str]:
    folder.mkdir()
    assert store.get(name, folder)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_put_and_got(store: RemoteStore, files: dict[str, Path], tmp_path: Path) -> None:
    """What is put under a name is got by it; put again it takes its place; what is removed is gone, once or twice."""
    store.check()
    assert not store.has("units/1") and not store.get("units/1", tmp_path)
    store.put("units/1", files)
    assert store.has("units/1")
    assert got(store, "units/1", tmp_path / "first") == {path: file.read_text() for path, file in files.items()}
    store.put("units/1", {"other": files["result.json"]})
    assert got(store, "units/1", tmp_path / "second") == {"other": "another"}
    for _ in range(2):
        store.remove("units/1")
    assert not store.has("units/1") and not store.has("units")


def test_put_that_fails(store: RemoteStore, files: dict[str, Path], tmp_path: Path) -> None:
    """What was put in part is not there; a name has what it had before."""
    store.put("units/1", {"before": files["result.json"]})
    half = files | {"missing": tmp_path / "missing"}
    for name in ("units/1", "units/2"):
        with pytest.raises(FileNotFoundError):
            store.put(name, half)
    assert not store.has("units/2")
    assert got(store, "units/1", tmp_path / "kept") == {"before": "another"}


def test_place_that_is_gone(store: RemoteStore, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is not there, of which some file systems say that a file is not there, is told when it is written
    to."""

    def gone(*_: object) -> None:
        raise FileNotFoundError("no such repository")

    for name in ("pipe_file", "put_file"):
        monkeypatch.setattr(store._files, name, gone)
    for ask in (store.check, lambda: store.put("units/1", files)):
        with pytest.raises(ToolError, match="no such repository"):
            ask()


def test_killed_before_the_index(store: RemoteStore, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a result without its index, which is written last, are no result."""
    with monkeypatch.context() as patch:
        patch.setattr(store._files, "pipe_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.put("units/1", files)
    assert store._files.exists(store._at("units/1", "files")) and not store.has("units/1")


def test_changed_file(store: RemoteStore, files: dict[str, Path], tmp_path: Path) -> None:
    """A file that is not what was put there is told by its name; so is one that is gone."""
    store.put("units/1", files)
    index = json.loads(store._files.cat_file(store._at("units/1/index.json")))
    kept = store._at("units/1/files", index["files"]["export/parts/weights"]["sha256"])
    store._files.pipe_file(kept, b"the tame")
    with pytest.raises(ReleaseError, match=r"export/parts/weights was changed in \w+://"):
        got(store, "units/1", tmp_path / "changed")
    store._files.rm_file(kept)
    with pytest.raises(ReleaseError, match=r"export/parts/weights is gone from \w+://"):
        got(store, "units/1", tmp_path / "gone")


@pytest.mark.parametrize(
    "index",
    [
        b"{",
        b"[]",
        b'{"files": {"../../out": {"sha256": "aa"}}}',
        b'{"files": {"/out": {"sha256": "aa"}}}',
        b'{"files": {"a": {"sha256": "../b"}}}',
    ],
)
def test_malformed_index(index: bytes, tmp_path: Path) -> None:
    """An index that is none, or leads elsewhere, is refused before anything is written."""
    store = RemoteStore("memory://malformed")
    store._files.pipe_file(store._at("units/1/index.json"), index)
    with pytest.raises(ReleaseError, match=r"index\.json of units/1 is malformed"):
        got(store, "units/1", tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_several_at_once(store: RemoteStore, files: dict[str, Path], tmp_path: Path) -> None:
    """Workers that do the same unit, and others, at a time do not disturb each other."""
    names = [f"units/{number % 3}" for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda name: store.put(name, files), names))
    for number, name in enumerate(sorted(set(names))):
        assert len(got(store, name, tmp_path / str(number))) == len(files)


def test_bucket_that_is_not_there(s3_server: str, monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    """Where nothing can be put, that is said before any work is done; no bucket is made, and nothing of it is taken for
    a result that is not there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    for name, value in S3_VARIABLES.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://nobody/results")
    for ask in (store.check, lambda: store.put("units/1", files), lambda: store.has("units/1")):
        with pytest.raises(ToolError, match="s3://nobody/results could not") as told:
            ask()
        assert told.value.remedy and "bucket" in told.value.remedy


@pytest.mark.parametrize(
    ("address", "told", "remedy"),
    [
        ("nosuch://bucket/a", "no file system is known for nosuch://", "name a folder"),
        ("memory://results", "ends with the process that writes it", "name a folder"),
        ("s3://", "names no place", "s3://BUCKET/FOLDER"),
    ],
)
def test_refused_addresses(address: str, told: str, remedy: str) -> None:
    """An address that cannot hold results is refused with what to do."""
    with pytest.raises(UsageError, match=told) as refused:
        open_store(address)
    assert refused.value.remedy and remedy in refused.value.remedy


def test_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose package is not there is told with what installs it."""
    registry = importlib.import_module("fsspec.registry")
    absent: dict[str, Any] = {"class": "absent_fs.FileSystem", "err": "Install absent_fs"}
    monkeypatch.setitem(registry.known_implementations, "absent", absent)
    with pytest.raises(UsageError, match="absent:// needs absent_fs, which is not installed") as refused:
        open_store("absent://bucket/a")
    assert refused.value.remedy == "pip install absent_fs"


def test_folders(tmp_path: Path) -> None:
    """A folder stays one, also by its address, where what is put is linked rather than copied."""
    for results in (str(tmp_path), f"file://{tmp_path}"):
        store = open_store(results)
        assert isinstance(store, FolderStore) and store.root == tmp_path


def test_repo_of_the_hub(tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A repo of the Hub is a place for results, too; what is not there is removed without a word, as elsewhere."""
    with EmbeddedHub(root=tmp_path / "hub", namespace="acme", tokens={"hf_writer": Role.WRITE}) as hub:
        HfApi(endpoint=hub.url, token="hf_writer").create_repo("acme/results", repo_type="dataset", private=True)
        given = {"endpoint": hub.url, "token": "hf_writer", "skip_instance_cache": True}
        opened = fsspec.filesystem("hf", **given)
        monkeypatch.setattr("fsspec.core.url_to_fs", lambda address: (opened, address.removeprefix("hf://")))
        store = RemoteStore("hf://datasets/acme/results/here")
        store.remove("units/1")
        store.check()
        store.put("units/1", files)
        assert got(store, "units/1", tmp_path / "got") == {path: file.read_text() for path, file in files.items()}
        store.remove("units/1")
        assert not store.has("units/1")
        monkeypatch.setattr("fsspec.core.url_to_fs", lambda address: (opened, "datasets/acme/nosuch"))
        with pytest.raises(ToolError, match="could not be written to"):
            RemoteStore("hf://datasets/acme/nosuch").check()
