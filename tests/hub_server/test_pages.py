"""Pages for a browser, and what Markdown of strangers becomes."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from tagship.hub_server.app import EmbeddedHub
from tagship.hub_server.markdown import rendered

from tests.hub_server.asking import ask
from tests.hub_server.team import TEAM

pytestmark = pytest.mark.usefixtures("quiet_client")

REPO = "acme/model"
CARD = b"""---
license: mit
tags: [avro]
---
# Model & co

![plot](plots/loss.png) [file](config.json) [away](https://example.org)

<img src=x onerror=alert(1)>

| a | b |
|---|---|
| 1 | 2 |
"""


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token=False)
    api.create_repo(REPO)
    files = {"README.md": CARD, "sub/a <b>.txt": b"<i>text</i>", "w.bin": b"\0" * 3000}
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(REPO, operations, commit_message="<u>files</u>", commit_description="why")
    api.create_tag(REPO, tag="v1.0", tag_message="First <release>")
    return api


def page(hub: EmbeddedHub, path: str) -> str:
    status, headers, body = ask(hub, path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8"), path
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert b"<script" not in body
    return body.decode()


def test_repository(api: HfApi, hub: EmbeddedHub) -> None:
    """The page of a repository has its files, tags, labels, and the card as HTML that runs and loads nothing."""
    html = page(hub, f"/{REPO}")
    head = api.model_info(REPO).sha
    assert "<h1>Model &amp; co</h1>" in html
    assert "<table>" in html
    assert f'src="/{REPO}/resolve/{head}/plots/loss.png"' in html
    assert f'href="/{REPO}/resolve/{head}/config.json"' in html
    assert 'href="https://example.org"' in html
    assert "<img src=x" not in html
    assert f'href="/{REPO}/tree/v1.0"' in html
    assert "license:mit" in html


def test_every_page(api: HfApi, hub: EmbeddedHub) -> None:
    """Folders, files, commits, tags, discussions: each has a page that escapes what it shows."""
    head = api.model_info(REPO).sha
    assert f'href="/{REPO}"' in page(hub, "/")
    assert f'href="/{REPO}"' in page(hub, "/?search=MOD")
    assert f'href="/{REPO}"' not in page(hub, "/?search=nothing")
    assert f'href="/{REPO}"' in page(hub, "/acme")
    assert "First &lt;release&gt;" in page(hub, f"/{REPO}/tree/v1.0")
    assert "a &lt;b&gt;.txt" in page(hub, f"/{REPO}/tree/main/sub")
    assert "&lt;i&gt;text&lt;/i&gt;" in page(hub, f"/{REPO}/blob/main/sub/a%20%3Cb%3E.txt")
    assert "3,000 bytes" in page(hub, f"/{REPO}/blob/main/w.bin")
    assert "&lt;u&gt;files&lt;/u&gt;" in page(hub, f"/{REPO}/commits/main")
    assert "&lt;i&gt;text" in page(hub, f"/{REPO}/commit/{head}")
    api.create_discussion(REPO, title="<s>why</s>", description="_so_")
    api.create_commit(REPO, [CommitOperationAdd("b.txt", b"b")], commit_message="add", create_pr=True)
    assert "&lt;s&gt;why" in page(hub, f"/{REPO}/discussions")
    assert "<em>so</em>" in page(hub, f"/{REPO}/discussions/1")
    assert "+b" in page(hub, f"/{REPO}/discussions/2")
    assert "b.txt" in page(hub, f"/{REPO}/tree/refs%2Fpr%2F2")
    collection = api.create_collection("Best <of>", namespace="acme")
    api.add_collection_item(collection.slug, REPO, "model")
    assert f'href="/{REPO}"' in page(hub, f"/collections/{collection.slug}")


def test_raw(api: HfApi, hub: EmbeddedHub) -> None:
    """What git holds is to be had as plain text: of a large file, its pointer."""
    status, headers, body = ask(hub, f"/{REPO}/raw/main/w.bin")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert body.startswith(b"version https://git-lfs.github.com/spec/v1\n")
    assert ask(hub, f"/{REPO}/raw/main/missing")[0] == 404


def test_missing(api: HfApi, hub: EmbeddedHub) -> None:
    """Pages of what isn't there are not there."""
    paths = ("nobody", "acme/missing", f"{REPO}/blob/main/x", f"{REPO}/commit/main~1", f"{REPO}/discussions/7")
    for path in (*paths, f"{REPO}/tree/main/missing", "collections/acme/nothing-1"):
        assert ask(hub, f"/{path}")[0] == 404, path


def test_while_repositories_come_and_go(api: HfApi, hub: EmbeddedHub) -> None:
    """A list leaves out what is deleted while it is made."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            api.create_repo("acme/fleeting")
            api.delete_repo("acme/fleeting")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(60):
            assert f'href="/{REPO}"' in page(hub, "/")
            assert ask(hub, "/api/models?sort=likes")[0] == 200
            assert ask(hub, "/api/users/acme/overview")[0] == 200
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def team(tmp_path: Path) -> Iterator[EmbeddedHub]:
    with EmbeddedHub(root=tmp_path / "team", directory=TEAM) as running:
        yield running


def test_login(team: EmbeddedHub) -> None:
    """A browser asks for the token at /login, sends it from then on, and sees what its user may see."""
    HfApi(endpoint=team.url, token="alice").create_repo("acme/hidden", private=True)
    status, headers, _ = ask(team, "/login")
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="Hub"')
    basic = "Basic YWxpY2U6YWxpY2U="  # alice:alice
    assert ask(team, "/login", Authorization=basic)[0] == 303
    assert b"acme/hidden" in ask(team, "/", Authorization=basic)[2]
    assert ask(team, "/acme/hidden", Authorization=basic)[0] == 200
    assert b"acme/hidden" not in ask(team, "/")[2]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html,<script>)",
        "![x](vbscript:x)",
        "<a href='javascript:x'>x</a>",
        '[x](https://e.org "title\\" onclick=x")',
        "```\n<script>\n```",
        "<details open ontoggle=alert(1)>",
    ],
)
def test_markdown_is_harmless(text: str) -> None:
    """There is no tag, handler or address in the HTML that could run something."""
    html = rendered(text)
    for tag in ("<script", "<details", "<a href='"):
        assert tag not in html
    for address in ('href="javascript', 'href="data', 'src="vbscript', '" onclick'):
        assert address not in html.lower()


def test_long_markdown() -> None:
    """What would take a parser for ever is cut."""
    assert len(rendered("[" * 1_000_000)) < 1_000_000
