"""The embedded Hub, spoken to by the real `huggingface_hub` client over loopback."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tagship.hub_server.app import EmbeddedHub, Role
from tagship.hub_server.reconstruction import terms
from tagship.hub_server.sending import byte_range
from tagship.hub_server.xet import XetError, XetStore, parse_shard
from tagship.system.errors import ReleaseError, UsageError

from tests.hub_server.asking import request

REPO = "acme/model"
CARD = b"---\nlicense: mit\nlibrary_name: peft\nbase_model: acme/base\ntags: [avro]\n---\n# Model\n"

# Larger than a xorb (64 MB) is not needed to cross every boundary: chunks have 8 to 128 KB,
# blocks 1 MB.
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(150_000))


pytestmark = pytest.mark.usefixtures("quiet_client")


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="anything")
    api.create_repo(REPO)
    return api


def commit(api: HfApi, files: dict[str, bytes], *, repo: str = REPO, **options: Any) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(repo, operations, commit_message="files", **options).oid


def download(api: HfApi, path: str, cache: Path, **options: Any) -> bytes:
    return Path(api.hf_hub_download(REPO, path, cache_dir=cache, **options)).read_bytes()


def git(*arguments: str, folder: Path) -> str:
    """What git prints, without git-lfs, where the machine has that for everybody."""
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def client_process(hub: EmbeddedHub, script: str, folder: Path, *arguments: str, xet: bool) -> subprocess.Popen[str]:
    """A process that runs a script whose `api` is a client; Xet can be switched off at import only."""
    preamble = (
        "import hashlib, os, sys\nfrom huggingface_hub import *\n"
        f"api, REPO = HfApi(endpoint={hub.url!r}, token='anything'), {REPO!r}\n"
    )
    environment = {**os.environ, "HF_HUB_DISABLE_XET": str(int(not xet)), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", preamble + script, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def run_client(hub: EmbeddedHub, script: str, folder: Path, *, xet: bool) -> None:
    """The same, waited for."""
    process = client_process(hub, script, folder, xet=xet)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


class TestRepositories:
    def test_create(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A new repository has the address of the Hub and its first commit, with .gitattributes."""
        url = api.create_repo("other")
        assert (str(url), url.repo_id) == (f"{hub.url}/acme/other", "acme/other")
        assert api.list_repo_files("acme/other") == [".gitattributes"]
        assert [c.title for c in api.list_repo_commits("acme/other")] == ["initial commit"]

    def test_exist_ok(self, api: HfApi) -> None:
        """Creating a repository again is a conflict, which exist_ok forgives; nothing in it changes."""
        head = commit(api, {"a.txt": b"a"})
        with pytest.raises(HfHubHTTPError, match="already created"):
            api.create_repo(REPO)
        assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
        assert api.model_info(REPO).sha == head

    def test_created_once(self, api: HfApi) -> None:
        """Of many clients that create the same repository at once, exactly one does."""

        def create(_: int) -> bool:
            try:
                api.create_repo("acme/contested")
            except HfHubHTTPError as error:
                assert error.response.status_code == 409
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(create, range(8))) == 1

    def test_bad_names(self, hub: EmbeddedHub, tmp_path: Path) -> None:
        """The Hub's rules for names hold for both parts; nothing is written for one that breaks them."""
        bad = (*("-a", "a-", ".a", "a.", "a--b", "a..b", "a.git", "a" * 97, "a b", "a/b", "a\\b", "ä", "..", " "),)
        for name in bad:
            for organization, repo in ((name, "model"), ("acme", name)):
                body = json.dumps({"organization": organization, "name": repo}).encode()
                assert request(hub, "POST", "/api/repos/create", body=body)[0] == 400, name
        assert list((tmp_path / "hub" / "repos").iterdir()) == []

    def test_other_kinds(self, api: HfApi) -> None:
        """A space is refused in words, where it would be made and where it is asked for."""
        with pytest.raises(BadRequestError, match="models and datasets, and no spaces"):
            api.create_repo("acme/demo", repo_type="space", space_sdk="gradio")
        with pytest.raises(RepositoryNotFoundError, match="models and datasets, and no spaces"):
            api.space_info("acme/demo")

    def test_delete(self, api: HfApi) -> None:
        """A deleted repository is gone, and deleting it again is an error unless missing_ok."""
        api.delete_repo(REPO)
        assert not api.repo_exists(REPO)
        with pytest.raises(RepositoryNotFoundError):
            api.delete_repo(REPO)
        api.delete_repo(REPO, missing_ok=True)

    def test_move(self, api: HfApi) -> None:
        """A repository keeps its history under a new name, and never replaces another."""
        head = commit(api, {"a.txt": b"a"})
        api.create_repo("acme/taken")
        with pytest.raises(HfHubHTTPError, match="409"):
            api.move_repo(REPO, "acme/taken")
        api.move_repo(REPO, "other/renamed")
        assert api.model_info("other/renamed").sha == head
        assert [model.id for model in api.list_models()] == ["acme/taken", "other/renamed"]

    def test_list(self, api: HfApi) -> None:
        """Models are found by author and by a part of their name."""
        for repo in ("acme/adapter", "zeta/adapter"):
            api.create_repo(repo)
        assert [m.id for m in api.list_models(author="acme")] == ["acme/adapter", "acme/model"]
        assert [m.id for m in api.list_models(search="ADAPT")] == ["acme/adapter", "zeta/adapter"]
        assert [m.id for m in api.list_models(limit=1)] == ["acme/adapter"]

    def test_settings(self, api: HfApi) -> None:
        """Visibility and gating are kept and reported."""
        assert (api.model_info(REPO).private, api.model_info(REPO).gated) == (False, False)
        api.update_repo_settings(REPO, private=True, gated="manual")
        assert (api.model_info(REPO).private, api.model_info(REPO).gated) == (True, "manual")
        api.create_repo("acme/secret", private=True)
        assert api.model_info("acme/secret").private


@pytest.mark.slow
class TestUploads:
    def test_xet(self, api: HfApi, tmp_path: Path) -> None:
        """Large files go through Xet before the commit, and come back through it byte for byte."""
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(LARGE)
        operations = [
            CommitOperationAdd("model.safetensors", weights),
            CommitOperationAdd("sub folder/ü-Q4_K_M.gguf", LARGE[:70_000]),
            CommitOperationAdd("README.md", CARD),
        ]
        api.preupload_lfs_files(REPO, operations)
        api.create_commit(REPO, operations, commit_message="xet", parent_commit=api.model_info(REPO).sha)
        infos = {info.path: info for info in api.get_paths_info(REPO, ["model.safetensors", "README.md"])}
        large = infos["model.safetensors"]
        assert large.lfs is not None
        assert (large.size, large.lfs.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
        assert large.xet_hash is not None
        assert (infos["README.md"].lfs, infos["README.md"].size) == (None, len(CARD))
        assert download(api, "model.safetensors", tmp_path / "cache") == LARGE
        assert download(api, "sub folder/ü-Q4_K_M.gguf", tmp_path / "cache") == LARGE[:70_000]

    def test_xet_deduplicates(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """A second version that shares most bytes with the first stores only what is new."""

        def stored() -> int:
            return sum(path.stat().st_size for path in tmp_path.glob("hub/xet/xorbs/*/*"))

        commit(api, {"model.bin": LARGE})
        before = stored()
        changed = LARGE[:2_000_000] + b"changed" + LARGE[2_000_000:]
        commit(api, {"model.bin": changed})
        assert before > 4_000_000
        assert stored() - before < 400_000
        assert download(api, "model.bin", tmp_path / "cache") == changed

    def test_xet_without_client(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A client without Xet gets the same bytes by plain HTTP, whole or in ranges."""
        commit(api, {"model.bin": LARGE})
        path = f"/{REPO}/resolve/main/model.bin"
        status, headers, body = request(hub, "GET", path)
        assert (status, body) == (200, LARGE)
        assert headers["x-linked-size"] == str(len(LARGE))
        assert headers["x-linked-etag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"'
        for start, end in ((0, 1), (70_001, 3_000_000), (len(LARGE) - 5, len(LARGE))):
            status, headers, body = request(hub, "GET", path, headers={"Range": f"bytes={start}-{end - 1}"})
            assert (status, body) == (206, LARGE[start:end])
            assert headers["content-range"] == f"bytes {start}-{end - 1}/{len(LARGE)}"
        assert request(hub, "GET", path, headers={"Range": f"bytes={len(LARGE)}-"})[0] == 416
        status, headers, body = request(hub, "HEAD", path)
        assert (status, headers["content-length"], body) == (200, str(len(LARGE)), b"")

    def test_lfs(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """Without Xet, files go through plain LFS, and anybody can download them."""
        (tmp_path / "weights").write_bytes(LARGE)
        run_client(
            hub,
            "ops = [CommitOperationAdd('model.bin', 'weights'), CommitOperationAdd('x.gz', b'zipped')]\n"
            "api.preupload_lfs_files(REPO, ops)\n"
            "api.create_commit(REPO, ops, commit_message='lfs')\n"
            "api.hf_hub_download(REPO, 'model.bin', local_dir='plain')\n"
            "api.snapshot_download(REPO, local_dir='snapshot')\n",
            tmp_path,
            xet=False,
        )
        assert (tmp_path / "plain" / "model.bin").read_bytes() == LARGE
        assert (tmp_path / "snapshot" / "x.gz").read_bytes() == b"zipped"
        assert next(iter(api.get_paths_info(REPO, "model.bin"))).xet_hash is None
        assert download(api, "model.bin", tmp_path / "cache") == LARGE

    def test_lfs_reads_xet(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """What came through Xet can be downloaded without it, and is not uploaded again."""
        commit(api, {"model.bin": LARGE})
        (tmp_path / "weights").write_bytes(LARGE)
        run_client(
            hub,
            "api.hf_hub_download(REPO, 'model.bin', local_dir='plain')\n"
            "api.upload_file(path_or_fileobj='weights', path_in_repo='copy.bin', repo_id=REPO)\n",
            tmp_path,
            xet=False,
        )
        assert (tmp_path / "plain" / "model.bin").read_bytes() == LARGE
        assert not list(tmp_path.glob("hub/blobs/*/*"))
        assert api.file_exists(REPO, "copy.bin")

    def test_xet_lie_is_not_served(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A file that was uploaded under a wrong SHA-256 breaks off instead of looking complete."""
        lie = CommitOperationAdd("model.bin", LARGE)
        lie.upload_info.sha256 = hashlib.sha256(b"something else").digest()
        api.create_commit(REPO, [lie], commit_message="lie")
        with pytest.raises(http.client.IncompleteRead):
            request(hub, "GET", f"/{REPO}/resolve/main/model.bin")

    def test_clients_at_once(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """Several processes can upload through Xet at the same time."""
        script = (
            "data = hashlib.sha512(sys.argv[1].encode()).digest() * 20_000\n"
            "api.create_commit(REPO, [CommitOperationAdd(sys.argv[1], data)], commit_message='x')\n"
        )
        names = [f"{number}.bin" for number in range(3)]
        processes = [client_process(hub, script, tmp_path, name, xet=True) for name in names]
        assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
        for name in names:
            data = hashlib.sha512(name.encode()).digest() * 20_000
            assert download(api, name, tmp_path / "cache") == data

    def test_repetitive(self, api: HfApi, tmp_path: Path) -> None:
        """A file that is made of the same few chunks again and again comes back whole."""
        data = (LARGE[:64] * 30_000 + LARGE[:300_000]) * 3
        commit(api, {"model.bin": data})
        assert download(api, "model.bin", tmp_path / "cache") == data

    def test_upload_mode(self, api: HfApi) -> None:
        """By .gitattributes, size or content a file is an LFS file; all others are ordinary ones."""
        files = {
            "a.safetensors": b"tiny",
            "a-Q4_K_M.gguf": b"tiny",
            "binary": b"\0\1\2",
            "latin1.txt": "é".encode("latin-1") * 9,
            "large.txt": b"x" * 10_000_000,
            "cut.txt": b"x" * 511 + "é".encode(),
            "config.json": b"{}",
            "empty.bin": b"",
        }
        commit(api, files)
        infos = api.get_paths_info(REPO, list(files))
        assert {info.path for info in infos if info.lfs} == {
            *("a.safetensors", "a-Q4_K_M.gguf", "binary", "latin1.txt", "large.txt")
        }

    def test_gitignore(self, api: HfApi) -> None:
        """What the repository's .gitignore names is left out of later commits."""
        commit(api, {".gitignore": b"*.log\n"})
        commit(api, {"a.log": b"log", "a.txt": b"text"})
        assert set(api.list_repo_files(REPO)) == {".gitattributes", ".gitignore", "a.txt"}

    def test_upload_folder(self, api: HfApi, tmp_path: Path) -> None:
        """`upload_folder` works, too, and a second run of it commits nothing."""
        (tmp_path / "folder" / "sub").mkdir(parents=True)
        (tmp_path / "folder" / "sub" / "a.bin").write_bytes(LARGE[:1000])
        (tmp_path / "folder" / "b.txt").write_text("b")
        api.upload_folder(repo_id=REPO, folder_path=tmp_path / "folder")
        head = api.model_info(REPO).sha
        api.upload_folder(repo_id=REPO, folder_path=tmp_path / "folder")
        assert api.model_info(REPO).sha == head
        assert set(api.list_repo_files(REPO)) == {".gitattributes", "b.txt", "sub/a.bin"}


class TestCommits:
    def test_parent_commit(self, api: HfApi) -> None:
        """A commit whose parent is no longer the head is refused, and changes nothing."""
        old = api.model_info(REPO).sha
        head = commit(api, {"a.txt": b"a"})
        with pytest.raises(HfHubHTTPError, match="412"):
            commit(api, {"b.txt": b"b"}, parent_commit=old)
        assert api.model_info(REPO).sha == head

    def test_one_of_two_wins(self, api: HfApi) -> None:
        """Of commits that name the same parent at the same time, exactly one is made."""
        parent = api.model_info(REPO).sha

        def attempt(number: int) -> bool:
            try:
                commit(api, {f"{number}.txt": b"x"}, parent_commit=parent)
            except HfHubHTTPError as error:
                assert error.response.status_code == 412
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(attempt, range(6))) == 1
        assert len(api.list_repo_files(REPO)) == 2

    def test_no_lost_update(self, api: HfApi) -> None:
        """Commits without a parent, made at the same time, all end up in the branch."""
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda number: commit(api, {f"{number}.txt": b"x"}), range(12)))
        assert len(api.list_repo_files(REPO)) == 13
        assert len(api.list_repo_commits(REPO)) == 13

    def test_stale_files(self, api: HfApi) -> None:
        """Files and folders are deleted in the commit that adds their successors."""
        commit(api, {"old.bin": b"old", "keep.txt": b"k", "sub/a.txt": b"a", "sub/deep/b.txt": b"b"})
        before = len(api.list_repo_commits(REPO))
        operations = [
            CommitOperationAdd("new.bin", b"new"),
            CommitOperationDelete("old.bin"),
            CommitOperationDelete("sub/"),
        ]
        api.create_commit(REPO, operations, commit_message="replace")
        assert set(api.list_repo_files(REPO)) == {".gitattributes", "keep.txt", "new.bin"}
        assert len(api.list_repo_commits(REPO)) == before + 1

    def test_deleting_nothing(self, api: HfApi) -> None:
        """Deleting what isn't there is an error, and nothing else of that commit happens."""
        operations = [CommitOperationAdd("a.txt", b"a"), CommitOperationDelete("missing.txt")]
        with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
            api.create_commit(REPO, operations, commit_message="x")
        assert api.list_repo_files(REPO) == [".gitattributes"]

    def test_rollback(self, api: HfApi, tmp_path: Path) -> None:
        """Copies from a tag bring back large and ordinary files without uploading them again."""
        commit(api, {"model.bin": LARGE[:100_000], "config.json": b"{1}"})
        api.create_tag(REPO, tag="v1")
        commit(api, {"model.bin": LARGE[:90_000], "config.json": b"{2}", "extra.txt": b"x"})
        operations = [
            CommitOperationCopy("model.bin", "model.bin", src_revision="v1"),
            CommitOperationCopy("config.json", "config.json", src_revision="v1"),
            CommitOperationDelete("extra.txt"),
        ]
        api.create_commit(REPO, operations, commit_message="roll back")
        assert download(api, "model.bin", tmp_path / "cache") == LARGE[:100_000]
        assert download(api, "config.json", tmp_path / "cache") == b"{1}"
        trees = [list(api.list_repo_tree(REPO, recursive=True, revision=r)) for r in ("v1", "main")]
        assert trees[0] == trees[1]

    def test_copy_from_another_repository(self, api: HfApi) -> None:
        """A large file can be copied between repositories of the Hub."""
        commit(api, {"model.bin": LARGE[:1000]})
        api.create_repo("acme/copy")
        copy = CommitOperationCopy("model.bin", "model.bin", src_repo_id=REPO, src_repo_type="model")
        api.create_commit("acme/copy", [copy], commit_message="copy")
        assert api.file_exists("acme/copy", "model.bin")

    def test_unchanged(self, api: HfApi, hub: EmbeddedHub) -> None:
        """The client leaves out what has not changed; a commit that it sends is made, even an empty one."""
        head = commit(api, {"a.txt": b"a", "a.bin": LARGE[:1000]})
        assert commit(api, {"a.txt": b"a", "a.bin": LARGE[:1000]}) == head
        body = b'{"key": "header", "value": {"summary": "empty"}}\n'
        status, _, answer = request(hub, "POST", f"/api/models/{REPO}/commit/main", body=body)
        assert status == 200
        assert json.loads(answer)["commitOid"] != head

    def test_missing_blob(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A commit that names an LFS file that was never uploaded is refused, and so is a wrong size."""
        commit(api, {"a.bin": b"abc"})
        known, unknown = hashlib.sha256(b"abc").hexdigest(), hashlib.sha256(b"never").hexdigest()
        for oid, size, words in ((unknown, 5, "never uploaded"), (known, 4, "has 3 bytes")):
            value = {"path": "b.bin", "algo": "sha256", "oid": oid, "size": size}
            lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": value}]
            body = "\n".join(map(json.dumps, lines)).encode()
            status, headers, _ = request(hub, "POST", f"/api/models/{REPO}/commit/main", body=body)
            assert status == 400
            assert words in headers["x-error-message"]
        assert not api.file_exists(REPO, "b.bin")

    def test_bad_paths(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A path that could leave a clone's folder, or reach into its .git, is refused."""
        bad = (*("../up", "/abs", "a/../b", "a//b", ".git/config", "a/.GIT/hooks/x", "a\\b", "a\nb", ".", ""),)
        for path in bad:
            for key in ("file", "deletedFile", "deletedFolder"):
                value = {"path": path, "content": "", "encoding": "base64"}
                lines = [{"key": "header", "value": {"summary": "x"}}, {"key": key, "value": value}]
                body = "\n".join(map(json.dumps, lines)).encode()
                assert request(hub, "POST", f"/api/models/{REPO}/commit/main", body=body)[0] == 422, path
        assert len(api.list_repo_commits(REPO)) == 1

    def test_malformed(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A commit that is no list of operations is a bad request."""
        for body in (b"not json", b"[1]", b'{"key": "file", "value": 3}', b'{"key": "x", "value": {}}', b""):
            assert request(hub, "POST", f"/api/models/{REPO}/commit/main", body=body)[0] == 400, body

    def test_git_clone(self, api: HfApi, tmp_path: Path) -> None:
        """The bare repository is an ordinary LFS repository, whatever the user's git is set to."""
        commit(api, {"weights-Q8_0.gguf": LARGE[:5000], "sub/a b.dat": b"\0\1", "config.json": b"{}"})
        git("clone", "--quiet", str(tmp_path / "hub" / "repos" / f"{REPO}.git"), "clone", folder=tmp_path)
        clone = tmp_path / "clone"
        assert (clone / "weights-Q8_0.gguf").read_text() == (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{hashlib.sha256(LARGE[:5000]).hexdigest()}\nsize 5000\n"
        )
        paths = ["weights-Q8_0.gguf", "sub/a b.dat", "config.json", "sub/weights-Q8_0.gguf"]
        attributes = git("check-attr", "filter", "--", *paths, folder=clone).splitlines()
        assert [line.endswith(": lfs") for line in attributes] == [True, True, False, False]
        assert git("log", "-1", "--format=%an <%ae>", folder=clone) == "acme <hub@localhost>\n"
        git("fsck", "--strict", folder=clone)

    def test_card(self, api: HfApi) -> None:
        """A card that the Hub would refuse is refused before the commit; one without metadata warns."""
        for card, words in ((b"---\n[\n---\n", "YAML"), (b"---\nbase_model: ./runs/7\n---\n", "base_model")):
            with pytest.raises(ValueError, match=words):
                commit(api, {"README.md": card})
        with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
            commit(api, {"README.md": b"# Model\n"})
        commit(api, {"README.md": CARD})


class TestReading:
    def test_model_info(self, api: HfApi) -> None:
        """A model's information has its files, their sizes and hashes, and the card's metadata."""
        head = commit(api, {"README.md": CARD, "model.safetensors": LARGE[:9000]})
        info = api.model_info(REPO, files_metadata=True)
        assert (info.id, info.sha, info.author, info.library_name) == (REPO, head, "acme", "peft")
        assert info.card_data is not None
        assert info.card_data.base_model == "acme/base"
        assert info.tags is not None
        assert {"peft", "safetensors", "avro", "license:mit", "base_model:acme/base"} <= set(info.tags)
        assert info.created_at is not None
        assert info.last_modified is not None
        assert info.created_at <= info.last_modified
        files = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        assert (files["README.md"].size, files["README.md"].lfs) == (len(CARD), None)
        large = files["model.safetensors"].lfs
        assert large is not None
        assert (large.size, large.sha256) == (9000, hashlib.sha256(LARGE[:9000]).hexdigest())

    def test_tree(self, api: HfApi) -> None:
        """A folder is listed alone or with everything below it, and with the last commits if asked."""
        commit(api, {"a.txt": b"1", "sub/b.txt": b"22", "sub/deep/c.txt": b"333"})
        assert [e.path for e in api.list_repo_tree(REPO)] == [".gitattributes", "a.txt", "sub"]
        assert [e.path for e in api.list_repo_tree(REPO, "sub")] == ["sub/b.txt", "sub/deep"]
        assert [e.path for e in api.list_repo_tree(REPO, "sub", recursive=True)] == [
            *("sub/b.txt", "sub/deep", "sub/deep/c.txt")
        ]
        api.create_commit(REPO, [CommitOperationAdd("a.txt", b"2")], commit_message="only a")
        entries = list(api.list_repo_tree(REPO, expand=True))
        titles = {entry.path: entry.last_commit and entry.last_commit.title for entry in entries}
        assert titles == {".gitattributes": "initial commit", "a.txt": "only a", "sub": "files"}
        with pytest.raises(EntryNotFoundError):
            list(api.list_repo_tree(REPO, "missing"))

    def test_paths_info(self, api: HfApi) -> None:
        """Those paths that exist are described, files and folders alike."""
        commit(api, {"sub/a b.txt": b"1", "c&d=.txt": b"2", "*[ü].txt": b"3"})
        there = ["sub", "sub/a b.txt", "c&d=.txt", "*[ü].txt"]
        found = api.get_paths_info(REPO, [*there, "missing", "sub/missing", "*"], expand=True)
        assert [entry.path for entry in found] == there
        assert [entry.last_commit and entry.last_commit.title for entry in found] == ["files"] * 4

    def test_commits(self, api: HfApi) -> None:
        """The history has titles and descriptions, the newest first."""
        commit(api, {"a.txt": b"a"}, commit_description="first line\n\nlast line")
        newest, oldest = api.list_repo_commits(REPO)
        assert (newest.title, newest.message) == ("files", "first line\n\nlast line")
        assert (oldest.title, oldest.authors) == ("initial commit", ["acme"])

    def test_snapshot(self, api: HfApi, tmp_path: Path) -> None:
        """A whole repository is downloaded at a tag, from a client that knows nothing yet."""
        files = {"model.bin": LARGE, "sub/tok.model": LARGE[:10], "config.json": b"{}"}
        commit(api, files)
        api.create_tag(REPO, tag="v1")
        commit(api, {"config.json": b"later"})
        folder = Path(api.snapshot_download(REPO, revision="v1", cache_dir=tmp_path / "cache"))
        assert {path: (folder / path).read_bytes() for path in files} == files

    def test_safetensors_metadata(self, api: HfApi, hub: EmbeddedHub) -> None:
        """The client can read a safetensors header by a range request."""
        header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
        commit(api, {"model.safetensors": len(header).to_bytes(8, "little") + header + bytes(8)})
        assert api.get_safetensors_metadata(REPO).parameter_count == {"F32": 2}

    def test_not_found(self, api: HfApi, tmp_path: Path) -> None:
        """A missing repository, revision or file is each the client's own exception."""
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("acme/missing")
        with pytest.raises(RepositoryNotFoundError):
            commit(api, {"a.txt": b"a"}, repo="acme/missing")
        with pytest.raises(RevisionNotFoundError):
            api.model_info(REPO, revision="missing")
        with pytest.raises(RevisionNotFoundError):
            commit(api, {"a.txt": b"a"}, revision="missing")
        with pytest.raises(EntryNotFoundError):
            download(api, "missing.txt", tmp_path / "cache")
        for revision in ("main^", "main~1", "-h", "main:README.md", "../main", "HEAD@{0}"):
            assert not api.revision_exists(REPO, revision)

    def test_page(self, api: HfApi, hub: EmbeddedHub) -> None:
        """The address of a repository opens in a browser, and runs nothing that is in it."""
        commit(api, {"README.md": CARD + b"<script>alert(1)</script>", "<i>.txt": b"x"})
        status, headers, body = request(hub, "GET", f"/{REPO}")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"&lt;script&gt;" in body
        assert b"<script>" not in body
        assert b"<i>" not in body
        assert b"&lt;i&gt;.txt" in body
        assert request(hub, "GET", f"/{REPO}/commit/{api.model_info(REPO).sha}")[0] == 200

    def test_path_tricks(self, api: HfApi, hub: EmbeddedHub) -> None:
        """No spelling of `..` leads out of a repository or out of the folder of repositories."""
        for path in (
            f"/{REPO}/resolve/main/../../../secret",
            f"/{REPO}/resolve/main/%2e%2e/%2e%2e/secret",
            f"/{REPO}/resolve/main/..%2f..%2fsecret",
            f"/{REPO}/resolve/..%2f..%2fsecret/x",
            f"/api/models/{REPO}/tree/main/..%2f..",
            "/api/models/..%2f../model",
            "/api/models/acme/..%2fmodel",
            "/%2e%2e/%2e%2e",
            "/lfs/objects/..%2f..%2fsecret",
        ):
            assert request(hub, "GET", path)[0] in (400, 403, 404), path


class TestRefs:
    def test_tags(self, api: HfApi) -> None:
        """A tag is made once and never moved, annotated or not, and can be deleted."""
        head = commit(api, {"a.txt": b"a"})
        api.create_tag(REPO, tag="v1.0.0", tag_message="First\nrelease")
        api.create_tag(REPO, tag="avro/v2")
        commit(api, {"a.txt": b"b"})
        with pytest.raises(HfHubHTTPError, match="409"):
            api.create_tag(REPO, tag="v1.0.0")
        api.create_tag(REPO, tag="v1.0.0", exist_ok=True)
        assert {ref.name: ref.target_commit for ref in api.list_repo_refs(REPO).tags} == {
            "v1.0.0": head,
            "avro/v2": head,
        }
        assert api.model_info(REPO, revision="avro/v2").sha == head
        api.delete_tag(REPO, tag="avro/v2")
        with pytest.raises(RevisionNotFoundError):
            api.delete_tag(REPO, tag="avro/v2")
        for name in ("a..b", "-a", "a b", "a.lock", "@", "a~1"):
            with pytest.raises(BadRequestError):
                api.create_tag(REPO, tag=name)

    def test_branches(self, api: HfApi, tmp_path: Path) -> None:
        """A branch with a slash in its name takes commits of its own, and its files can be read."""
        api.create_branch(REPO, branch="feature/x")
        with pytest.raises(HfHubHTTPError, match="409"):
            api.create_branch(REPO, branch="feature/x")
        head = commit(api, {"sub/a.txt": b"a"}, revision="feature/x")
        assert {ref.name for ref in api.list_repo_refs(REPO).branches} == {"main", "feature/x"}
        assert download(api, "sub/a.txt", tmp_path / "cache", revision="feature/x") == b"a"
        assert download(api, "sub/a.txt", tmp_path / "cache", revision=head) == b"a"
        assert not api.file_exists(REPO, "sub/a.txt")
        api.delete_branch(REPO, branch="feature/x")
        with pytest.raises(HfHubHTTPError, match="403"):
            api.delete_branch(REPO, branch="main")


class TestAccess:
    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[EmbeddedHub]:
        tokens = {"hf_reader": Role.READ, "hf_writer": Role.WRITE}
        with EmbeddedHub(root=tmp_path / "hub", tokens=tokens) as running:
            yield running

    def test_whoami(self, api: HfApi, guarded: EmbeddedHub) -> None:
        """`whoami` tells the user and what the token allows; without tokens everybody may write."""
        assert api.whoami()["auth"]["accessToken"]["role"] == "write"
        reader = HfApi(endpoint=guarded.url, token="hf_reader").whoami()
        assert (reader["name"], reader["auth"]["accessToken"]["role"]) == ("acme", "read")
        with pytest.raises(HfHubHTTPError, match="Invalid user token"):
            HfApi(endpoint=guarded.url, token="hf_unknown").whoami()

    @pytest.mark.parametrize(("token", "status"), [("hf_reader", 403), ("hf_unknown", 401), (False, 401)])
    def test_writing(self, guarded: EmbeddedHub, token: str | bool, status: int) -> None:
        """Every way to change something needs a token that writes."""
        HfApi(endpoint=guarded.url, token="hf_writer").create_repo(REPO)
        api = HfApi(endpoint=guarded.url, token=token)
        changes: list[Callable[[], object]] = [
            lambda: api.create_repo("acme/other"),
            lambda: api.delete_repo(REPO),
            lambda: api.move_repo(REPO, "acme/other"),
            lambda: api.update_repo_settings(REPO, private=True),
            lambda: commit(api, {"a.txt": b"a"}),
            lambda: commit(api, {"a.bin": b"a"}),
            lambda: api.create_tag(REPO, tag="v1"),
            lambda: api.delete_tag(REPO, tag="v1"),
            lambda: api.create_branch(REPO, branch="b"),
            lambda: api.delete_branch(REPO, branch="b"),
            lambda: api.auth_check(REPO, write=True),
        ]
        for change in changes:
            with pytest.raises(HfHubHTTPError) as refused:
                change()
            assert refused.value.response.status_code == status
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for method, path in (
            ("GET", f"/api/models/{REPO}/xet-write-token/main"),
            ("POST", f"/api/models/{REPO}/commit/main"),
        ):
            assert request(guarded, method, path, headers=headers)[0] == status

    def test_reading(self, guarded: EmbeddedHub, tmp_path: Path) -> None:
        """Public repositories are for all; a private one exists for known tokens only."""
        writer = HfApi(endpoint=guarded.url, token="hf_writer")
        writer.create_repo(REPO)
        commit(writer, {"a.bin": LARGE[:1000], "a.txt": b"a"})
        anyone = HfApi(endpoint=guarded.url, token=False)
        assert download(anyone, "a.bin", tmp_path / "one") == LARGE[:1000]
        writer.update_repo_settings(REPO, private=True)
        with pytest.raises(RepositoryNotFoundError):
            anyone.model_info(REPO)
        assert list(anyone.list_models()) == []
        reader = HfApi(endpoint=guarded.url, token="hf_reader")
        assert download(reader, "a.bin", tmp_path / "two") == LARGE[:1000]

    def test_signed_addresses(self, guarded: EmbeddedHub) -> None:
        """An LFS or Xet address works only with the permission that the Hub put into it."""
        sha256 = hashlib.sha256(b"x").hexdigest()
        for grant in ("", "?grant=", "?grant=9999999999.00", "?grant=x"):
            assert request(guarded, "PUT", f"/lfs/objects/{sha256}{grant}", body=b"x")[0] == 403
        HfApi(endpoint=guarded.url, token="hf_writer").create_repo(REPO)
        _, headers, _ = request(guarded, "GET", f"/api/models/{REPO}/xet-read-token/main")
        path = urlsplit(headers["x-xet-cas-url"]).path
        bearer = {"Authorization": f"Bearer {headers['x-xet-access-token']}"}
        assert request(guarded, "POST", f"{path}/v1/shards", body=b"", headers=bearer)[0] == 401
        assert request(guarded, "GET", f"{path}/v1/reconstructions/{sha256}", headers=bearer)[0] == 404
        assert request(guarded, "GET", f"{path}/v1/reconstructions/{sha256}")[0] == 401

    def test_web_pages(self, hub: EmbeddedHub) -> None:
        """A page in the user's browser can neither write nor come in under another host's name."""
        body = json.dumps({"name": "m", "organization": "acme"}).encode()
        origin = {"Origin": "https://example.com"}
        assert request(hub, "POST", "/api/repos/create", body=body, headers=origin)[0] == 403
        assert request(hub, "GET", "/api/models", headers={"Host": "example.com"})[0] == 403
        assert request(hub, "GET", "/api/models")[0] == 200


@pytest.mark.slow
class TestServer:
    def test_restart(self, tmp_path: Path) -> None:
        """Another server on the same folder has everything that the first one had."""
        with EmbeddedHub(root=tmp_path / "hub") as first:
            api = HfApi(endpoint=first.url, token="anything")
            api.create_repo(REPO)
            head = commit(api, {"model.bin": LARGE, "a.txt": b"a"})
        with EmbeddedHub(root=tmp_path / "hub") as second:
            api = HfApi(endpoint=second.url, token="anything")
            assert api.model_info(REPO).sha == head
            assert download(api, "model.bin", tmp_path / "cache") == LARGE
        assert list((tmp_path / "hub" / "tmp").iterdir()) == []

    def test_sweeps(self, tmp_path: Path) -> None:
        """What a killed server left unfinished is removed when it is a day old."""
        scratch = tmp_path / "hub" / "tmp"
        for name in ("old", "young"):
            (scratch / name).mkdir(parents=True)
            (scratch / f"{name}.part").write_bytes(b"x")
        for path in (scratch / "old", scratch / "old.part"):
            os.utime(path, (0, 0))
        with EmbeddedHub(root=tmp_path / "hub"):
            assert {path.name for path in scratch.iterdir()} == {"young", "young.part"}

    def test_same_port_another_root(self, tmp_path: Path) -> None:
        """A client that remembers which chunks a Hub has is not misled by another Hub on that port."""
        (tmp_path / "weights").write_bytes(LARGE)
        script = (
            "api.create_repo(REPO)\n"
            "api.create_commit(REPO, [CommitOperationAdd('a.bin', 'weights')], commit_message='x')\n"
        )
        port = 0
        for root in ("one", "two"):
            with EmbeddedHub(root=tmp_path / root, port=port) as hub:
                port = urlsplit(hub.url).port or 0
                run_client(hub, script, tmp_path, xet=True)

    def test_two_servers(self, tmp_path: Path) -> None:
        """Two servers on one folder see each other's commits at once."""
        root = tmp_path / "hub"
        with EmbeddedHub(root=root) as one, EmbeddedHub(root=root) as two:
            writer, reader = (HfApi(endpoint=hub.url, token="anything") for hub in (one, two))
            writer.create_repo(REPO)
            commit(writer, {"model.bin": LARGE[:90_000]})
            assert download(reader, "model.bin", tmp_path / "cache") == LARGE[:90_000]
            commit(reader, {"b.txt": b"b"})
            assert writer.file_exists(REPO, "b.txt")

    def test_stops(self, tmp_path: Path) -> None:
        """After the block there is no thread, and the port is free again."""
        before = set(threading.enumerate())
        with EmbeddedHub(root=tmp_path / "hub") as hub:
            assert request(hub, "GET", "/api/models")[0] == 200
            port = urlsplit(hub.url).port
        # Python's own threads of the event loop's pool end a moment after the loop.
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=5)
        assert set(threading.enumerate()) <= before
        assert port is not None
        with EmbeddedHub(root=tmp_path / "hub", port=port) as again:
            assert again.url.endswith(f":{port}")
            with (
                pytest.raises(ReleaseError, match="cannot listen"),
                EmbeddedHub(root=tmp_path / "hub", port=port),
            ):
                pass

    def test_loopback_only(self, tmp_path: Path) -> None:
        """The Hub refuses to be reachable from other machines."""
        with (
            pytest.raises(UsageError, match="loopback only"),
            EmbeddedHub(root=tmp_path / "hub", host="0.0.0.0"),
        ):
            pass

    def test_ignores_git_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Inside a git hook, whose variables point at another repository, the Hub uses its own."""
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere" / "index"))
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".gitconfig").write_text("[user]\n\tname = Somebody\n[core]\n\tautocrlf = true\n")
        with EmbeddedHub(root=tmp_path / "hub") as hub:
            api = HfApi(endpoint=hub.url, token="anything")
            api.create_repo(REPO)
            commit(api, {"a.txt": b"a\r\n"})
            assert download(api, "a.txt", tmp_path / "cache") == b"a\r\n"
        assert not (tmp_path / "elsewhere").exists()


class TestXetFormats:
    def test_reconstruction_covers_any_range(self, api: HfApi, tmp_path: Path) -> None:
        """The chunks named for a range contain all of it, and begin at most one chunk before it."""
        commit(api, {"model.bin": LARGE})
        store = XetStore(folder=tmp_path / "hub" / "xet", scratch=tmp_path / "hub" / "tmp")
        known = store.by_sha256(hashlib.sha256(LARGE).hexdigest())
        assert known is not None
        record = store.record(known[0])
        assert record is not None
        assert record.size == len(LARGE)
        for start, end in ((0, len(LARGE)), (0, 1), (1, 2), (131_072, 131_073), (4_000_001, 4_799_999)):
            found = terms(store, record, start, end)
            covered = sum(chunk.length for term in found for chunk in term.chunks)
            assert found[0].start <= start < found[0].start + found[0].chunks[0].length
            assert found[0].start + covered >= end
            assert found[0].start + covered - found[-1].chunks[-1].length < end

    def test_malformed_shard(self, tmp_path: Path) -> None:
        """What is no shard, or ends too early, is refused."""
        tag = b"HFRepoMetaData\0UigEj{\x81W\x83\xa5\xbd\xd9\\\xcd\xd1J\xa9"
        for data in (b"", b"x" * 100, tag + bytes(16) + b"\1" * 60):
            with pytest.raises(XetError):
                parse_shard(data)

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (None, None),
            ("bytes=0-0", (0, 1)),
            ("bytes=5-", (5, 10)),
            ("bytes=-3", (7, 10)),
            ("bytes=-30", (0, 10)),
            ("bytes=2-99", (2, 10)),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
        ],
    )
    def test_byte_range(self, header: str | None, expected: tuple[int, int] | None) -> None:
        """A Range header names a first and a last byte; the answer's end is exclusive."""
        assert byte_range(header, 10) == expected
