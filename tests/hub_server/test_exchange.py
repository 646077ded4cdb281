"""Jobs of CI that publish without a stored token."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from msgspec.structs import replace
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.directory import Directory, Publisher
from tagship.hub_server.directory_file import read_directory
from tagship.system.errors import UsageError

from tests.hub_server.asking import ask_json, request
from tests.hub_server.issuer import CLAIMS, ISSUER, Issuer
from tests.hub_server.team import TEAM

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def directory(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Directory:
    """A team, whose repos acme/model and acme/reads trust the jobs of acme/train."""
    keys = issuer.write_keys(tmp_path_factory.mktemp("keys") / "jwks.json")
    publisher = Publisher(repo_id="acme/model", issuer=ISSUER, claims=CLAIMS, keys=keys)
    reads = replace(publisher, repo_id="acme/reads", read_only=True)
    return replace(TEAM, publishers=(publisher, reads))


@pytest.fixture(scope="module")
def hub(directory: Directory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    with EmbeddedHub(root=tmp_path_factory.mktemp("hub"), directory=directory) as hub:
        alice = HfApi(endpoint=hub.url, token="alice")
        for name in ("model", "reads", "other"):
            alice.create_repo(f"acme/{name}", private=True)
        yield hub


def exchange(hub: EmbeddedHub, identity: Any, resource: Any = "acme/model", **asked: Any) -> tuple[int, Any]:
    body = {"grant_type": GRANT, "subject_token_type": ID_TOKEN, "subject_token": identity, "resource": resource}
    headers = {"Content-Type": "application/json"}
    status, _, answer = request(hub, "POST", "/oauth/token", json.dumps(body | asked).encode(), headers)
    return status, json.loads(answer)


def token(hub: EmbeddedHub, issuer: Issuer, resource: str = "acme/model") -> str:
    status, answer = exchange(hub, issuer.identity(hub.url), resource)
    assert status == 200, answer
    assert answer["token_type"] == "bearer" and answer["expires_in"] == 3600
    return str(answer["access_token"])


def test_writes_to_the_repo_that_trusts_it(hub: EmbeddedHub, issuer: Issuer) -> None:
    """A job commits and tags, under its own name; of the repository it sees what is private, too."""
    api = HfApi(endpoint=hub.url, token=token(hub, issuer))
    api.create_commit(
        "acme/model", [CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n")], commit_message="Release"
    )
    api.create_tag("acme/model", tag="v1")
    assert api.model_info("acme/model", revision="v1").private
    assert api.list_repo_commits("acme/model")[0].authors == ["ci:acme/train"]


def test_may_do_nothing_else(hub: EmbeddedHub, issuer: Issuer) -> None:
    """No other repository, private ones not even seen; no new one, no dataset of the same name, and nobody's name."""
    api = HfApi(endpoint=hub.url, token=token(hub, issuer))
    HfApi(endpoint=hub.url, token="alice").create_repo("acme/model", repo_type="dataset", private=True, exist_ok=True)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/other")
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("acme/model")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("acme/new")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.whoami()
    api.create_tag("acme/model", tag="kept", exist_ok=True)
    for more in (
        lambda: api.delete_repo("acme/model"),
        lambda: api.move_repo("acme/model", "acme/moved"),
        lambda: api.update_repo_settings("acme/model", private=False),
        lambda: api.super_squash_history("acme/model"),
        lambda: api.delete_tag("acme/model", tag="kept"),
    ):
        with pytest.raises(HfHubHTTPError, match="403"):
            more()
    reader = HfApi(endpoint=hub.url, token=token(hub, issuer, "acme/reads"))
    assert reader.model_info("acme/reads").private
    with pytest.raises(HfHubHTTPError, match="403"):
        reader.create_tag("acme/reads", tag="v1")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"repository": "evil/train"}, "repository is 'evil/train', not 'acme/train'"),
        ({"repository": None}, "repository is None"),
        ({"aud": "https://huggingface.co"}, "Audience doesn't match"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example.org"}, "Invalid issuer"),
        ({"exp": 1_000_000}, "Signature has expired"),
        ({"exp": None}, "exp"),
        ({"nbf": int(time.time()) + 3600}, "not yet valid"),
        ({"kid": "2"}, "no key '2'"),
        ({"key": "x" * 64, "algorithm": "HS256"}, "alg value is not allowed"),
        ({"key": Issuer()._key}, "Signature verification failed"),
    ],
)
def test_identities_that_do_not_fit(hub: EmbeddedHub, issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    """Whoever signed it, for whom and when: all of it is looked at, and told."""
    audience = claims.pop("aud", hub.url) if "aud" in claims else hub.url
    status, answer = exchange(hub, issuer.identity(audience, **claims))
    assert status == 400 and answer["error"] == "invalid_grant"
    assert why.lower() in answer["error_description"].lower()


# The third is signed by nobody: alg is none.
@pytest.mark.parametrize(
    "identity", ["", "a.b.c", "eyJhbGciOiJub25lIiwia2lkIjoiMSJ9.e30.", "e30.e30.", 7, None, "é" * 20]
)
def test_what_is_no_identity(hub: EmbeddedHub, identity: Any) -> None:
    """It is a 400, whatever it is."""
    status, answer = exchange(hub, identity)
    assert status == 400 and answer["error"] in ("invalid_grant", "invalid_request")


def test_what_is_no_exchange(hub: EmbeddedHub, issuer: Issuer) -> None:
    """The standard's codes, for JSON and for forms; a form that is right is taken."""
    identity = issuer.identity(hub.url)
    assert exchange(hub, identity, grant_type="password")[1]["error"] == "unsupported_grant_type"
    assert exchange(hub, identity, subject_token_type="x")[1]["error"] == "invalid_request"
    assert (
        exchange(hub, identity, resource="acme/other")[1]["error_description"] == "acme/other has no trusted publisher"
    )
    form = {"grant_type": GRANT, "subject_token_type": ID_TOKEN, "subject_token": identity, "resource": "acme/model"}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert request(hub, "POST", "/oauth/token", urlencode(form).encode(), headers)[0] == 200
    assert request(hub, "POST", "/oauth/token", b"\xff", headers)[0] == 400
    assert request(hub, "POST", "/oauth/token", b"[1]", {"Content-Type": "application/json"})[0] == 400
    assert request(hub, "POST", "/oauth/token", b"a" * 100_000, headers)[0] == 400


def test_token_ends_with_its_publisher(hub: EmbeddedHub, issuer: Issuer, directory: Directory, tmp_path: Path) -> None:
    """A token is known to every server on the folder, until its publisher is changed; a forged one to none."""
    given = token(hub, issuer)
    root = hub._root
    with EmbeddedHub(root=root, directory=directory) as second:
        assert ask_json(second, "/api/models/acme/model", token=given)["private"]
        forged = given[:-1] + ("0" if given[-1] != "0" else "1")
        with pytest.raises(AssertionError):
            ask_json(second, "/api/models/acme/model", token=forged)
    changed = replace(directory.publishers[0], claims={**CLAIMS, "environment": "release"})
    with (
        EmbeddedHub(root=root, directory=replace(directory, publishers=(changed,))) as third,
        pytest.raises(AssertionError, match="Invalid credentials"),
    ):
        ask_json(third, "/api/models/acme/model", token=given)


class _Discovery(http.server.BaseHTTPRequestHandler):
    keys: bytes

    def do_GET(self) -> None:
        host = f"http://127.0.0.1:{self.server.server_address[1]}"
        found = {"/.well-known/openid-configuration": json.dumps({"jwks_uri": f"{host}/keys"}).encode()}
        body = found.get(self.path, self.keys)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_the_issuer_is_asked_for_its_keys(issuer: Issuer, tmp_path: Path) -> None:
    """Without a file of keys they are where the issuer's discovery document says; an issuer that is away is told."""
    _Discovery.keys = issuer.write_keys(tmp_path / "jwks.json").read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Discovery) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        publisher = Publisher(repo_id="acme/model", issuer=address, claims=CLAIMS)
        away = replace(publisher, repo_id="acme/away", issuer="http://127.0.0.1:9")
        with EmbeddedHub(root=tmp_path / "hub", directory=replace(TEAM, publishers=(publisher, away))) as hub:
            assert exchange(hub, issuer.identity(hub.url, iss=address))[0] == 200
            status, answer = exchange(hub, issuer.identity(hub.url), "acme/away")
        server.shutdown()
    assert status == 400 and "the keys of http://127.0.0.1:9 cannot be had" in answer["error_description"]


def test_publishers_in_the_file_of_users(issuer: Issuer, tmp_path: Path) -> None:
    """They are read with the file of keys beside it, and what would trust everybody is refused."""
    issuer.write_keys(tmp_path / "jwks.json")
    good = f"""
[users.alice]
[[publishers]]
repo = "acme/model"
issuer = "{ISSUER}"
claims = {{ repository = "acme/train" }}
keys = "jwks.json"
"""
    (tmp_path / "users.toml").write_text(good)
    (found,) = read_directory(tmp_path / "users.toml").publishers
    assert found == Publisher(repo_id="acme/model", issuer=ISSUER, claims=CLAIMS, keys=tmp_path / "jwks.json")
    for before, after, why in [
        ('claims = { repository = "acme/train" }', "claims = {}", "publishers[1].claims must say which jobs"),
        ('claims = { repository = "acme/train" }', "claims = { x = 1 }", "publishers[1].claims must say which jobs"),
        ('repo = "acme/model"', 'repo = "acme"', "publishers[1].repo must be the id of a model"),
        (f'issuer = "{ISSUER}"', 'issuer = "ci"', "publishers[1].issuer must be the https"),
        ("jwks.json", "none.json", "publishers[1].keys: there is no file"),
        ("claims", "claim", "publishers[1].claim is not known"),
        ("[[publishers]]", "[publishers]", None),
    ]:
        (tmp_path / "users.toml").write_text(good.replace(before, after))
        if why is None:
            assert len(read_directory(tmp_path / "users.toml").publishers) == 1
            continue
        with pytest.raises(UsageError) as raised:
            read_directory(tmp_path / "users.toml")
        assert why in str(raised.value)
