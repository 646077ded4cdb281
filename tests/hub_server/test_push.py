"""`git push` and git-lfs against the embedded Hub, by the real programs."""

import hashlib
import http.client
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import BadRequestError
from tagship.hub_server.app import EmbeddedHub, Role

REPO = "acme/model"
GOOD_CARD = "---\nlicense: mit\n---\n# Model\n"
BAD_CARD = "---\nlicense: no-such-license\n---\n"
SECRET = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"

pytestmark = pytest.mark.usefixtures("quiet_client")
needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")


class Clone:
    """A working copy and the user's own git, deaf to the configuration of the machine."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "A"}
        self.environment |= names | {"GIT_COMMITTER_EMAIL": "a@b.c", "GIT_TERMINAL_PROMPT": "0", "HOME": str(home)}
        self.environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Git's output, and what it says of failures."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        text = done.stdout.decode()
        assert (done.returncode != 0) == fails, text
        return text

    def commit(self, files: dict[str, bytes | str], message: str = "files") -> str:
        """A commit that adds these files."""
        for path, data in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.encode() if isinstance(data, str) else data)
        self.run("add", "--all")
        self.run("commit", "--quiet", "--allow-empty", "-m", message)
        return self.run("rev-parse", "HEAD").strip()

    def commit_as_stored(self, path: str, data: bytes, *, mode: str = "100644") -> str:
        """The same past git-lfs's filters and git's own checks of names."""
        blob = subprocess.run(
            ["git", "hash-object", "-w", "--stdin", "--literally"],
            cwd=self.folder,
            input=data,
            capture_output=True,
            check=True,
        ).stdout.decode()
        tree = self.run("ls-tree", "HEAD") + f"{mode} blob {blob.strip()}\t{path}\n"
        made = subprocess.run(
            ["git", "mktree"], cwd=self.folder, input=tree.encode(), capture_output=True, check=True
        ).stdout.decode()
        return self.run("commit-tree", made.strip(), "-p", "HEAD", "-m", "as stored").strip()


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="anything")
    api.create_repo(REPO)
    return api


@pytest.fixture
def clone(api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> Clone:
    return cloned(f"{hub.url}/{REPO}", tmp_path, "clone")


def cloned(url: str, tmp_path: Path, name: str, *options: str) -> Clone:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    Clone(tmp_path, home).run("clone", "--quiet", *options, url, name)
    return Clone(tmp_path / name, home)


def push_raw(clone: Clone, commit: str, *, fails: bool = True) -> str:
    return clone.run("push", "origin", f"{commit}:refs/heads/main", fails=fails)


class TestPush:
    def test_files(self, clone: Clone, api: HfApi, tmp_path: Path) -> None:
        """What was pushed is what the API then tells: commits, files, tags, branches."""
        clone.commit({"README.md": GOOD_CARD, "sub/ü b.txt": "text"}, "first")
        head = clone.commit({"config.json": "{}"}, "second")
        clone.run("tag", "v1")
        clone.run("tag", "-a", "v2", "-m", "annotated")
        clone.run("push", "--quiet", "origin", "main", "main:refs/heads/feature/x", "v1", "v2")
        info = api.model_info(REPO)
        assert (info.sha, "license:mit" in (info.tags or [])) == (head, True)
        assert [commit.title for commit in api.list_repo_commits(REPO)] == ["second", "first", "initial commit"]
        path = api.hf_hub_download(REPO, "sub/ü b.txt", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == b"text"
        refs = api.list_repo_refs(REPO)
        assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": head, "v2": head}
        assert {ref.name for ref in refs.branches} == {"main", "feature/x"}
        assert next(iter(api.list_models(full=True))).sha == head

    def test_after_a_commit_by_api(self, clone: Clone, api: HfApi) -> None:
        """A push onto a branch that has moved is refused by git until the user has fetched."""
        api.create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="by API")
        clone.commit({"b.txt": "b"})
        assert "rejected" in clone.run("push", "origin", "main", fails=True)
        clone.run("pull", "--quiet", "--rebase")
        clone.run("push", "--quiet", "origin", "main")
        assert set(api.list_repo_files(REPO)) == {".gitattributes", "a.txt", "b.txt"}

    def test_forced(self, clone: Clone, api: HfApi) -> None:
        """A branch can be rewritten by force, a tag cannot; branches but main and tags can be deleted."""
        clone.commit({"a.txt": "a"})
        clone.run("push", "--quiet", "origin", "main", "main:other", "main:refs/tags/v1")
        clone.run("commit", "--quiet", "--amend", "-m", "again")
        clone.run("push", "--quiet", "--force", "origin", "main")
        assert [commit.title for commit in api.list_repo_commits(REPO)] == ["again", "initial commit"]
        refused = clone.run("push", "--force", "origin", "main:refs/tags/v1", fails=True)
        assert "remote: refs/tags/v1: a tag does not move" in refused
        clone.run("push", "--quiet", "origin", "--delete", "other", "v1")
        assert "cannot be deleted" in clone.run("push", "origin", "--delete", "main", fails=True)
        refs = api.list_repo_refs(REPO)
        assert ([ref.name for ref in refs.branches], refs.tags) == (["main"], [])

    def test_bad_refs(self, clone: Clone) -> None:
        """Refs that the Hub has no use for are refused in words."""
        clone.commit({"a.txt": "a"})
        for ref in ("refs/notes/commits", "refs/pr/1", "refs/heads/refs/x"):
            assert "the Hub takes branches and tags" in clone.run("push", "origin", f"HEAD:{ref}", fails=True)
        blob = clone.run("rev-parse", "HEAD:a.txt").strip()
        assert "it does not lead to a commit" in clone.run("push", "origin", f"{blob}:refs/tags/b", fails=True)

    def test_all_or_nothing(self, clone: Clone, api: HfApi, tmp_path: Path) -> None:
        """If one ref is refused, none is moved, and nothing is left of the push."""
        objects = tmp_path / "hub" / "repos" / f"{REPO}.git" / "objects"
        before = {path for path in objects.rglob("*") if path.is_file()}
        clone.commit({"README.md": BAD_CARD})
        said = clone.run("push", "origin", "main", "main:fine", fails=True)
        assert "remote: README.md: has metadata that the Hub does not take" in said
        assert len(api.list_repo_refs(REPO).branches) == 1
        assert {path for path in objects.rglob("*") if path.is_file()} == before
        assert list((tmp_path / "hub" / "tmp").iterdir()) == []

    @pytest.mark.parametrize(
        ("path", "data", "words"),
        [
            (
                "big.txt",
                b"x" * ((10 << 20) + 1),
                "big.txt: has 10,485,761 bytes, and 10,485,760 are allowed without LFS",
            ),
            ("weights.dat", b"\0\1\2", "weights.dat: is binary: track it with git-lfs"),
            ("README.md", BAD_CARD.encode(), "no-such-license"),
            ("notes.txt", f"a\nb {SECRET}\n".encode(), "what looks like a secret (hf_a…) in line 2"),
            ("a\nb.txt", b"x", "'a\\nb.txt': Invalid path"),
        ],
    )
    def test_refused_files(self, clone: Clone, api: HfApi, path: str, data: bytes, words: str) -> None:
        """What a commit by the API would refuse, a push refuses too, and git prints why."""
        clone.commit({path: data})
        clone.commit({"later.txt": "the file is in the commit before"})
        said = clone.run("push", "origin", "main", fails=True)
        assert words in said
        assert "Traceback" not in said
        assert api.list_repo_files(REPO) == [".gitattributes"]

    def test_same_by_api(self, api: HfApi) -> None:
        """A commit by the API is asked the same: how large a plain file is, and whether there is a secret in it."""
        for path, data, words in (
            ("big.txt", b"x" * ((10 << 20) + 1), "10,485,760 are allowed without LFS"),
            ("notes.txt", f"a\nb {SECRET}\n".encode(), "secret"),
        ):
            with pytest.raises(BadRequestError, match=words):
                api.create_commit(REPO, [as_plain(path, data)], commit_message="x")
        assert api.list_repo_files(REPO) == [".gitattributes"]

    def test_old_file_under_a_bad_name(self, clone: Clone) -> None:
        """A name is looked at also where the file's content is known already."""
        head = clone.commit({"a.txt": "a"})
        clone.run("push", "--quiet", "origin", "main")
        assert head
        raw = clone.commit_as_stored(".git\u200c", b"a")
        assert "Invalid path" in push_raw(clone, raw) or "hasDotgit" in push_raw(clone, raw)

    @pytest.mark.parametrize(("mode", "words"), [("120000", "a symbolic link"), ("100644", "")])
    def test_modes(self, clone: Clone, mode: str, words: str) -> None:
        """Links are refused, as nobody would know whether they stay in the repository."""
        raw = clone.commit_as_stored("link", b"../../etc/passwd", mode=mode)
        assert words in push_raw(clone, raw, fails=bool(words))

    def test_pointer_without_file(self, clone: Clone, api: HfApi) -> None:
        """A pointer to a large file that the Hub does not have is refused, and so is a wrong size."""
        api.create_commit(REPO, [CommitOperationAdd("there.bin", b"\0there")], commit_message="x")
        clone.run("pull", "--quiet")
        for data, size, words in ((b"never", 5, "was never uploaded"), (b"\0there", 7, "has 6 bytes, not 7")):
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(data).hexdigest()}\n"
            raw = clone.commit_as_stored("x.bin", f"{pointer}size {size}\n".encode())
            assert words in push_raw(clone, raw)

    def test_shallow(self, clone: Clone, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """A clone without its history can push what it has added."""
        clone.commit({"a.txt": "a"})
        clone.run("push", "--quiet", "origin", "main")
        shallow = cloned(f"{hub.url}/{REPO}", tmp_path, "shallow", "--depth=1")
        head = shallow.commit({"b.txt": "b"})
        shallow.run("push", "--quiet", "origin", "main")
        assert api.model_info(REPO).sha == head

    def test_large_push(self, clone: Clone, api: HfApi) -> None:
        """A push that git sends in pieces, after asking whether it may, arrives whole."""
        files: dict[str, bytes | str] = {f"{n}.txt": os.urandom(500_000).hex() for n in range(4)}
        head = clone.commit(files)
        clone.run("push", "--quiet", "origin", "main")
        assert api.model_info(REPO).sha == head

    def test_not_a_push(self, api: HfApi, hub: EmbeddedHub) -> None:
        """What git does not send is a bad request, or a report of what is wrong; no bytes are a crash."""
        address = urlsplit(hub.url)
        line = f"{'0' * 40} {'1' * 40} refs/heads/x\0 report-status\n".encode()
        command = f"{len(line) + 4:04x}".encode() + line
        for body, expected in (
            (b"0000", 200),
            (b"nonsense", 400),
            (b"0003", 400),
            (b"00zz", 400),
            (b"ffff", 400),
            (command, 400),
            (command + b"0000", 200),
            (command + b"0000PACKnonsense", 200),
        ):
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
            connection.request("POST", f"/{REPO}.git/git-receive-pack", body=body)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == expected, body
            assert b"ok refs" not in answer
            connection.close()
        assert [ref.name for ref in api.list_repo_refs(REPO).branches] == ["main"]


def as_plain(path: str, data: bytes) -> CommitOperationAdd:
    operation = CommitOperationAdd(path, data)
    operation._upload_mode = "regular"
    return operation


class TestAccess:
    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[EmbeddedHub]:
        tokens = {"hf_reader": Role.READ, "hf_writer": Role.WRITE}
        with EmbeddedHub(root=tmp_path / "hub", tokens=tokens) as running:
            yield running

    @pytest.fixture
    def address(self, guarded: EmbeddedHub) -> Callable[[str], str]:
        HfApi(endpoint=guarded.url, token="hf_writer").create_repo(REPO)
        return lambda token: guarded.url.replace("://", f"://user:{token}@" if token else "://") + f"/{REPO}"

    def test_tokens(self, guarded: EmbeddedHub, address: Callable[[str], str], tmp_path: Path) -> None:
        """A token that writes is git's password; one that reads, and none, push nothing."""
        clone = cloned(address(""), tmp_path, "clone")
        head = clone.commit({"a.txt": "a"})
        assert "could not read Username" in clone.run("push", "origin", "main", fails=True)
        said = clone.run("push", address("hf_reader"), "main", fails=True)
        assert "remote: Forbidden: you must use a write token" in said
        clone.run("push", "--quiet", address("hf_writer"), "main")
        assert HfApi(endpoint=guarded.url, token="hf_writer").model_info(REPO).sha == head

    @needs_lfs
    def test_lfs_of_a_private_repository(
        self, guarded: EmbeddedHub, address: Callable[[str], str], tmp_path: Path
    ) -> None:
        """git-lfs is asked for a password, too, where the repository is hidden from others."""
        HfApi(endpoint=guarded.url, token="hf_writer").update_repo_settings(REPO, private=True)
        clone = cloned(address("hf_writer"), tmp_path, "clone")
        clone.run("lfs", "install", "--local")
        clone.commit({"model.bin": b"\0weights"})
        clone.run("push", "--quiet", "origin", "main")
        other = cloned(address("hf_writer"), tmp_path, "other")
        other.run("lfs", "install", "--local")
        other.run("lfs", "pull")
        assert (other.folder / "model.bin").read_bytes() == b"\0weights"


@needs_lfs
class TestLfs:
    def test_there_and_back(self, clone: Clone, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """A large file goes up by git-lfs, comes back by the client, and by git-lfs into another clone."""
        data = os.urandom(3_000_000)
        clone.run("lfs", "install", "--local")
        clone.commit({"model.safetensors": data, "config.json": "{}"})
        said = clone.run("push", "origin", "main")
        assert "locking" not in said.lower()
        (info,) = api.get_paths_info(REPO, ["model.safetensors"])
        assert info.lfs is not None
        assert (info.size, info.lfs.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        path = api.hf_hub_download(REPO, "model.safetensors", cache_dir=tmp_path / "cache")
        assert Path(path).read_bytes() == data
        other = cloned(f"{hub.url}/{REPO}.git", tmp_path, "other")
        other.run("lfs", "install", "--local")
        other.run("lfs", "pull")
        assert (other.folder / "model.safetensors").read_bytes() == data

    def test_what_came_by_xet(self, clone: Clone, api: HfApi) -> None:
        """A file that was uploaded by the client is fetched by git-lfs, changed, and pushed."""
        data = b"\0" + os.urandom(200_000)
        api.create_commit(REPO, [CommitOperationAdd("model.bin", data)], commit_message="by Xet")
        clone.run("lfs", "install", "--local")
        clone.run("pull", "--quiet")
        clone.run("lfs", "pull")
        assert (clone.folder / "model.bin").read_bytes() == data
        clone.commit({"model.bin": data + b"more"})
        clone.run("push", "--quiet", "origin", "main")
        (info,) = api.get_paths_info(REPO, ["model.bin"])
        assert info.size == len(data) + 4


class TestFetch:
    def test_partial_clone(self, clone: Clone, hub: EmbeddedHub, tmp_path: Path) -> None:
        """A clone without files fetches those that it needs when it needs them, in either protocol."""
        clone.commit({"old.txt": "old" * 100, "sub/a.txt": "a"})
        clone.commit({"old.txt": "new"})
        clone.run("push", "--quiet", "origin", "main")
        for version in ("0", "2"):
            options = ("--filter=blob:none", "--no-checkout", "-c", f"protocol.version={version}")
            partial = cloned(f"{hub.url}/{REPO}", tmp_path, f"partial-{version}", *options)
            missing = partial.run("rev-list", "--objects", "--all", "--missing=print").count("\n?")
            assert missing == 4
            assert partial.run("show", "HEAD~1:old.txt") == "old" * 100
            partial.run("checkout", "--quiet", "main")
            assert (partial.folder / "sub" / "a.txt").read_text() == "a"

    def test_unknown_object(self, clone: Clone) -> None:
        """An object that is not there is refused in git's words."""
        assert "not our ref" in clone.run("fetch", "origin", "1" * 40, fails=True)
