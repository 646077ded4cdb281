"""Pages of a repository: its folders, files, commits, discussions."""

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tagship.hub_server import discussions as kept
from tagship.hub_server import pull_requests
from tagship.hub_server.backend import backend, param
from tagship.hub_server.cards import BadCard, body_of, metadata, tags
from tagship.hub_server.history import commits, entries_at, file_at, file_bytes, refs, resolve, tag_message, tree
from tagship.hub_server.kinds import WEB
from tagship.hub_server.markdown import rendered
from tagship.hub_server.names import check_path
from tagship.hub_server.pages import html_page, path_in_url, revision_in_url
from tagship.hub_server.repos import DEFAULT_BRANCH, Repo

_MOST_ENTRIES = 1000
_MOST_COMMITS = 100
_TEXT_BYTES = 500_000
_DIFF_BYTES = 300_000


def _at(request: Request) -> str:
    return revision_in_url(param(request, "revision")) if "revision" in request.path_params else DEFAULT_BRANCH


def _page(request: Request, template: str, repo: Repo, title: str, **values: Any) -> Response:
    return html_page(request, template, title=f"{title} · {repo.id}", repo=repo, **{"at": _at(request), **values})


def _card(request: Request, repo: Repo, commit: str, folder: str) -> tuple[str, dict[str, Any]]:
    """The README.md of a folder as HTML, and its metadata."""
    path = f"{folder}/README.md" if folder else "README.md"
    found = [entry for entry in entries_at(repo, commit, [path]) if not entry.is_folder and not entry.pointer]
    if not found or not backend(request).may_open(request, repo):
        return "", {}
    text = file_bytes(repo, found[0]).decode(errors="replace")
    try:
        data = metadata(text)
    except BadCard:
        data = {}
    return rendered(body_of(text), base=f"{repo.page}/resolve/{commit}/{path_in_url(folder)}".rstrip("/")), data


def folder(request: Request) -> Response:
    """GET /{id}, /{id}/tree/{revision} and /{id}/tree/{revision}/{path}: files, and the card below them."""
    repo = backend(request).readable(request)
    revision = param(request, "revision") if "revision" in request.path_params else DEFAULT_BRANCH
    path = param(request, "path").strip("/") if "path" in request.path_params else ""
    commit = resolve(repo, revision)
    entries = sorted(tree(repo, commit, check_path(path) if path else ""), key=lambda entry: not entry.is_folder)
    card, data = _card(request, repo, commit, path)
    return _page(
        request,
        "repo.html",
        repo,
        path or revision,
        revision=revision,
        commit=commit,
        tag=tag_message(repo, revision),
        tags=[ref.name for ref in refs(repo, "tags")],
        branches=[ref.name for ref in refs(repo, "heads")],
        labels=tags(data, [entry.path for entry in entries]) if not path else [],
        folder=path,
        parent=f"/{path_in_url(path.rpartition('/')[0])}".rstrip("/"),
        entries=entries[:_MOST_ENTRIES],
        more=max(len(entries) - _MOST_ENTRIES, 0),
        card=card,
    )


def file(request: Request) -> Response:
    """GET /{id}/blob/{revision}/{path}: what there is to know of a file, and its text."""
    hub = backend(request)
    repo = hub.opened(request)
    commit, path = hub.revision(request, repo), check_path(param(request, "path"))
    entry = file_at(repo, commit, path)
    text = None
    if not entry.pointer and entry.size <= _TEXT_BYTES:
        data = file_bytes(repo, entry)
        text = None if b"\0" in data else data.decode(errors="replace")
    last = commits(repo, commit, limit=1, path=path)[0]
    return _page(request, "file.html", repo, path, path=path, entry=entry, text=text, last=last)


def raw(request: Request) -> Response:
    """GET /{id}/raw/{revision}/{path}: what git holds, which is the pointer of a large file."""
    hub = backend(request)
    repo = hub.opened(request)
    commit = hub.revision(request, repo)
    entry = file_at(repo, commit, check_path(param(request, "path")))
    headers = {"X-Repo-Commit": commit, "ETag": f'"{entry.oid}"', "X-Content-Type-Options": "nosniff"}
    return PlainTextResponse(file_bytes(repo, entry), headers=headers)


def history(request: Request) -> Response:
    """GET /{id}/commits/{revision}?p="""
    hub = backend(request)
    repo = hub.readable(request)
    page = request.query_params.get("p", "")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 0
    found = commits(repo, hub.revision(request, repo), limit=(number + 1) * _MOST_COMMITS + 1)
    shown = found[number * _MOST_COMMITS :]
    more = number + 1 if len(shown) > _MOST_COMMITS else 0
    return _page(request, "commits.html", repo, "Commits", commits=shown[:_MOST_COMMITS], more=more)


def commit_page(request: Request) -> Response:
    """GET /{id}/commit/{revision}: what it says, and what it changed."""
    hub = backend(request)
    repo = hub.readable(request)
    oid = hub.revision(request, repo)
    diff = ""
    if hub.may_open(request, repo):
        show = repo.git.run("show", "--no-ext-diff", "--no-textconv", "--stat", "--patch", "--format=", oid, "--")
        diff = show[:_DIFF_BYTES].decode(errors="replace")
    shown = commits(repo, oid, limit=1)[0]
    return _page(request, "commit.html", repo, shown.title, shown=shown, diff=diff)


def discussions_page(request: Request) -> Response:
    """GET /{id}/discussions."""
    repo = backend(request).readable(request)
    return _page(request, "discussions.html", repo, "Discussions", discussions=kept.discussions_of(repo))


def discussion_page(request: Request) -> Response:
    """GET /{id}/discussions/{number}."""
    hub = backend(request)
    repo = hub.readable(request)
    one = kept.discussion(repo, param(request, "number"))
    diff = pull_requests.details(repo, one)["diff"] if one["isPullRequest"] and hub.may_open(request, repo) else ""
    events = pull_requests.events(repo, one)
    return _page(request, "discussion.html", repo, one["title"], one=one, diff=diff[:_DIFF_BYTES], events=events)


routes = [
    Route(WEB, folder),
    Route(WEB + "/tree/{revision}", folder),
    Route(WEB + "/tree/{revision}/{path:path}", folder),
    Route(WEB + "/blob/{revision}/{path:path}", file),
    Route(WEB + "/raw/{revision}/{path:path}", raw),
    Route(WEB + "/commits/{revision}", history),
    Route(WEB + "/commit/{revision}", commit_page),
    Route(WEB + "/discussions", discussions_page),
    Route(WEB + "/discussions/{number}", discussion_page),
]
