"""The list of version tags: by stream and version, with what the remote and the Hub have of them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tagship.artifacts.manifest import write_manifest
from tagship.cli.session import open_session
from tagship.cli.tags import tags_as_json, tags_as_lines
from tagship.hub_server.app import EmbeddedHub
from tagship.policy.config import load_config
from tagship.release.options import Options
from tagship.release.step import hub_root
from tagship.system.console import Console

from tests import tiny
from tests.conftest import POLICY, GitFolder

REPO = "acme/phi3mini4k-minimal-vllm-v1.0.0"
ODD_NAMES = ['quo"te', "größe/1", "v1.0.0+cu124", "x\u2028y", "😀", "é", "\x85", "'", "&<>", "a,b", "%s{}"]
ODD_MESSAGES = ['say "x"', "back\\slash \\n \\u0041", "tab\t bell\a escape\x1b[31m", "\u2028\x85", "größer 😀", "{}%s"]


@pytest.fixture
def released(repository: GitFolder) -> GitFolder:
    """A project with a policy and one commit."""
    repository.write("release.toml", POLICY)
    repository.commit("Begin")
    return repository


def listed(repository: GitFolder) -> dict[str, Any]:
    """The document of `tags --json`."""
    with open_session(str(repository.folder / "release.toml"), Options(), Console()) as session:
        document: dict[str, Any] = json.loads("".join(tags_as_json(session)))
    return document


def lines(repository: GitFolder) -> list[str]:
    """The list as people read it."""
    with open_session(str(repository.folder / "release.toml"), Options(), Console()) as session:
        return "".join(tags_as_lines(session)).splitlines()


def entries(repository: GitFolder, stream: str = "semantic") -> list[dict[str, Any]]:
    """The tags of a stream."""
    found: list[dict[str, Any]] = next(it["tags"] for it in listed(repository)["streams"] if it["stream"] == stream)
    return found


def test_streams(released: GitFolder) -> None:
    """Tags stand under their streams, the highest version first; what is of none triggers nothing."""
    for tag in (
        "v1.2.0",
        "v1.10.0",
        "v1.10.0-rc.10",
        "v1.10.0-rc.9",
        "model-v1.0.0",
        "v1.2",
        "vfoo.bar.baz",
        "model-vX",
    ):
        released.tag(tag, tag)
    document = listed(released)
    assert [(it["stream"], it["pattern"], [tag["tag"] for tag in it["tags"]]) for it in document["streams"]] == [
        ("semantic", "v{version}", ["v1.10.0", "v1.10.0-rc.10", "v1.10.0-rc.9", "v1.2.0"]),
        ("model", "model-v{version}", ["model-v1.0.0"]),
        ("export", "export-v{version}", []),
    ]
    assert sorted(document["other"]) == ["model-vX", "v1.2", "vfoo.bar.baz"]


def test_stream_of_a_format(released: GitFolder) -> None:
    """A format's own stream is listed with the others, and none of its tags among theirs."""
    released.write(
        "release.toml", POLICY.replace("[formats.ollama]\n", '[formats.ollama]\nstream = "ollama-v{version}"\n')
    )
    released.tag("ollama-v1.0.0")
    released.tag("v2.0.0")
    assert [tag["tag"] for tag in entries(released, "ollama")] == ["ollama-v1.0.0"]
    assert [tag["tag"] for tag in entries(released)] == ["v2.0.0"]


def test_entry(released: GitFolder) -> None:
    """A tag is told with its version, commit, date and message, and that it is neither pushed nor released."""
    released.tag("v1.0.0+cu124", "Release\n\n- item")
    assert entries(released) == [
        {
            "tag": "v1.0.0+cu124",
            "version": "1.0.0+cu124",
            "commit": released.git("rev-parse", "HEAD"),
            "date": "2025-09-15T14:40:51+02:00",
            "message": "Release",
            "annotated": True,
            "pushed": False,
            "released": False,
            "repos": [],
        }
    ]
    assert lines(released)[:2] == [
        "semantic  (v{version})",
        f"  {'v1.0.0+cu124':<24} 2025-09-15  not pushed, not released  Release",
    ]


def test_lightweight_and_nested_tags(released: GitFolder) -> None:
    """A lightweight tag has its commit's message, and a tag of a tag has the commit behind both."""
    released.tag("v1.0.0")
    released.tag("v1.1.0", "Inner")
    released.git("tag", "v1.2.0", "v1.1.0", "--message=Outer")
    sha = released.git("rev-parse", "HEAD")
    assert [(tag["message"], tag["annotated"], tag["commit"]) for tag in entries(released)] == [
        ("Outer", True, sha),
        ("Inner", True, sha),
        ("Begin", False, sha),
    ]


def test_no_tags(released: GitFolder) -> None:
    """Without tags every stream is listed, and empty."""
    assert [it["tags"] for it in listed(released)["streams"]] == [[], [], []]
    assert lines(released) == [
        *("semantic  (v{version})", "  none"),
        *("model  (model-v{version})", "  none"),
        *("export  (export-v{version})", "  none"),
    ]


def test_no_commits(repository: GitFolder) -> None:
    """A repository without commits has no tags, which is no mistake."""
    repository.write("release.toml", POLICY)
    assert [it["tags"] for it in listed(repository)["streams"]] == [[], [], []]


@pytest.mark.parametrize("message", ODD_MESSAGES)
def test_odd_messages(released: GitFolder, message: str) -> None:
    """Whatever a message says, the document is JSON and has it as it is."""
    released.tag("v1.0.0", message)
    assert [tag["message"] for tag in entries(released)] == [message]


def test_odd_names(released: GitFolder) -> None:
    """Whatever letters tags have, the document is JSON and has them all."""
    for name in ODD_NAMES:
        released.tag(name, "Text")
    document = listed(released)
    assert sorted(document["other"] + [tag["tag"] for tag in document["streams"][0]["tags"]]) == sorted(ODD_NAMES)


def test_odd_patterns(released: GitFolder) -> None:
    """A stream's name and pattern may have any letters, too."""
    released.write("release.toml", POLICY + "[tags.'quo\"te\\']\npattern = 'größe\"-{version}'\n")
    released.tag('größe"-1.0.0', "Text")
    (stream,) = listed(released)["streams"]
    assert (stream["stream"], stream["pattern"]) == ('quo"te\\', 'größe"-{version}')
    assert [tag["tag"] for tag in stream["tags"]] == ['größe"-1.0.0']


def test_many_other_tags(released: GitFolder) -> None:
    """People see the first ten of many other tags, and how many more there are."""
    for number in range(12):
        released.tag(f"nightly-{number:02}")
    assert lines(released)[-1].startswith("other tags, which trigger nothing: nightly-00, nightly-01, ")
    assert lines(released)[-1].endswith("nightly-09 and 2 more")


# The remote


@pytest.fixture
def remote(released: GitFolder, tmp_path: Path) -> GitFolder:
    """A bare remote, called origin."""
    bare = GitFolder(folder=tmp_path / "remote.git")
    released.git("init", "--quiet", "--bare", str(bare.folder))
    released.git("remote", "add", "origin", str(bare.folder))
    return bare


def test_pushed(released: GitFolder, remote: GitFolder) -> None:
    """What the remote has is pushed, and nothing else is."""
    for name in ("v1.0.0", "v1.1.0", "model-v1.0.0"):
        released.tag(name, name)
    released.git("push", "--quiet", "origin", "v1.0.0", "model-v1.0.0")
    assert {tag["tag"]: tag["pushed"] for tag in entries(released)} == {"v1.1.0": False, "v1.0.0": True}
    assert [tag["pushed"] for tag in entries(released, "model")] == [True]
    assert [line.split()[2:4] for line in lines(released)[1:3]] == [["not", "pushed,"], ["pushed,", "not"]]


def test_remote_that_is_gone(released: GitFolder, remote: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the remote does not answer nobody knows what is pushed; the tags are listed, and it is said."""
    released.tag("v1.0.0", "First")
    remote.folder.rename(remote.folder.with_name("moved.git"))
    assert [tag["pushed"] for tag in entries(released)] == [None]
    assert "pushed?, not released" in lines(released)[1]
    assert "origin did not say which tags it has" in capsys.readouterr().err


# The Hub


@pytest.fixture
def hub(released: GitFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedHub]:
    """The project's Hub, with a repo whose name has a version, and one without."""
    from huggingface_hub import HfApi

    config = load_config(released.folder / "release.toml", {})
    with EmbeddedHub(root=hub_root(config), namespace="acme") as running:
        api = HfApi(endpoint=running.url, token=False)
        for repo in (REPO, "acme/something-else"):
            api.create_repo(repo)
            api.create_tag(repo, tag="v1.0.0")
        released.write("release.toml", POLICY + f'[hub]\nendpoint = "{running.url}"\n')
        yield running


def test_released(released: GitFolder, hub: EmbeddedHub) -> None:
    """A tag is released where a repo by the policy's names has it; the repos are named."""
    released.tag("v1.0.0", "First")
    released.tag("v1.1.0", "Second")
    found = {tag["tag"]: (tag["released"], tag["repos"]) for tag in entries(released)}
    assert found == {"v1.1.0": (False, []), "v1.0.0": (True, [REPO])}
    assert "not pushed, released" in lines(released)[2]


class Refusal(BaseHTTPRequestHandler):
    """Answers every request with 403."""

    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are not what is tested."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server on this machine that refuses everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_hub_that_refuses(released: GitFolder, refusing: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the Hub does not tell, nobody knows what is released; the tags are listed, and it is said."""
    released.write("release.toml", POLICY + f'[hub]\nendpoint = "{refusing}"\n')
    released.tag("v1.0.0", "First")
    assert [(tag["released"], tag["repos"]) for tag in entries(released)] == [(None, [])]
    assert "not pushed, released?" in lines(released)[1]
    assert "warning: " in capsys.readouterr().err


def test_hub_is_not_started(released: GitFolder) -> None:
    """To list tags writes nothing: a Hub that was never published to is not begun."""
    released.tag("v1.0.0", "First")
    assert [tag["released"] for tag in entries(released)] == [False]
    assert released.git("status", "--porcelain") == ""
    assert not (released.folder / ".tagship").exists()


def test_stream_that_publishes_nothing(released: GitFolder) -> None:
    """Its tags are exported, or not, as the exports here say."""
    for version in ("1.0.0", "1.1.0"):
        released.tag(f"export-v{version}", "Export")
    for number, name in enumerate(("export-v1.1.0", None)):
        folder = released.folder / "exports" / str(number)
        folder.mkdir(parents=True)
        write_manifest(folder, tiny.manifest(tag=name))
    assert [(tag["tag"], tag["released"]) for tag in entries(released, "export")] == [
        ("export-v1.1.0", True),
        ("export-v1.0.0", False),
    ]
    told = [line for line in lines(released) if line.startswith("  export-")]
    assert ["not exported" in line for line in told] == [False, True] and " exported" in told[0]
