"""The file of users, organizations and tokens that `invoke hub --auth` takes; docs/hub.md describes it."""

import importlib.util
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tagship.hub_server.directory import (
    MEMBER_ROLES,
    Directory,
    Organization,
    Publisher,
    Right,
    Role,
    Scope,
    Token,
    User,
    token_digest,
)
from tagship.hub_server.name_rules import repo_name_problem
from tagship.system.errors import UsageError

_ROLES = {"read": Role.READ, "write": Role.WRITE, "fine-grained": Role.FINE_GRAINED}
_RIGHTS = {right.value: right for right in Right}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REMEDY = 'docs/hub.md, under "Users and tokens", has an example'


def read_directory(path: Path) -> Directory:
    """The users, organizations and tokens in a TOML file. Raises UsageError, which names the key."""
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}", remedy="--auth takes a TOML file of users and tokens") from error
    try:
        return _directory(data, path.parent)
    except _Mistake as mistake:
        raise UsageError(f"{path}: {mistake}", remedy=_REMEDY) from mistake


class _Mistake(Exception):
    """What is wrong, with the key."""


def _directory(data: Mapping[str, Any], folder: Path) -> Directory:
    _only(data, "", ("users", "organizations", "tokens", "publishers", "names"))
    users = {name: _user(name, table) for name, table in _tables(data, "users")}
    organizations = {name: _organization(name, table, users) for name, table in _tables(data, "organizations")}
    if not users:
        raise _Mistake("there is no [users.NAME]")
    spelled = [name.lower() for name in (*users, *organizations)]
    if twice := {name for name in spelled if spelled.count(name) > 1}:
        raise _Mistake(f"{min(twice)!r} is there twice; users and organizations share their names, in any case")
    tokens: dict[str, Token] = {}
    for where, table in _numbered(data, "tokens"):
        digest, token = _token(where, table, users)
        if digest in tokens:
            raise _Mistake(f"{where} is the same token as one before")
        tokens[digest] = token
    names = data.get("names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _Mistake("names must be a list of host names")
    publishers = tuple(_publisher(where, table, folder) for where, table in _numbered(data, "publishers"))
    return Directory(
        users=users, organizations=organizations, tokens=tokens, publishers=publishers, names=frozenset(names)
    )


def _numbered(data: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables of a list, each with what messages call it."""
    listed = data.get(key, [])
    for number, table in enumerate(listed if isinstance(listed, list) else [listed], start=1):
        if not isinstance(table, dict):
            raise _Mistake(f"{key}[{number}] must be a table, [[{key}]]")
        yield f"{key}[{number}]", table


def _tables(data: Mapping[str, Any], key: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    found = data.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        raise _Mistake(f"{key} must be tables, [{key}.NAME]")
    for name in found:
        if problem := repo_name_problem(name):
            raise _Mistake(f"{key}.{name} {problem}")
    return found.items()


def _only(table: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> None:
    if unknown := [key for key in table if key not in keys]:
        raise _Mistake(f"{where}{unknown[0]} is not known; there is {', '.join(keys)}")


def _text(table: Mapping[str, Any], where: str, key: str, default: str | None = None) -> str | None:
    value = table.get(key, default)
    if value is not None and not isinstance(value, str):
        raise _Mistake(f"{where}.{key} must be a text, and is {value!r}")
    return value


def _flag(table: Mapping[str, Any], where: str, key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _Mistake(f"{where}.{key} must be true or false, and is {value!r}")
    return value


def _user(name: str, table: Mapping[str, Any]) -> User:
    where = f"users.{name}"
    _only(table, f"{where}.", ("fullname", "email", "operator"))
    return User(
        name=name,
        fullname=_text(table, where, "fullname") or name,
        email=_text(table, where, "email"),
        operator=_flag(table, where, "operator"),
    )


def _organization(name: str, table: Mapping[str, Any], users: Mapping[str, User]) -> Organization:
    where = f"organizations.{name}"
    _only(table, f"{where}.", ("fullname", "members", "private"))
    members = table.get("members", {})
    if not isinstance(members, dict):
        raise _Mistake(f"{where}.members must be a table of user and role")
    for user, role in members.items():
        if user not in users:
            raise _Mistake(f"{where}.members.{user} is no user of this file")
        if role not in MEMBER_ROLES:
            raise _Mistake(f"{where}.members.{user} must be one of {', '.join(MEMBER_ROLES)}, and is {role!r}")
    fullname = _text(table, where, "fullname") or name
    return Organization(name=name, fullname=fullname, members=members, private=_flag(table, where, "private"))


def _token(where: str, table: Mapping[str, Any], users: Mapping[str, User]) -> tuple[str, Token]:
    """The token's digest, and what it allows."""
    _only(table, f"{where}.", ("user", "name", "role", "scopes", "token", "sha256", "env"))
    user, role = table.get("user"), table.get("role")
    if not isinstance(user, str) or user not in users:
        raise _Mistake(f"{where}.user must be a user of this file, and is {user!r}")
    if role not in _ROLES:
        raise _Mistake(f"{where}.role must be one of {', '.join(_ROLES)}, and is {role!r}")
    scopes = tuple(_scope(f"{where}.scopes", item) for item in table.get("scopes", []))
    if bool(scopes) != (_ROLES[role] is Role.FINE_GRAINED):
        raise _Mistake(f"{where}: a fine-grained token has scopes, and no other has")
    name = _text(table, where, "name") or str(user)
    return _digest(where, table), Token(user=user, name=name, role=_ROLES[role], scopes=scopes)


def _digest(where: str, table: Mapping[str, Any]) -> str:
    ways = [key for key in ("token", "sha256", "env") if key in table]
    if len(ways) != 1:
        raise _Mistake(f"{where} must have one of token, sha256 and env")
    value = _text(table, where, ways[0]) or ""
    if ways[0] == "sha256":
        if not _DIGEST.fullmatch(value):
            raise _Mistake(f"{where}.sha256 must be 64 hexadecimal digits, as sha256sum prints them")
        return value
    text = os.environ.get(value, "") if ways[0] == "env" else value
    if not text:
        raise _Mistake(f"{where}.{ways[0]} is empty" if ways[0] == "token" else f"{where}.env: {value} is not set")
    return token_digest(text)


def _scope(where: str, item: Any) -> Scope:
    on, may = (item.get("on"), item.get("may")) if isinstance(item, dict) else (None, None)
    if not isinstance(on, str) or on.count("/") > 1 or any(repo_name_problem(part) for part in on.split("/")):
        raise _Mistake(f"{where}: on must be a namespace or the id of a repository, and is {on!r}")
    if may not in _RIGHTS:
        raise _Mistake(f"{where}: may must be one of {', '.join(_RIGHTS)}, and is {may!r}")
    return Scope(on=on, right=_RIGHTS[may])


def _publisher(where: str, table: Mapping[str, Any], folder: Path) -> Publisher:
    _only(table, f"{where}.", ("repo", "issuer", "claims", "read_only", "keys"))
    repo_id, issuer, claims = table.get("repo"), table.get("issuer"), table.get("claims")
    if not isinstance(repo_id, str) or repo_id.count("/") != 1 or any(map(repo_name_problem, repo_id.split("/"))):
        raise _Mistake(f"{where}.repo must be the id of a model, namespace/name, and is {repo_id!r}")
    keys = _text(table, where, "keys")
    if not isinstance(issuer, str) or not issuer.startswith("https://" if keys is None else ("https://", "http://")):
        raise _Mistake(f"{where}.issuer must be the https:// address of who signs identities, and is {issuer!r}")
    if not isinstance(claims, dict) or not claims or not all(isinstance(value, str) for value in claims.values()):
        # An issuer signs for everybody who has an account there.
        raise _Mistake(f'{where}.claims must say which jobs are trusted, such as {{ repository = "acme/models" }}')
    if importlib.util.find_spec("jwt") is None or importlib.util.find_spec("cryptography") is None:
        raise _Mistake(
            f"{where}: identities are checked by PyJWT and cryptography, which are not here; the extra hub brings them"
        )
    found = folder / keys if keys is not None else None
    if found is not None and not found.is_file():
        raise _Mistake(f"{where}.keys: there is no file {found}")
    read_only = _flag(table, where, "read_only")
    return Publisher(repo_id=repo_id, issuer=issuer, claims=claims, read_only=read_only, keys=found)
