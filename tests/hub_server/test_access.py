"""Users, organizations, tokens: who may do what on a Hub that several people use."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import UsageError

from tests.hub_server.asking import ask, ask_json
from tests.hub_server.team import TEAM, Api, api_of

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[EmbeddedHub]:
    with EmbeddedHub(root=tmp_path / "hub", directory=TEAM) as running:
        yield running


@pytest.fixture
def api(hub: EmbeddedHub) -> Api:
    return api_of(hub)


def upload(api: HfApi, path: str = "a.txt", data: bytes = b"a", repo: str = REPO, **options: bool | str) -> None:
    api.create_commit(repo, [CommitOperationAdd(path, data)], commit_message="files", **options)  # type: ignore[arg-type]


class TestWhoami:
    def test_user(self, api: Api) -> None:
        """The client learns its user's organizations, with the role in each, and what kind of token it has."""
        found = api("bob").whoami()
        assert (found["name"], found["fullname"], found["email"]) == ("bob", "Bob", "bob@example.org")
        assert [(org["name"], org["roleInOrg"]) for org in found["orgs"]] == [("acme", "read")]
        assert found["auth"]["accessToken"]["role"] == "write"

    def test_fine_grained(self, api: Api) -> None:
        """A fine-grained token says what it is for, in the Hub's words."""
        token = api("alice-one-repo").whoami()["auth"]["accessToken"]
        assert token["role"] == "fineGrained"
        (scope,) = token["fineGrained"]["scoped"]
        assert scope["entity"] == {"type": "model", "name": "acme/model"}
        assert "repo.write" in scope["permissions"]

    def test_overviews(self, api: Api) -> None:
        """Users and organizations are shown with what the caller may see of theirs."""
        api("alice").create_repo(REPO)
        api("alice").create_repo("acme/hidden", private=True)
        assert api("alice").get_organization_overview("ACME").num_models == 2
        assert api("carol").get_organization_overview("acme").num_models == 1
        assert [member.username for member in api("").list_organization_members("acme")] == ["alice", "bob"]
        assert [org.name for org in api("").get_user_overview("bob").orgs] == ["acme"]
        with pytest.raises(HfHubHTTPError, match="404"):
            api("").get_user_overview("nobody")


class TestWriting:
    def test_members_write(self, api: Api) -> None:
        """Who may write to an organization may make, change and delete; who may only read may not, nor strangers."""
        api("alice").create_repo(REPO)
        upload(api("alice"))
        for name in ("bob", "carol"):
            with pytest.raises(HfHubHTTPError, match="403"):
                api(name).create_repo("acme/other")
            other = api(name)
            changes: list[tuple[Callable[..., object], tuple[str, ...], dict[str, object]]] = [
                (upload, (), {"api": other}),
                (other.delete_repo, (REPO,), {}),
                (other.move_repo, (REPO, f"{name}/taken"), {}),
                (other.update_repo_settings, (REPO,), {"private": True}),
                (other.create_tag, (REPO,), {"tag": "v1"}),
                (other.super_squash_history, (REPO,), {}),
            ]
            for change, arguments, options in changes:
                with pytest.raises(HfHubHTTPError, match="403"):
                    change(*arguments, **options)
        assert len(api("").list_repo_commits(REPO)) == 2

    def test_own_namespace(self, api: Api) -> None:
        """A name without a namespace is the user's own, in whatever case the namespace is given."""
        assert api("carol").create_repo("model").repo_id == "carol/model"
        assert api("carol").create_repo("Carol/second").repo_id == "carol/second"

    def test_existing(self, api: Api, hub: EmbeddedHub, monkeypatch: pytest.MonkeyPatch) -> None:
        """`exist_ok` is fine for a repository that one may not have made."""
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # where the client looks for it then
        api("alice").create_repo(REPO)
        assert api("carol").create_repo(REPO, exist_ok=True).repo_id == REPO

    def test_organization_decides(self, api: Api) -> None:
        """An organization's repositories are private if it says so; a contributor changes their own only."""
        api("alice").create_repo("secret/model")
        assert api("alice").model_info("secret/model").private
        upload(api("alice"), repo="secret/model")
        api("alice").update_repo_settings("secret/model", private=False)
        assert not api("").model_info("secret/model").private

    def test_tokens(self, api: Api, hub: EmbeddedHub) -> None:
        """A token that only reads, or is for another repository, lets its user do no more than that."""
        api("alice").create_repo(REPO)
        api("alice").create_repo("acme/other")
        upload(api("alice-one-repo"))
        for token, repo in (("alice-reads", REPO), ("alice-one-repo", "acme/other")):
            with pytest.raises(HfHubHTTPError, match="403"):
                upload(api(token), repo=repo)
        with pytest.raises(HfHubHTTPError, match="403"):
            api("alice-one-repo").create_repo("acme/third")
        assert ask(hub, "/api/whoami-v2", token="stolen")[0] == 401


class TestPrivate:
    def test_hidden(self, api: Api, hub: EmbeddedHub) -> None:
        """A private repository is not there for those outside of its namespace, by any address."""
        api("alice").create_repo("acme/hidden", private=True)
        upload(api("alice"), repo="acme/hidden")
        assert api("bob").model_info("acme/hidden").private
        assert "acme/hidden" in [model.id for model in api("bob").list_models()]
        for name in ("carol", "", "alice-one-repo"):
            with pytest.raises(RepositoryNotFoundError):
                api(name).model_info("acme/hidden")
            assert list(api(name).list_models()) == []
            for path in ("resolve/main/a.txt", "tree/main", "blob/main/a.txt", "commits/main", "discussions"):
                assert ask(hub, f"/acme/hidden/{path}", token=name)[0] == 404, path
            assert b"acme/hidden" not in ask(hub, "/", token=name)[2]
        with pytest.raises(RepositoryNotFoundError):
            api("carol").delete_repo("acme/hidden")


class TestGated:
    @pytest.fixture(autouse=True)
    def gated(self, api: Api) -> None:
        api("alice").create_repo(REPO)
        upload(api("alice"), "w.bin", b"\0" * 2000)
        api("alice").update_repo_settings(REPO, gated="manual")

    def test_files_are_kept_back(self, api: Api, hub: EmbeddedHub, tmp_path: Path) -> None:
        """Everybody sees what there is; the files, and by what they could be found, are for those who were let in."""
        assert api("carol").model_info(REPO).gated == "manual"
        for name in ("carol", ""):
            with pytest.raises(GatedRepoError):
                api(name).hf_hub_download(REPO, "w.bin", cache_dir=tmp_path)
            with pytest.raises(GatedRepoError):
                api(name).auth_check(REPO)
            (file,) = api(name).get_paths_info(REPO, ["w.bin"])
            assert (file.size, file.lfs, file.xet_hash) == (2000, None, None)
            (sibling,) = [
                s for s in api(name).model_info(REPO, files_metadata=True).siblings or [] if s.rfilename == "w.bin"
            ]
            assert (sibling.size, sibling.lfs) == (2000, None)
            assert ask(hub, f"/{REPO}/raw/main/w.bin", token=name)[0] in (401, 403)
            assert ask(hub, f"/{REPO}.git/info/refs?service=git-upload-pack", token=name)[0] in (401, 403)
            assert ask(hub, f"/api/models/{REPO}/xet-read-token/main", token=name)[0] in (401, 403)
        assert Path(api("bob").hf_hub_download(REPO, "w.bin", cache_dir=tmp_path)).stat().st_size == 2000

    def test_asking(self, api: Api, hub: EmbeddedHub, tmp_path: Path) -> None:
        """Who asks waits until somebody of the namespace lets them in, and is out again when that is taken back."""
        assert ask(hub, f"/{REPO}/ask-access", method="POST", token="carol")[0] == 200
        assert api("carol").repo_exists(REPO)
        (pending,) = api("alice").list_pending_access_requests(REPO)
        assert (pending.username, pending.email) == ("carol", "carol@example.org")
        with pytest.raises(GatedRepoError):
            api("carol").auth_check(REPO)
        with pytest.raises(HfHubHTTPError, match="403"):
            api("bob").accept_access_request(REPO, "carol")
        api("alice").accept_access_request(REPO, request_id=pending.request_id)
        api("carol").hf_hub_download(REPO, "w.bin", cache_dir=tmp_path)
        api("alice").reject_access_request(REPO, "carol", rejection_reason="left")
        with pytest.raises(GatedRepoError):
            api("carol").auth_check(REPO)
        assert [request.username for request in api("alice").list_rejected_access_requests(REPO)] == ["carol"]

    def test_granting(self, api: Api) -> None:
        """Somebody can be let in without asking, once, if there is such a user."""
        api("alice").grant_access(REPO, "carol")
        api("carol").auth_check(REPO)
        with pytest.raises(BadRequestError, match="already has access"):
            api("alice").grant_access(REPO, "carol")
        with pytest.raises(HfHubHTTPError, match="404"):
            api("alice").grant_access(REPO, "nobody")

    def test_at_once(self, api: Api, hub: EmbeddedHub) -> None:
        """Where access is given automatically, to ask is enough."""
        api("alice").update_repo_settings(REPO, gated="auto")
        ask(hub, f"/{REPO}/ask-access", method="POST", token="carol")
        api("carol").auth_check(REPO)


class TestHosts:
    def test_loopback_only_without_tokens(self, tmp_path: Path) -> None:
        """A Hub where everybody may do everything is for this machine."""
        with pytest.raises(UsageError, match="loopback only") as caught:
            EmbeddedHub(root=tmp_path / "open", host="0.0.0.0")
        assert "--auth" in str(caught.value.remedy)

    def test_names(self, tmp_path: Path) -> None:
        """With tokens it is reached under addresses and its own names, and under no other."""
        directory = TEAM.__class__(users=TEAM.users, tokens=TEAM.tokens, names=frozenset({"hub.example.org"}))
        with EmbeddedHub(root=tmp_path / "team", host="127.0.0.2", directory=directory) as hub:
            for host, status in (
                ("127.0.0.2", 200),
                ("Hub.example.org:443", 200),
                ("10.1.2.3", 200),
                ("evil.example", 403),
            ):
                assert ask(hub, "/", Host=host)[0] == status, host

    def test_own_names_only_on_loopback(self, hub: EmbeddedHub) -> None:
        """On loopback, no other machine's address is taken for this one's."""
        assert ask(hub, "/", Host="10.1.2.3")[0] == 403


class TestSettings:
    def test_repositories(self, api: Api, hub: EmbeddedHub) -> None:
        """A user lists what is theirs, and an organization's members what is its, with the room it takes."""
        api("alice").create_repo(REPO)
        api("alice").create_repo("acme/data", repo_type="dataset")
        api("alice").create_repo("mine", private=True)
        upload(api("alice"), "w.bin", b"\0" * 5000)
        found = {repo.id: repo for repo in api("bob").list_user_repos(namespace="acme")}
        assert {name: repo.type for name, repo in found.items()} == {REPO: "model", "acme/data": "dataset"}
        assert found[REPO].storage > 5000
        assert [repo.visibility for repo in api("alice").list_user_repos()] == ["private"]
        with pytest.raises(HfHubHTTPError, match="403"):
            list(api("carol").list_user_repos(namespace="acme"))

    def test_likes(self, api: Api, hub: EmbeddedHub) -> None:
        """A like counts once, is listed with the repository and the user, and can be taken back."""
        api("alice").create_repo(REPO)
        for _ in range(2):
            assert ask(hub, f"/api/models/{REPO}/like", method="POST", token="carol")[0] == 200
        assert [user.username for user in api("").list_repo_likers(REPO)] == ["carol"]
        assert api("carol").list_liked_repos().models == [REPO]
        assert api("").model_info(REPO).likes == 1
        assert ask_json(hub, "/api/models?sort=likes")[0]["likes"] == 1
        api("carol").unlike(REPO)
        assert list(api("").list_repo_likers(REPO)) == []
