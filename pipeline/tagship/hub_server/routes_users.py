"""Users and organizations: who am I, who is that, what is theirs, what they like."""

import time
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tagship.hub_server.access import Access
from tagship.hub_server.backend import backend, param
from tagship.hub_server.directory import Organization, Right, Role, Token, User
from tagship.hub_server.history import commits, resolve, tree
from tagship.hub_server.kinds import API, Kind
from tagship.hub_server.problem import HubProblem
from tagship.hub_server.receiving import changing
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo, unless_gone
from tagship.hub_server.times import timestamp

# What the Hub calls the rights of fine-grained tokens.
_PERMISSIONS = {
    Right.READ: ["repo.content.read"],
    Right.WRITE: ["repo.content.read", "repo.write", "discussion.write"],
    Right.DISCUSS: ["discussion.write"],
}


def _token_json(access: Access, token: Token) -> dict[str, Any]:
    shape: dict[str, Any] = {"displayName": token.name, "role": token.role.value, "createdAt": timestamp(0)}
    if token.role is Role.FINE_GRAINED:
        scoped = [
            {"entity": {"type": _entity(access, scope.on), "name": scope.on}, "permissions": _PERMISSIONS[scope.right]}
            for scope in token.scopes
        ]
        shape["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
    return shape


def _entity(access: Access, on: str) -> str:
    """What a scope is about, as the Hub calls it."""
    if "/" in on:
        return "model"
    return "org" if access.organization(on) else "user"


def _organization_json(organization: Organization) -> dict[str, Any]:
    return {"type": "org", "name": organization.name, "fullname": organization.fullname, "avatarUrl": ""}


def whoami(request: Request) -> Response:
    """GET /api/whoami-v2."""
    access = backend(request).access
    caller = access.require(request)
    if caller.token.exchanged:
        raise HubProblem(403, "Forbidden: the token of a job is for its repository, and nobody's")
    orgs = [
        {
            **_organization_json(found),
            "isEnterprise": False,
            "canPay": False,
            "roleInOrg": found.members[caller.user.name],
        }
        for found in access.directory.organizations_of(caller.user)
    ]
    email = {"email": caller.user.email, "emailVerified": True} if caller.user.email else {}
    shape = {"type": "user", "id": caller.user.name, "name": caller.user.name, "fullname": caller.user.fullname}
    auth = {"type": "access_token", "accessToken": _token_json(access, caller.token)}
    return JSONResponse({**shape, **email, "isPro": False, "canPay": False, "orgs": orgs, "auth": auth})


def _seen(request: Request, repos: Iterable[Repo]) -> list[Repo]:
    access = backend(request).access
    caller = access.caller(request)
    return [repo for repo in repos if unless_gone(repo, lambda repo: access.may(caller, repo, Right.READ))]


def _counts(request: Request, namespace: str) -> dict[str, int]:
    stores = backend(request).stores
    return {
        f"num{kind.plural.capitalize()}": len(_seen(request, stores[kind].of_namespace(namespace))) for kind in Kind
    } | {"numSpaces": 0, "numFollowers": 0, "numPapers": 0}


def _user(request: Request) -> User:
    directory = backend(request).access.directory
    name = param(request, "user")
    user = directory.users.get(directory.canonical(name))
    if user is None:
        raise HubProblem(404, f"User {name!r} not found")
    return user


def _organization(request: Request) -> Organization:
    access = backend(request).access
    name = param(request, "organization")
    organization = access.organization(access.directory.canonical(name))
    if organization is None:
        raise HubProblem(404, f"Organization {name!r} not found")
    return organization


def user_overview(request: Request) -> Response:
    """GET /api/users/{user}/overview."""
    user = _user(request)
    orgs = [_organization_json(found) for found in backend(request).access.directory.organizations_of(user)]
    shape = {
        "user": user.name,
        "fullname": user.fullname,
        "type": "user",
        "avatarUrl": "",
        "isPro": False,
        "orgs": orgs,
    }
    likes = {"numLikes": len(_likes(request, user.name)), "numUpvotes": 0, "numFollowing": 0, "numDiscussions": 0}
    return JSONResponse({**shape, **_counts(request, user.name), **likes})


def organization_overview(request: Request) -> Response:
    """GET /api/organizations/{organization}/overview."""
    organization = _organization(request)
    members = {"numUsers": len(organization.members), "isVerified": False}
    return JSONResponse({**_organization_json(organization), **members, **_counts(request, organization.name)})


def members(request: Request) -> Response:
    """GET /api/organizations/{organization}/members."""
    users, organization = backend(request).access.directory.users, _organization(request)
    return JSONResponse(
        [
            {"user": name, "fullname": users[name].fullname, "avatarUrl": "", "type": "user", "role": role}
            for name, role in organization.members.items()
        ]
    )


def nobody(request: Request) -> Response:
    """GET followers and following: here nobody follows anybody."""
    _organization(request) if "organization" in request.path_params else _user(request)
    return JSONResponse([])


def _storage(repo: Repo) -> dict[str, Any]:
    head = resolve(repo, DEFAULT_BRANCH)
    return {
        "id": repo.id,
        "type": repo.kind.value,
        "visibility": "private" if repo.private else "public",
        "storage": sum(entry.size for entry in tree(repo, head, recursive=True)),
        "updatedAt": timestamp(commits(repo, head, limit=1)[0].time),
    }


def settings_repositories(request: Request) -> Response:
    """GET /api/settings/repositories and /api/organizations/{organization}/settings/repositories."""
    hub = backend(request)
    caller = hub.access.require(request)
    namespace = _organization(request).name if "organization" in request.path_params else caller.user.name
    if hub.access.directory.membership(caller.user, namespace) is None:
        raise HubProblem(403, f"Forbidden: you are not a member of {namespace}")
    owned = [repo for store in hub.stores.values() for repo in store.of_namespace(namespace)]
    return JSONResponse([shape for repo in _seen(request, owned) if (shape := unless_gone(repo, _storage))])


def _likes(request: Request, user: str) -> list[dict[str, Any]]:
    found = [(repo, repo.record("likes").read()) for repo in _seen(request, backend(request).repos())]
    return [
        {"createdAt": timestamp(likes[user]), "repo": {"name": repo.id, "type": repo.kind.value}}
        for repo, likes in found
        if user in likes
    ]


def liked(request: Request) -> Response:
    """GET /api/users/{user}/likes."""
    return JSONResponse(_likes(request, _user(request).name))


def like(request: Request) -> Response:
    """POST and DELETE /api/models/{id}/like."""
    hub = backend(request)
    caller, repo = hub.access.require(request), hub.readable(request)
    with repo.change_record("likes") as likes:
        if request.method == "POST":
            likes.setdefault(caller.user.name, int(time.time()))
        else:
            likes.pop(caller.user.name, None)
    return JSONResponse({"likes": len(likes)})


def likers(request: Request) -> Response:
    """GET /api/models/{id}/likers."""
    hub = backend(request)
    users = hub.access.directory.users
    names = hub.readable(request).record("likes").read()
    known = [users[name] for name in names if name in users]
    return JSONResponse([{"user": user.name, "fullname": user.fullname, "avatarUrl": ""} for user in known])


_USER = "/api/users/{user}"
_ORGANIZATION = "/api/organizations/{organization}"

routes = [
    Route("/api/whoami-v2", whoami),
    Route("/api/settings/repositories", settings_repositories),
    Route(_USER + "/overview", user_overview),
    Route(_USER + "/likes", liked),
    Route(_USER + "/followers", nobody),
    Route(_USER + "/following", nobody),
    Route(_ORGANIZATION + "/overview", organization_overview),
    Route(_ORGANIZATION + "/members", members),
    Route(_ORGANIZATION + "/followers", nobody),
    Route(_ORGANIZATION + "/settings/repositories", settings_repositories),
    Route(API + "/like", changing(like), methods=["POST", "DELETE"]),
    Route(API + "/likers", likers),
]
