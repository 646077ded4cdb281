"""What a migration of repositories needs of the embedded Hub: moves, lists, clones, and tags of any name."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tagship.hub_server.app import EmbeddedHub, Role
from tagship.hub_server.git import GitFailed
from tagship.hub_server.kinds import Kind
from tagship.hub_server.repos import RepoStore

from tests.hub_server.asking import request

OLD, NEW, NEWER = "acme/model", "acme/renamed", "other/again"
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(40_000))
TAGS = [
    "release/v1.0.0",
    "v1.2.3+cu124",
    "выпуск-1",
    "a/b/c",
    "50%",
    "v1#2&x=y",
    "ü/ö+1",
    "v1,2;3",
    "@x",
    "release-v1.0.0",
    "a\u2028b\x85c",
]
BAD_TAGS = [
    *("a..b", "x.lock", "a/x.lock", "-x", "a b", "a~1", "a^1", "a:b", "a?", "a*", "a[b", "a\\b", "a@{0}", "@"),
    *("/a", "a/", "a//b", "a.", ".a", "a/.b", "a\tb", "a\nb", "a\x7fb", "refs/tags/a"),
]


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet_client")]


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="anything")
    api.create_repo(OLD)
    return api


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EmbeddedHub]:
    """A Hub with tokens, and a private model with a file that was moved from OLD to NEW."""
    tokens = {"hf_reader": Role.READ, "hf_writer": Role.WRITE}
    with EmbeddedHub(root=tmp_path / "hub", tokens=tokens) as running:
        writer = HfApi(endpoint=running.url, token="hf_writer")
        writer.create_repo(OLD, private=True)
        commit(writer, OLD, {"a.txt": b"a"})
        writer.move_repo(OLD, NEW)
        yield running


def commit(api: HfApi, repo: str, files: dict[str, bytes]) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return str(api.create_commit(repo, operations, commit_message="files").oid)


def download(api: HfApi, repo: str, path: str, cache: Path, revision: str | None = None) -> bytes:
    return Path(api.hf_hub_download(repo, path, revision=revision, cache_dir=cache)).read_bytes()


def git(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


class TestOldName:
    def test_redirects(self, api: HfApi, hub: EmbeddedHub) -> None:
        """Every address under the old name answers 307 with the same address under the new one."""
        api.move_repo(OLD, NEW)
        for method, path, query in (
            ("GET", "/api/models/{}", ""),
            ("GET", "/api/models/{}/revision/feature%2Fx", "?blobs=true"),
            ("GET", "/api/models/{}/tree/main/a%20b", "?recursive=true&expand=1"),
            ("POST", "/api/models/{}/commit/main", "?x=%2B"),
            ("DELETE", "/api/models/{}/tag/v1%2B2", ""),
            ("PUT", "/api/models/{}/settings", ""),
            ("HEAD", "/{}/resolve/main/%C3%BC.bin", ""),
            ("GET", "/{}", ""),
            ("POST", "/{}.git/info/lfs/objects/batch", ""),
            ("GET", "/{}/info/refs", "?service=git-upload-pack"),
        ):
            body = b'{"operation": "download"}'
            status, headers, _ = request(hub, method, path.format(OLD) + query, body)
            assert (status, headers["location"]) == (307, path.format(NEW) + query)

    def test_reads(self, api: HfApi, tmp_path: Path) -> None:
        """A client that knows the old name only reads information, lists, refs, and large and small files."""
        head = commit(api, OLD, {"model.bin": LARGE, "sub/config.json": b"{}"})
        api.create_tag(OLD, tag="v1")
        api.move_repo(OLD, NEW)
        assert (api.model_info(OLD).id, api.model_info(OLD, revision="v1").sha) == (NEW, head)
        assert api.repo_exists(OLD)
        assert api.revision_exists(OLD, "v1")
        assert not api.revision_exists(OLD, "v2")
        assert api.file_exists(OLD, "model.bin")
        assert [ref.name for ref in api.list_repo_refs(OLD).tags] == ["v1"]
        paths = [entry.path for entry in api.list_repo_tree(OLD, recursive=True, expand=True)]
        assert paths == [".gitattributes", "model.bin", "sub", "sub/config.json"]
        assert [entry.path for entry in api.get_paths_info(OLD, ["model.bin"])] == ["model.bin"]
        assert len(api.list_repo_commits(OLD)) == 2
        assert download(api, OLD, "model.bin", tmp_path / "cache") == LARGE
        assert download(api, OLD, "sub/config.json", tmp_path / "cache", "v1") == b"{}"
        folder = Path(api.snapshot_download(OLD, revision="v1", cache_dir=tmp_path / "other"))
        assert (folder / "model.bin").read_bytes() == LARGE
        with pytest.raises(EntryNotFoundError):
            download(api, OLD, "missing.txt", tmp_path / "cache")
        with pytest.raises(RevisionNotFoundError):
            download(api, OLD, "model.bin", tmp_path / "cache", "missing")

    def test_writes(self, api: HfApi, tmp_path: Path) -> None:
        """Commits (with large, small and many bytes), tags, branches and settings go to the new name."""
        api.move_repo(OLD, NEW)
        text = b"text\n" * 1_700_000
        operations = [CommitOperationAdd("model.bin", LARGE), CommitOperationAdd("a.json", b"{}")]
        operations += [CommitOperationAdd(f"{number}.txt", text + b"%d" % number) for number in range(4)]
        done = api.create_commit(OLD, operations, commit_message="files")
        assert done.commit_url == f"{api.endpoint}/{NEW}/commit/{done.oid}"
        api.create_tag(OLD, tag="v1+a/b", tag_message="first")
        api.create_branch(OLD, branch="b")
        api.create_tag(OLD, tag="gone")
        api.delete_tag(OLD, tag="gone")
        api.update_repo_settings(OLD, private=True)
        api.auth_check(OLD, write=True)
        assert api.model_info(NEW, revision="v1+a/b").sha == done.oid
        assert api.model_info(NEW).private
        assert {ref.name for ref in api.list_repo_refs(NEW).branches} == {"main", "b"}
        assert download(api, NEW, "model.bin", tmp_path / "cache") == LARGE
        assert download(api, NEW, "3.txt", tmp_path / "cache") == text + b"3"

    def test_without_xet(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """A client without Xet uploads and downloads large files by the old name, through plain LFS."""
        commit(api, OLD, {"model.bin": LARGE})
        api.move_repo(OLD, NEW)
        (tmp_path / "weights").write_bytes(LARGE[::-1])
        script = (
            "from huggingface_hub import HfApi\n"
            f"api = HfApi(endpoint={hub.url!r}, token='anything')\n"
            f"api.upload_file(path_or_fileobj='weights', path_in_repo='new.bin', repo_id={OLD!r})\n"
            f"api.snapshot_download({OLD!r}, local_dir='plain')\n"
        )
        environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=60)
        assert (tmp_path / "plain" / "model.bin").read_bytes() == LARGE
        assert (tmp_path / "plain" / "new.bin").read_bytes() == LARGE[::-1]
        assert api.file_exists(NEW, "new.bin")

    def test_git_clone(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """Git clones and fetches by the new and the old name; a large file is its LFS pointer."""
        commit(api, OLD, {"model.bin": LARGE, "a.txt": b"a"})
        api.create_tag(OLD, tag="выпуск/1+a", tag_message="first")
        api.move_repo(OLD, NEW)
        for number, (address, options) in enumerate(
            ((NEW, []), (OLD, []), (f"{OLD}.git", []), (OLD, ["--depth", "1"]), (OLD, ["--branch", "выпуск/1+a"]))
        ):
            cloned = git("clone", *options, f"{hub.url}/{address}", str(number), folder=tmp_path)
            assert cloned.returncode == 0, cloned.stderr
            assert (tmp_path / str(number) / "a.txt").read_bytes() == b"a"
            assert hashlib.sha256(LARGE).hexdigest() in (tmp_path / str(number) / "model.bin").read_text()
        head = commit(api, OLD, {f"{number}.txt": b"b" for number in range(50)})
        assert git("pull", folder=tmp_path / "1").returncode == 0
        assert git("rev-parse", "HEAD", folder=tmp_path / "1").stdout.strip() == head
        assert git("tag", folder=tmp_path / "1").stdout.strip().strip('"') == "выпуск/1+a"

    def test_chain(self, api: HfApi, hub: EmbeddedHub) -> None:
        """After several moves every earlier name leads straight to the last one."""
        head = commit(api, OLD, {"a.txt": b"a"})
        api.move_repo(OLD, NEW)
        api.move_repo(NEW, NEWER)
        for name in (OLD, NEW, NEWER):
            assert (api.model_info(name).id, api.model_info(name).sha) == (NEWER, head)
        assert request(hub, "GET", f"/api/models/{OLD}")[1]["location"] == f"/api/models/{NEWER}"

    def test_back(self, api: HfApi) -> None:
        """A repository that is moved back has its first name, and the name in between redirects."""
        head = commit(api, OLD, {"a.txt": b"a"})
        for _ in range(2):
            api.move_repo(OLD, NEW)
            assert api.model_info(OLD).id == NEW
            api.move_repo(NEW, OLD)
            assert (api.model_info(OLD).id, api.model_info(NEW).id, api.model_info(NEW).sha) == (OLD, OLD, head)

    def test_taken_again(self, api: HfApi) -> None:
        """A new repository under the old name ends the redirect for good, also when it is deleted."""
        head = commit(api, OLD, {"a.txt": b"a"})
        api.move_repo(OLD, NEW)
        assert api.create_repo(OLD).repo_id == OLD
        assert (api.model_info(OLD).id, api.list_repo_files(OLD)) == (OLD, [".gitattributes"])
        assert api.model_info(NEW).sha == head
        api.delete_repo(OLD)
        assert not api.repo_exists(OLD)
        assert api.model_info(NEW).sha == head

    def test_taken_by_a_move(self, api: HfApi) -> None:
        """Another repository that is moved onto the old name ends the redirect, too."""
        api.move_repo(OLD, NEW)
        head = commit(api, str(api.create_repo("acme/second").repo_id), {"b.txt": b"b"})
        api.move_repo("acme/second", OLD)
        api.move_repo(OLD, NEWER)
        assert [api.model_info(name).id for name in (OLD, "acme/second", NEW)] == [NEWER, NEWER, NEW]
        assert api.model_info(OLD).sha == head

    def test_name_between_is_taken(self, api: HfApi) -> None:
        """A redirect belongs to the repository: a stranger under the name in between doesn't get it."""
        head = commit(api, OLD, {"a.txt": b"a"})
        api.move_repo(OLD, NEW)
        api.move_repo(NEW, NEWER)
        api.create_repo(NEW)
        assert (api.model_info(OLD).id, api.model_info(OLD).sha) == (NEWER, head)
        assert api.model_info(NEW).id == NEW

    def test_deleted(self, api: HfApi) -> None:
        """With the repository its redirects are gone; an old name deletes nothing."""
        api.move_repo(OLD, NEW)
        with pytest.raises(RepositoryNotFoundError):
            api.delete_repo(OLD)
        assert api.repo_exists(NEW)
        api.delete_repo(NEW)
        assert not api.repo_exists(OLD)
        api.create_repo(NEW)
        assert not api.repo_exists(OLD)


class TestMove:
    def test_taken(self, api: HfApi) -> None:
        """Moving onto a repository, another or itself, is a conflict that changes nothing."""
        head = commit(api, OLD, {"a.txt": b"a"})
        other = commit(api, str(api.create_repo("acme/taken").repo_id), {"b.txt": b"b"})
        for target in ("acme/taken", OLD):
            with pytest.raises(HfHubHTTPError) as refused:
                api.move_repo(OLD, target)
            assert refused.value.response.status_code == 409
        assert [(m.id, m.sha) for m in api.list_models(full=True)] == [(OLD, head), ("acme/taken", other)]

    def test_missing(self, api: HfApi) -> None:
        """A repository that doesn't exist, or no longer by this name, is not found."""
        api.move_repo(OLD, NEW)
        for name in ("acme/missing", OLD):
            with pytest.raises(RepositoryNotFoundError):
                api.move_repo(name, "acme/target")
        assert not api.repo_exists("acme/target")

    def test_bad_names(self, api: HfApi, hub: EmbeddedHub, tmp_path: Path) -> None:
        """Both names obey the Hub's rules; nothing is moved or made for one that doesn't."""
        for bad in (
            "acme/a--b",
            "acme/a..b",
            "../x",
            "acme/..",
            "acme/.x",
            "acme/x.git",
            "a b/c",
            "acme",
            "a/b/c",
            "ä/b",
        ):
            for names in ({"fromRepo": OLD, "toRepo": bad}, {"fromRepo": bad, "toRepo": NEW}):
                assert request(hub, "POST", "/api/repos/move", json.dumps(names).encode())[0] == 400, names
        assert [model.id for model in api.list_models()] == [OLD]
        assert [path.name for path in (tmp_path / "hub" / "repos").iterdir()] == ["acme"]

    def test_one_of_two_wins(self, api: HfApi) -> None:
        """Of moves of one repository at the same time, exactly one happens; the others find it gone."""
        moved: list[str] = []

        def move(target: str) -> None:
            try:
                api.move_repo(OLD, target)
            except RepositoryNotFoundError:
                return
            moved.append(target)

        threads = [threading.Thread(target=move, args=(f"acme/{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [model.id for model in api.list_models()] == moved
        assert api.model_info(OLD).id == moved[0]

    def test_while_others_work(self, api: HfApi, hub: EmbeddedHub) -> None:
        """Clients that read, list and commit while the repository moves to and fro lose nothing."""
        failures: list[Exception] = []
        done: list[str] = []
        stop = threading.Event()

        def work(step: Callable[[], object]) -> None:
            try:
                while not stop.is_set():
                    step()
            except HfHubHTTPError.__bases__ as error:
                failures.append(error)

        def write() -> None:
            done.append(commit(api, OLD, {f"{len(done)}.txt": b"x"}))

        steps = (write, lambda: api.model_info(OLD), lambda: api.list_repo_refs(NEW), lambda: list(api.list_models()))
        threads = [threading.Thread(target=work, args=(step,)) for step in steps]
        api.move_repo(OLD, NEW)
        api.move_repo(NEW, OLD)
        for thread in threads:
            thread.start()
        for _ in range(8):
            api.move_repo(OLD, NEW)
            stop.wait(0.3)
            api.move_repo(NEW, OLD)
            stop.wait(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert done
        assert {commit.commit_id for commit in api.list_repo_commits(OLD)} >= set(done)

    def test_waits_for_git(self, api: HfApi, tmp_path: Path) -> None:
        """A move waits for a change in progress: a lock of git that moved along would block the branch for ever."""
        store = RepoStore(kind=Kind.MODEL, folder=tmp_path / "hub" / "repos", scratch=tmp_path / "hub" / "tmp")
        thread = threading.Thread(target=api.move_repo, args=(OLD, NEW))
        repo = store.find(*OLD.split("/"))
        with repo.git.held(fcntl.LOCK_SH):
            thread.start()
            thread.join(0.5)
            assert repo.exists
        thread.join()
        assert not repo.exists
        with pytest.raises(GitFailed):
            repo.set("private", "true")
        assert not repo.git.git_dir.exists()

    def test_restart(self, tmp_path: Path) -> None:
        """Redirects are there again after a restart of the server, and at once in another one."""
        root = tmp_path / "hub"
        with EmbeddedHub(root=root) as hub, EmbeddedHub(root=root) as second:
            api = HfApi(endpoint=hub.url, token="anything")
            api.create_repo(OLD)
            api.move_repo(OLD, NEW)
            assert HfApi(endpoint=second.url, token=False).model_info(OLD).id == NEW
        with EmbeddedHub(root=root) as hub:
            assert HfApi(endpoint=hub.url, token=False).model_info(OLD).id == NEW

    def test_killed(self, tmp_path: Path) -> None:
        """Killed before any one of its changes to the disk, a move is done or not: the old name works always."""
        script = (
            "import os, signal, sys\nfrom pathlib import Path\n"
            "from tagship.hub_server.kinds import Kind\nfrom tagship.hub_server.repos import RepoStore\n"
            "root, left = Path(sys.argv[1]), int(sys.argv[2])\n"
            "store = RepoStore(kind=Kind.MODEL, folder=root / 'repos', scratch=root / 'tmp')\n"
            "def count(event, arguments):\n"
            "    global left\n"
            "    if event in ('open', 'os.mkdir', 'os.rename', 'os.remove'):\n"
            "        left -= 1\n"
            "        if left < 0:\n"
            "            os.kill(os.getpid(), signal.SIGKILL)\n"
            f"repo = store.find(*{OLD.split('/')!r})\n"
            "sys.addaudithook(count)\n"
            f"store.move(repo, {NEWER!r})\n"
        )
        outcomes: list[str] = []
        for survived in range(30):
            root = tmp_path / str(survived)
            with EmbeddedHub(root=root) as hub:
                api = HfApi(endpoint=hub.url, token="anything")
                api.create_repo(OLD)
                head = api.model_info(OLD).sha
                process = subprocess.run([sys.executable, "-c", script, str(root), str(survived)], timeout=60)
                assert api.model_info(OLD).sha == head
                outcomes.append(str(api.model_info(OLD).id))
                assert [model.id for model in api.list_models()] == outcomes[-1:]
                if outcomes[-1] == OLD:
                    api.move_repo(OLD, NEWER)
                assert api.model_info(NEWER).sha == head
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
        assert process.returncode == 0
        assert outcomes == sorted(outcomes)
        assert set(outcomes) == {OLD, NEWER}

    def test_leftover_folder(self, api: HfApi, tmp_path: Path) -> None:
        """What a git that ran during the move left at the old place does not hide the redirect."""
        api.move_repo(OLD, NEW)
        (tmp_path / "hub" / "repos" / f"{OLD}.git" / "refs" / "heads").mkdir(parents=True)
        assert api.model_info(OLD).id == NEW
        assert [model.id for model in api.list_models()] == [NEW]

    def test_failure_of_git_is_not_hidden(self, api: HfApi, tmp_path: Path) -> None:
        """A repository that is there but broken is the server's error, not a missing repository."""
        (tmp_path / "hub" / "repos" / f"{OLD}.git" / "HEAD").write_text("nonsense")
        with pytest.raises(HfHubHTTPError) as failed:
            api.delete_branch(OLD, branch="x")
        assert failed.value.response.status_code == 500


class TestAccess:
    @pytest.mark.parametrize(("token", "status"), [("hf_reader", 403), (False, 401), ("hf_unknown", 401)])
    def test_moving(self, guarded: EmbeddedHub, token: str | bool, status: int) -> None:
        """Only a token that writes moves a repository, or changes it by its old name."""
        api = HfApi(endpoint=guarded.url, token=token)
        changes: list[Callable[[], object]] = [
            lambda: api.move_repo(NEW, NEWER),
            lambda: commit(api, OLD, {"b.txt": b"b"}),
            lambda: api.create_tag(OLD, tag="v1"),
        ]
        for change in changes:
            with pytest.raises(HfHubHTTPError) as refused:
                change()
            assert refused.value.response.status_code == status
        writer = HfApi(endpoint=guarded.url, token="hf_writer")
        assert [model.id for model in writer.list_models()] == [NEW]
        writer.move_repo(NEW, NEWER)
        assert writer.model_info(OLD).id == NEWER

    def test_private(self, guarded: EmbeddedHub, tmp_path: Path) -> None:
        """The new name of a private repository is told to those only who may see it."""
        reader = HfApi(endpoint=guarded.url, token="hf_reader")
        assert download(reader, OLD, "a.txt", tmp_path / "cache") == b"a"
        for path in (f"/api/models/{OLD}", f"/{OLD}/resolve/main/a.txt", f"/{OLD}"):
            status, headers, body = request(guarded, "GET", path)
            assert (status, headers["x-error-code"]) == (404, "RepoNotFound")
            assert NEW not in f"{headers}{body!r}"

    def test_git_password(self, guarded: EmbeddedHub, tmp_path: Path) -> None:
        """Git clones a private repository with a token as its password, and asks for one without."""
        address = urlsplit(guarded.url).netloc
        cloned = git("clone", f"http://user:hf_reader@{address}/{OLD}", "clone", folder=tmp_path)
        assert cloned.returncode == 0, cloned.stderr
        assert (tmp_path / "clone" / "a.txt").read_bytes() == b"a"
        for name in (OLD, "acme/missing"):
            refused = git("clone", f"{guarded.url}/{name}", "refused", folder=tmp_path)
            assert "could not read Username" in refused.stderr
        assert "403" in git("push", "origin", "HEAD:main", folder=tmp_path / "clone").stderr
        assert git("clone", f"http://user:wrong@{address}/{OLD}", "refused", folder=tmp_path).returncode != 0


class TestGitRequests:
    def test_malformed(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A request that git itself would not send is a bad one."""
        assert request(hub, "POST", f"/{OLD}/git-upload-pack", b"nonsense")[0] == 400
        assert request(hub, "GET", f"/{OLD}/info/refs?service=git-other")[0] == 403
        assert request(hub, "GET", f"/{OLD}/info/refs")[0] == 403
        assert request(hub, "GET", "/acme/missing/info/refs?service=git-upload-pack")[0] == 404


class TestList:
    def test_author(self, api: HfApi) -> None:
        """A namespace lists its own models, a name that is only similar has none, and an old name is gone."""
        for name in ("acme/second", "acme2/third", "acme/private"):
            api.create_repo(name, private=name.endswith("private"))
        assert [m.id for m in api.list_models(author="acme")] == [OLD, "acme/private", "acme/second"]
        assert list(api.list_models(author="acm")) == []
        api.move_repo(OLD, "acme2/model")
        assert [m.id for m in api.list_models(author="acme")] == ["acme/private", "acme/second"]
        assert [m.id for m in api.list_models(author="acme2")] == ["acme2/model", "acme2/third"]

    def test_pages(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A list that is longer than a page goes on by its Link header, with the same question."""
        names = sorted(["acme/a", "acme/a-b", "acme/a.b", "acme/b", "acme/B2", "acme/c"])
        for name in names:
            api.create_repo(name)
        api.create_repo("other/a")
        path, found = "/api/models?author=acme&search=acme%2F&limit=2&full=True", []
        while path:
            status, headers, body = request(hub, "GET", path)
            assert status == 200
            page = json.loads(body)
            assert len(page) <= 2
            assert "sha" in page[0]
            found += [model["id"] for model in page]
            path = headers.get("link", "").removeprefix(f"<{hub.url}").removesuffix('>; rel="next"')
        assert found == sorted([*names, OLD])
        assert [m.id for m in api.list_models(author="acme", limit=3)] == sorted([*names, OLD])[:3]
        assert request(hub, "GET", "/api/models?limit=x")[0] == 400

    def test_client_follows_pages(self, tmp_path: Path) -> None:
        """The client gets all models, however small the pages are."""
        with EmbeddedHub(root=tmp_path / "small pages", page_size=2) as hub:
            api = HfApi(endpoint=hub.url, token=False)
            names = [f"acme/{number}" for number in range(5)]
            for name in names:
                api.create_repo(name)
            assert [model.id for model in api.list_models(author="acme")] == names

    def test_fields(self, api: HfApi) -> None:
        """A list is brief, `full` adds commit and files, `cardData` the card, `expand` gives what it names."""
        head = commit(api, OLD, {"README.md": b"---\nlicense: mit\n---\n"})
        brief, full, card, named = (
            next(iter(api.list_models(author="acme", **options)))
            for options in ({}, {"full": True}, {"cardData": True}, {"expand": ["sha", "gated"]})
        )
        assert (brief.sha, brief.siblings, brief.private, brief.tags) == (None, None, False, ["license:mit"])
        assert brief.created_at is not None
        assert (full.sha, full.author, full.card_data) == (head, "acme", None)
        assert [file.rfilename for file in full.siblings or ()] == [".gitattributes", "README.md"]
        assert card.card_data is not None
        assert card.card_data.license == "mit"
        assert (named.sha, named.gated, named.tags, named.private) == (head, False, None, None)
        info = api.model_info(OLD, expand=["usedStorage", "downloads"])
        assert (info.id, info.downloads, info.sha, info.used_storage is not None) == (OLD, 0, None, True)

    def test_private(self, guarded: EmbeddedHub) -> None:
        """A private model is listed only to a token that may read it."""
        HfApi(endpoint=guarded.url, token="hf_writer").create_repo("acme/public")
        for token, expected in (("hf_reader", ["acme/public", NEW]), (False, ["acme/public"])):
            found = HfApi(endpoint=guarded.url, token=token).list_models(author="acme")
            assert [model.id for model in found] == expected
        with pytest.raises(HfHubHTTPError, match="401"):
            list(HfApi(endpoint=guarded.url, token="hf_unknown").list_models(author="acme"))


class TestTagNames:
    @pytest.mark.parametrize("tag", TAGS)
    def test_odd(self, api: HfApi, tmp_path: Path, tag: str) -> None:
        """What git takes as a name is a tag for every call of the client, annotated or not."""
        head = commit(api, OLD, {"sub/a.txt": b"old", "model.bin": LARGE[:1000]})
        api.create_tag(OLD, tag=tag, tag_message="Első\nkiadás")
        commit(api, OLD, {"sub/a.txt": b"new"})
        assert {ref.name: ref.target_commit for ref in api.list_repo_refs(OLD).tags} == {tag: head}
        assert api.model_info(OLD, revision=tag).sha == head
        assert api.revision_exists(OLD, tag)
        assert [e.path for e in api.list_repo_tree(OLD, "sub", revision=tag)] == ["sub/a.txt"]
        assert len(api.list_repo_commits(OLD, revision=tag)) == 2
        assert download(api, OLD, "sub/a.txt", tmp_path / "cache", tag) == b"old"
        assert download(api, OLD, "model.bin", tmp_path / "cache", tag) == LARGE[:1000]
        with pytest.raises(HfHubHTTPError, match="409"):
            api.create_tag(OLD, tag=tag)
        api.move_repo(OLD, NEW)
        assert download(api, OLD, "sub/a.txt", tmp_path / "moved", tag) == b"old"
        assert api.model_info(OLD, revision=tag).sha == head
        api.create_tag(OLD, tag="copy", revision=tag)
        api.delete_tag(OLD, tag=tag)
        assert {ref.name: ref.target_commit for ref in api.list_repo_refs(OLD).tags} == {"copy": head}

    @pytest.mark.parametrize("tag", BAD_TAGS)
    def test_bad(self, api: HfApi, tag: str) -> None:
        """What git does not take as a name is refused in words, and nothing is tagged."""
        with pytest.raises(BadRequestError, match="Invalid ref name"):
            api.create_tag(OLD, tag=tag)
        with pytest.raises(HfHubHTTPError):
            api.delete_tag(OLD, tag=tag)
        assert api.list_repo_refs(OLD).tags == []

    def test_unwritable(self, api: HfApi, hub: EmbeddedHub) -> None:
        """A name with half of a surrogate pair, of no length or of too much, is refused like the others."""
        for tag in ("a\ud800b", "", "x" * 300, "a/" * 128, "a/" * 128 + "b", "ü" * 128, None, 3, ["a"]):
            body = json.dumps({"tag": tag}).encode()
            assert request(hub, "POST", f"/api/models/{OLD}/tag/main", body)[0] == 400, tag
        assert request(hub, "DELETE", f"/api/models/{OLD}/tag/{'x' * 300}")[0] in (400, 404)
        assert request(hub, "GET", f"/api/models/{OLD}/revision/{'x' * 300}")[0] == 404
        assert request(hub, "GET", f"/api/models/{OLD}/revision/{quote('a/' * 128)}b")[0] == 404
        assert api.list_repo_refs(OLD).tags == []

    def test_folder_of_a_tag(self, api: HfApi) -> None:
        """Git cannot have `release` and `release/v1` as tags at once; the second is refused."""
        for first, second in (("release", "release/v1"), ("v2/a", "v2")):
            api.create_tag(OLD, tag=first)
            with pytest.raises(BadRequestError, match="cannot be created"):
                api.create_tag(OLD, tag=second)
        assert {ref.name for ref in api.list_repo_refs(OLD).tags} == {"release", "v2/a"}
