"""What the embedded Hub does not do again for each request: start git, read what it has read, wait for a packet."""

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from tagship.hub_server import git as git_module
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.git import Git, GitFailed
from tagship.hub_server.git_reader import READERS

REPO = "acme/model"

pytestmark = pytest.mark.usefixtures("quiet_client")


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="anything")
    api.create_repo(REPO)
    return api


def commit(api: HfApi, files: dict[str, bytes]) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(REPO, operations, commit_message="files").oid


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The git commands that are started from now on."""
    commands: list[list[str]] = []
    whole = subprocess.Popen.__init__

    def start(self: object, command: list[str], *args: object, **options: object) -> None:
        commands.append(command)
        whole(self, command, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    return commands


class TestRequests:
    def test_one_git_for_many_files(self, api: HfApi, hub: EmbeddedHub, started: list[list[str]]) -> None:
        """However many files are downloaded, git is started a few times."""
        commit(api, {f"{number}.txt": b"%d" % number for number in range(50)})
        address = urlsplit(hub.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
        started.clear()
        for number in range(50):
            connection.request("GET", f"/{REPO}/resolve/main/{number}.txt")
            assert connection.getresponse().read() == b"%d" % number
        connection.close()
        assert len(started) <= 2

    def test_list_starts_no_git(self, api: HfApi, started: list[list[str]]) -> None:
        """Models are listed from what was noted when they were changed."""
        for number in range(20):
            api.create_repo(f"acme/model-{number}")
        commit(api, {"README.md": b"---\nlicense: mit\ntags: [avro]\n---\n"})
        started.clear()
        models = {model.id: model for model in api.list_models(full=True)}
        assert started == []
        assert "avro" in (models[REPO].tags or [])

    def test_no_delay(self, hub: EmbeddedHub) -> None:
        """Small answers are sent at once: connections are known to be TCP, so asyncio sets TCP_NODELAY."""
        assert hub._running is not None
        assert hub._running[2].proto == socket.IPPROTO_TCP

    def test_address_answers(self, tmp_path: Path) -> None:
        """Whoever is told the address of `serve` can connect, at once."""
        script = (
            "import sys\nfrom pathlib import Path\nfrom tagship.hub_server.app import serve\n"
            "def told(url):\n"
            "    import socket, urllib.parse\n"
            "    address = urllib.parse.urlsplit(url)\n"
            "    socket.create_connection((address.hostname, address.port)).close()\n"
            "    raise SystemExit(7)\n"
            "serve(root=Path(sys.argv[1]), announce=told)\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "hub")], check=False, timeout=60)
        assert done.returncode == 7


class TestSummaries:
    def test_follow_changes(self, api: HfApi) -> None:
        """A list is right after a commit, a setting, a move, and a repository that took a deleted one's name."""
        commit(api, {"README.md": b"---\nlicense: mit\n---\n"})
        assert "license:mit" in (next(iter(api.list_models())).tags or [])
        head = commit(api, {"README.md": b"---\nlicense: gpl\n---\n"})
        model = next(iter(api.list_models(full=True)))
        assert (model.sha, "license:gpl" in (model.tags or [])) == (head, True)
        api.update_repo_settings(REPO, private=True, gated="auto")
        model = next(iter(api.list_models(full=True)))
        assert (model.private, model.gated) == (True, "auto")
        api.move_repo(REPO, "zeta/moved")
        model = next(iter(api.list_models(full=True)))
        assert (model.id, model.author) == ("zeta/moved", "zeta")
        api.delete_repo("zeta/moved")
        api.create_repo("zeta/moved")
        model = next(iter(api.list_models(full=True)))
        assert (model.private, model.gated, model.sha != head) == (False, False, True)

    def test_packed_refs(self, api: HfApi, tmp_path: Path) -> None:
        """A branch that git keeps in `packed-refs` is listed, too."""
        head = commit(api, {"a.txt": b"a"})
        folder = tmp_path / "hub" / "repos" / f"{REPO}.git"
        subprocess.run(["git", "--git-dir", folder, "pack-refs", "--all"], check=True)
        assert not (folder / "refs" / "heads" / "main").exists()
        assert next(iter(api.list_models(full=True))).sha == head


class TestReaders:
    @pytest.fixture
    def git(self, api: HfApi, tmp_path: Path) -> Git:
        commit(api, {"a.txt": b"a"})
        return Git(git_dir=tmp_path / "hub" / "repos" / f"{REPO}.git")

    def test_sees_changes(self, git: Git, api: HfApi) -> None:
        """A process that was started earlier sees later commits, packs and packed refs."""
        before = git.commit_oids(["refs/heads/main"])
        head = commit(api, {"b.txt": b"b"})
        assert before != [head] == git.commit_oids(["refs/heads/main"])
        git.run("gc", "--quiet", "--prune=now")
        later = commit(api, {"c.txt": b"c"})
        assert git.commit_oids(["refs/heads/main", head, later[:9], "refs/heads/none"]) == [later, head, later, None]

    def test_another_repository_of_that_name(self, git: Git, api: HfApi) -> None:
        """A repository that took a deleted one's place is read by a process of its own."""
        (old,) = git.commit_oids(["refs/heads/main"])
        api.delete_repo(REPO)
        with pytest.raises(GitFailed, match="not a git repository"):
            git.commit_oids(["refs/heads/main"])
        api.create_repo(REPO)
        assert old is not None
        assert git.commit_oids([old]) == [None]

    def test_dead_process(self, git: Git) -> None:
        """Where the process has died, the request fails and the next one starts another."""
        oid = git.info(["refs/heads/main:a.txt"])[0]
        assert oid is not None
        reader = READERS.of(git.git_dir, git_module._environment)
        for process in reader._processes.values():
            process._process.kill()
            process._process.wait()
        with pytest.raises(GitFailed):
            git.info(["refs/heads/main"])
        assert git.contents([oid.oid]) == [b"a"]

    def test_many_long_names(self, git: Git) -> None:
        """Questions and answers that do not fit into a pipe do not wait for each other."""
        names = [f"refs/heads/{'x' * 200}/{'y' * 200}/{number}" for number in range(1000)]
        assert git.info([*names, "refs/heads/main"])[-1] is not None
        assert git.info(["refs/heads/" + "z" * 200_000]) == [None]

    def test_ends_with_the_server(self, tmp_path: Path) -> None:
        """After the server, none of its processes is left."""
        with EmbeddedHub(root=tmp_path / "other") as hub:
            api = HfApi(endpoint=hub.url, token="anything")
            api.create_repo(REPO)
            assert api.model_info(REPO).sha
            folder = tmp_path / "other" / "repos" / f"{REPO}.git"
            reader = READERS.of(folder, git_module._environment)
            pids = [process._process.pid for process in reader._processes.values()]
            assert pids
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


class TestSettings:
    @pytest.mark.parametrize("value", ["auto", "two words", 'quo"ted', "with # and ;", " padded ", "back\\slash", "ü"])
    def test_value(self, api: HfApi, tmp_path: Path, value: str) -> None:
        """What was set is read back, whichever way git writes it."""
        git = Git(git_dir=tmp_path / "hub" / "repos" / f"{REPO}.git")
        git.change("config", "--local", "tagship.first", "1")
        git.change("config", "--local", "tagship.note", value)
        expected = git.run("config", "--local", "--get", "tagship.note").decode().strip()
        assert git.setting("tagship", "note") == expected
        assert git.setting("tagship", "first") == "1"
        assert git.setting("tagship", "missing") is None
        assert git.setting("core", "bare") == "true"
