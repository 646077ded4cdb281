"""The file of users and tokens."""

from pathlib import Path

import pytest
from tagship.hub_server.directory import Right, token_digest
from tagship.hub_server.directory_file import read_directory
from tagship.system.errors import UsageError

GOOD = """
names = ["hub.example.org"]
[users.alice]
fullname = "Alice A."
operator = true
[users.bob]
[organizations.acme]
private = true
members = { bob = "read" }
[[tokens]]
user = "alice"
role = "write"
token = "hf_alice"
[[tokens]]
user = "bob"
role = "fine-grained"
env = "BOBS_TOKEN"
scopes = [{ on = "acme/model", may = "write" }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "users.toml"
    path.write_text(text)
    return path


def test_users_and_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are found by their digest, wherever their text is."""
    monkeypatch.setenv("BOBS_TOKEN", "hf_bob")
    directory = read_directory(write(tmp_path, GOOD))
    assert directory.users["alice"].fullname == "Alice A."
    assert directory.tokens[token_digest("hf_alice")].user == "alice"
    token = directory.tokens[token_digest("hf_bob")]
    assert token.allows("acme/Model", Right.WRITE)
    assert not token.allows("acme/model-2", Right.READ)
    assert directory.membership(directory.users["bob"], "acme") == "read"
    assert directory.membership(directory.users["alice"], "acme") == "admin"
    assert directory.names == {"hub.example.org"}
    assert directory.everybody is None
    digest = read_directory(
        write(tmp_path, GOOD.replace('token = "hf_alice"', f'sha256 = "{token_digest("hf_alice")}"'))
    )
    assert digest == directory


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("[organizations.acme]", "[organizations.Bob]", "'bob' is there twice"),
        ("[users.bob]", '[users.bob]\nnick = "b"', "users.bob.nick is not known"),
        ("[users.bob]", "[users.'b b']", "users.b b may only have letters"),
        ('bob = "read"', 'bob = "owner"', "organizations.acme.members.bob must be one of admin"),
        ('bob = "read"', 'eve = "read"', "organizations.acme.members.eve is no user"),
        ('user = "alice"', 'user = "eve"', r"tokens\[1\].user must be a user of this file"),
        ('role = "write"', 'role = "admin"', r"tokens\[1\].role must be one of read, write, fine-grained"),
        ('token = "hf_alice"', "", r"tokens\[1\] must have one of token, sha256 and env"),
        ('token = "hf_alice"', 'sha256 = "hf_alice"', "must be 64 hexadecimal digits"),
        ('token = "hf_alice"', 'token = "hf_bob"', r"tokens\[2\] is the same token"),
        ('may = "write"', 'may = "all"', "may must be one of read, write, discuss"),
        ('on = "acme/model"', 'on = "a/b/c"', "on must be a namespace or the id of a repository"),
        ("scopes = [", "scopes = []\nx = [", "x is not known"),
        ("BOBS_TOKEN", "NOBODYS_TOKEN", "NOBODYS_TOKEN is not set"),
        ("[[tokens]]", "[[tokens", "Expected"),
        ('names = ["hub.example.org"]', "names = 3", "names must be a list"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, problem: str) -> None:
    """Each names the key and says what there may be."""
    monkeypatch.setenv("BOBS_TOKEN", "hf_bob")
    monkeypatch.delenv("NOBODYS_TOKEN", raising=False)
    assert before in GOOD
    with pytest.raises(UsageError, match=problem):
        read_directory(write(tmp_path, GOOD.replace(before, after, 1)))


def test_no_file(tmp_path: Path) -> None:
    """A file that isn't there is a mistake of the command line."""
    with pytest.raises(UsageError, match="No such file"):
        read_directory(tmp_path / "users.toml")
