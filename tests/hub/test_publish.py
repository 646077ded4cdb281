"""Publishing to a Hub that is in use, has trouble, or belongs to others."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from msgspec.structs import replace
from tagship.artifacts.manifest import file_entry, list_files
from tagship.hub.access import check_access
from tagship.hub.base_repo import check_base, publish_base, why_not_fetchable
from tagship.hub.connection import Hub
from tagship.hub.publish import check_published, publish, tag_published, tags_of
from tagship.hub.repository import standing
from tagship.hub.upload import Commit, Upload
from tagship.hub_server.app import EmbeddedHub
from tagship.runs.base import BaseModel
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import sha256_of

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model-v1"
BASE = BaseModel(id="acme/base", license="mit")


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


@pytest.fixture
def client(api: HfApi) -> Hub:
    return Hub(lambda: api, embedded=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release's folder, or a base model's."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"vocab_size": 10}))
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n\n# It\n")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(hashlib.sha256(b"weights").digest() * 100)
    return tmp_path / "model"


def upload(folder: Path, *, private: bool = False, tag: str | None = "v1.0.0") -> Upload:
    files = list_files(folder)
    return Upload(repo_id=REPO, folder=folder, files=files, private=private, message="Release", description="", tag=tag)


def base(folder: Path) -> BaseFolder:
    return BaseFolder(id=BASE.id, path=folder, revision=None, license="mit")


class Failing:
    """A client one of whose calls fails for some time, before or after the Hub has done it."""

    def __init__(self, api: HfApi, name: str, error: Exception, *, after: bool, times: int = 1) -> None:
        self._api, self._name, self._error, self._after, self._times = api, name, error, after, times

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._api, name)
        if name != self._name or not self._times:
            return found

        def fail(*arguments: Any, **options: Any) -> Any:
            self._times -= 1
            if self._after:
                found(*arguments, **options)
            raise self._error

        return fail


def conflict(api: HfApi, status: int) -> HfHubHTTPError:
    """What the client raises for an answer of this status, from a real one."""
    try:
        api.create_tag("acme/nothing", tag="x")
    except HfHubHTTPError as error:
        error.response.status_code = status
        return error
    raise AssertionError


def failing(api: HfApi, name: str, error: Exception, *, after: bool) -> Hub:
    return Hub(lambda: Failing(api, name, error, after=after), embedded=False)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("status", [409, 412])
def test_commit_that_was_done_although_it_was_refused(api: HfApi, folder: Path, status: int) -> None:
    """A commit whose answer was lost on the way, so that the second attempt was refused, is found there."""
    hub = failing(api, "create_commit", conflict(api, status), after=True)
    commit = publish(hub, upload(folder))
    assert commit.sha == api.model_info(REPO).sha
    assert len(check_published(hub, upload(folder), commit)) == 4


def test_commit_of_somebody_else(api: HfApi, folder: Path) -> None:
    """What somebody else committed in between stays, and is told."""
    api.create_repo(REPO)
    error = conflict(api, 412)

    class Meanwhile(Failing):
        def __getattr__(self, name: str) -> Any:
            if name == "create_commit":
                other = CommitOperationAdd("theirs.txt", b"x")
                api.create_commit(REPO, [other], commit_message="theirs")
            return super().__getattr__(name)

    hub = Hub(lambda: Meanwhile(api, "create_commit", error, after=False), embedded=False)  # type: ignore[arg-type, return-value]
    with pytest.raises(ToolError, match="commit to") as caught:
        publish(hub, upload(folder))
    assert "somebody else" in str(caught.value.remedy)
    assert "theirs.txt" in api.list_repo_files(REPO)


def test_tag_that_was_set_although_it_was_refused(api: HfApi, client: Hub, folder: Path) -> None:
    """A tag whose answer was lost is found there; one on another commit is told."""
    commit = publish(client, upload(folder))
    tag_published(failing(api, "create_tag", conflict(api, 409), after=True), upload(folder), commit)
    assert tags_of(client, REPO) == {"v1.0.0": commit.sha}
    with pytest.raises(ReleaseError, match="is on"):
        tag_published(client, upload(folder), Commit(sha="0" * 40))


def test_large_file_is_digested_while_it_is_sent(
    api: HfApi, client: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reading of a large file is for its digest alone: the client has it from what it sends."""
    monkeypatch.setattr("huggingface_hub.lfs.sha_fileobj", lambda file: pytest.fail(f"{file.name} is read once more"))
    publish(client, replace(upload(folder), files=(file_entry(folder, "model.safetensors"),)))
    assert "model.safetensors" in api.list_repo_files(REPO)


def test_large_file_that_was_changed(api: HfApi, client: Hub, folder: Path) -> None:
    """One byte of a large file that is another than when it was verified ends the release before its commit."""
    verified = upload(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ReleaseError, match="was changed since it was verified"):
        publish(client, verified)
    assert api.list_repo_files(REPO) == [".gitattributes"]


def test_repo_is_looked_for_before_it_is_made(api: HfApi, folder: Path) -> None:
    """A repository that is there is not created: not every token may, and the Hub counts it."""
    api.create_repo(REPO)
    publish(failing(api, "create_repo", AssertionError("created"), after=False), upload(folder))
    assert "model.safetensors" in api.list_repo_files(REPO)


def test_private_release_of_a_public_repo(api: HfApi, client: Hub, folder: Path) -> None:
    """What is private is not published to everybody, and a private repo is not opened."""
    api.create_repo(REPO)
    with pytest.raises(ReleaseError, match="everybody would see it"):
        publish(client, upload(folder, private=True))
    assert api.list_repo_files(REPO) == [".gitattributes"]
    api.update_repo_settings(REPO, private=True)
    publish(client, upload(folder, private=False))
    assert api.model_info(REPO).private


def test_secrets_are_not_published(api: HfApi, client: Hub, folder: Path) -> None:
    """A token on a card, or in a base's configuration, is told before anything is sent."""
    token = "hf_" + "".join(chr(ord("a") + number) for number in range(26)) + "ABCDEFGH"
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n\nUse {token}\n")
    with pytest.raises(ReleaseError, match=r"README\.md, line 5: a token of Hugging Face") as caught:
        publish(client, upload(folder))
    assert token not in str(caught.value)
    with pytest.raises(ReleaseError, match="a token of Hugging Face"):
        check_base(client, base(folder), sha256_of)
    assert not api.repo_exists(REPO)


# The base model


def test_base_is_published_once(api: HfApi, client: Hub, folder: Path) -> None:
    """A base that is there is left as it is, also where its card was written on since."""
    (folder / ".env").write_text("TOKEN=x")
    assert publish_base(client, base(folder), sha256_of, private=False)
    assert set(api.list_repo_files(BASE.id)) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors", "tokenizer.json"
    }  # fmt: skip
    head = api.model_info(BASE.id).sha
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# It, described\n")
    assert not publish_base(client, base(folder), sha256_of, private=False)
    assert api.model_info(BASE.id).sha == head


@pytest.mark.parametrize("step", ["preupload_lfs_files", "create_commit"])
@pytest.mark.parametrize("after", [False, True])
def test_base_that_was_begun(api: HfApi, client: Hub, folder: Path, step: str, after: bool) -> None:
    """A command that ended after the repo was made is finished by the same one: an empty repo is no base."""
    with pytest.raises(ToolError):
        publish_base(failing(api, step, conflict(api, 503), after=after), base(folder), sha256_of, private=False)
    assert api.repo_exists(BASE.id)
    publish_base(client, base(folder), sha256_of, private=False)
    assert check_base(client, base(folder), sha256_of)
    assert len(api.list_repo_commits(BASE.id)) == 2  # the Hub's own, and one of the base


@pytest.mark.parametrize("changed", ["model.safetensors", "tokenizer.json"])
def test_another_base_is_there(client: Hub, folder: Path, changed: str) -> None:
    """A base with other bytes of the same size is refused, be it a large file or a small one."""
    publish_base(client, base(folder), sha256_of, private=False)
    content = (folder / changed).read_bytes()
    (folder / changed).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(ReleaseError, match=f"{changed}: different"):
        check_base(client, base(folder), sha256_of)


def test_half_a_base_is_there(api: HfApi, client: Hub, folder: Path) -> None:
    """A base without its weights is not taken for one."""
    api.create_repo(BASE.id)
    operation = CommitOperationAdd("config.json", folder / "config.json")
    api.create_commit(BASE.id, [operation], commit_message="half")
    with pytest.raises(ReleaseError, match=r"model\.safetensors, tokenizer\.json: not there"):
        check_base(client, base(folder), sha256_of)


def test_base_that_nobody_can_fetch(api: HfApi, client: Hub, folder: Path) -> None:
    """An adapter's base has to be on the Hub, whole, and as open as the adapter is."""
    assert why_not_fetchable(client, BASE, private=False) == "there is no acme/base on the Hub"
    api.create_repo(BASE.id)
    assert why_not_fetchable(client, BASE, private=False) == "the repo acme/base is empty"
    publish_base(client, base(folder), sha256_of, private=False)
    assert why_not_fetchable(client, BASE, private=False) is None
    api.update_repo_settings(BASE.id, private=True)
    assert why_not_fetchable(client, BASE, private=False) == "acme/base is private, and the release is not"
    assert why_not_fetchable(client, BASE, private=True) is None


def test_base_that_the_release_publishes(api: HfApi, client: Hub) -> None:
    """A base that is published with the release need not be there, nor be more than an empty repo."""
    published = BaseModel(id=BASE.id, publish=True)
    assert why_not_fetchable(client, published, private=False) is None
    api.create_repo(BASE.id)
    assert why_not_fetchable(client, published, private=False) is None


def test_standing(api: HfApi, client: Hub) -> None:
    """A repo that was only made, by hand with a card perhaps, is unused; one with anything else is not."""
    assert standing(client, REPO) is None
    api.create_repo(REPO)
    api.create_commit(REPO, [CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n")], commit_message="card")
    assert (found := standing(client, REPO)) is not None and found.unused
    api.create_commit(REPO, [CommitOperationAdd("model.gguf", b"x")], commit_message="model")
    assert (found := standing(client, REPO)) is not None and not found.unused


# Who may publish


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hub]]:
    """A Hub that says of a token what real ones say."""
    monkeypatch.setenv("HF_TOKEN", "hf_x")

    def hub(
        role: str = "write", *, in_organisation: str | None = None, scoped: list[dict[str, Any]] | None = None
    ) -> Hub:
        token = {"role": role, "fineGrained": {"scoped": scoped}} if scoped else {"role": role}
        orgs = [{"type": "org", "name": "acme", "roleInOrg": in_organisation}] if in_organisation else []
        user = {"name": "bob", "orgs": orgs, "auth": {"accessToken": token}}

        class Api:
            endpoint, token = "https://hub.example", "hf_x"

            def whoami(self) -> dict[str, Any]:
                return user

        return Hub(Api, embedded=False)  # type: ignore[arg-type]

    yield hub


def scope(name: str, *permissions: str) -> dict[str, Any]:
    return {"entity": {"type": "model" if "/" in name else "org", "name": name}, "permissions": list(permissions)}


@pytest.mark.parametrize("role", ["contributor", "write", "admin"])
def test_members_who_may_write(said: Callable[..., Hub], role: str) -> None:
    check_access(said(in_organisation=role), {REPO: False})


def test_member_who_may_only_read(said: Callable[..., Hub]) -> None:
    """A role in the organisation counts as much as the token's."""
    with pytest.raises(ReleaseError, match=r"bob is a member of acme .* who may only read"):
        check_access(said(in_organisation="read"), {REPO: False})


def test_token_for_one_repo(said: Callable[..., Hub]) -> None:
    """A token for one repo publishes to it where it is there, whoever's namespace it is, and to no other."""
    hub = said("fineGrained", scoped=[scope(REPO, "repo.content.read", "repo.write")])
    check_access(hub, {REPO: True})
    with pytest.raises(ReleaseError, match="alone, which is not on"):
        check_access(hub, {REPO: False})
    with pytest.raises(ReleaseError, match="may not publish under 'acme'"):
        check_access(hub, {"acme/other": True})


def test_fine_grained_token(said: Callable[..., Hub]) -> None:
    """A fine-grained token needs the right to write to the namespace."""
    check_access(said("fineGrained", in_organisation="write", scoped=[scope("acme", "repo.write")]), {REPO: False})
    with pytest.raises(ReleaseError, match="cannot write to acme"):
        check_access(said("fineGrained", in_organisation="write", scoped=[scope("acme", "repo.read")]), {REPO: False})


def test_answer_that_is_none_of_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a proxy says in place of the Hub is told, not taken for a user."""
    monkeypatch.setenv("HF_TOKEN", "hf_x")

    class Api:
        endpoint, token = "https://hub.example", "hf_x"

        def whoami(self) -> object:
            return None

    with pytest.raises(ToolError, match="says of the token could not be read: None"):
        check_access(Hub(Api, embedded=False), {REPO: False})  # type: ignore[arg-type]
