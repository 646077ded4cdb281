"""Runs of CI, from servers that answer as GitHub and GitLab do."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tagship.published.ci_runs import ci_runs
from tagship.system.errors import ToolError

# As https://docs.github.com/en/rest/actions/workflow-runs and https://docs.gitlab.com/api/pipelines/ have them.
GITHUB = {
    "total_count": 2,
    "workflow_runs": [
        {
            "name": "Publish",
            "head_branch": "v2.0.0",
            "event": "push",
            "status": "completed",
            "conclusion": "success",
            "run_started_at": "2026-01-02T03:04:05Z",
            "html_url": "https://github.com/acme/it/actions/runs/2",
        },
        {
            "name": "Publish",
            "head_branch": "v1.0.0",
            "event": "push",
            "status": "in_progress",
            "conclusion": None,
            "created_at": "2026-01-01T03:04:05Z",
            "html_url": "https://github.com/acme/it/actions/runs/1",
        },
    ],
}
GITLAB = [
    {
        "id": 47,
        "status": "failed",
        "ref": "model-v1.0.0",
        "created_at": "2026-01-02T03:04:05.000Z",
        "web_url": "https://gitlab.com/acme/group/it/-/pipelines/47",
    }
]


@pytest.fixture
def serve() -> Iterator[Callable[[int, Any], tuple[str, list[tuple[str, Mapping[str, str]]]]]]:
    """A function that starts a server with one answer; returns its address and what it was asked."""
    running: list[ThreadingHTTPServer] = []

    def start(code: int, answer: Any) -> tuple[str, list[tuple[str, Mapping[str, str]]]]:
        asked: list[tuple[str, Mapping[str, str]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_github(serve: Any) -> None:
    """Runs with their conclusion, or what they are at; the token is sent where there is one."""
    url, asked = serve(200, GITHUB)
    runs = ci_runs("https://github.com/acme/it", {"GITHUB_API_URL": url, "GITHUB_TOKEN": "t"}.get)
    assert [(run.tag, run.status, run.started[:10]) for run in runs] == [
        ("v2.0.0", "success", "2026-01-02"),
        ("v1.0.0", "in_progress", "2026-01-01"),
    ]
    ((path, headers),) = asked
    assert path == "/repos/acme/it/actions/runs?event=push&per_page=100"
    assert headers["authorization"] == "Bearer t"


def test_gitlab(serve: Any) -> None:
    """Pipelines of tags, of a project in a group."""
    url, asked = serve(200, GITLAB)
    (run,) = ci_runs("https://gitlab.com/acme/group/it", {"CI_API_V4_URL": url, "CI_JOB_TOKEN": "j"}.get)
    assert (run.tag, run.status, run.url) == ("model-v1.0.0", "failed", GITLAB[0]["web_url"])
    assert asked[0][0] == "/projects/acme%2Fgroup%2Fit/pipelines?scope=tags&per_page=100"
    assert asked[0][1]["job-token"] == "j"


@pytest.mark.parametrize(
    ("code", "answer", "words"),
    [
        (401, {}, "says 401, the token may not read them"),
        (404, {}, "says 404, there is no such repository, or the token"),
        (500, {}, "says 500, try again later"),
        (200, b"<html>", "does not answer"),
        (200, [], "answers something else"),
    ],
)
def test_what_is_not_seen(serve: Any, code: int, answer: Any, words: str) -> None:
    """A forge that refuses, or answers nonsense, is told in a line, with what would help."""
    url, _ = serve(code, answer)
    with pytest.raises(ToolError, match=words) as caught:
        ci_runs("https://github.com/acme/it", {"GITHUB_API_URL": url, "GITHUB_TOKEN": "t"}.get)
    assert caught.value.remedy


def test_nobody_there() -> None:
    """A forge that is not reached, and one that is not known."""
    with pytest.raises(ToolError, match="does not answer"):
        ci_runs("https://github.com/acme/it", {"GITHUB_API_URL": "http://127.0.0.1:9"}.get)
    with pytest.raises(ToolError, match=r"CI runs of git\.example\.org are not seen"):
        ci_runs("https://git.example.org/acme/it", {}.get)
