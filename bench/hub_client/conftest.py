"""The fixtures that huggingface_hub's tests expect and its source distribution lacks, for an embedded Hub.

This file is copied beside them. It also counts each test's requests to the Hub, so that the report speaks of those only
that made one, and writes a line of JSON for each test.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, RepoUrl, constants
from huggingface_hub.cli._output import out
from huggingface_hub.utils import _auth, _detect_agent

from .testing_constants import ENDPOINT_PRODUCTION, ENDPOINT_STAGING, TOKEN, USER
from .testing_utils import repo_name

RepoFactory = Callable[..., RepoUrl]

_requests = 0


def _counting(send: Callable[..., Any]) -> Callable[..., Any]:
    def counted(self: Any, request: httpx2.Request) -> Any:
        global _requests
        _requests += str(request.url).startswith(ENDPOINT_STAGING)
        return send(self, request)

    return counted


httpx2.HTTPTransport.handle_request = _counting(httpx2.HTTPTransport.handle_request)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    report.user_properties.append(("requests", _requests))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # With xdist, all workers' reports come to the controller, too.
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    line = {
        "test": report.nodeid.removeprefix("tests/"),
        "when": report.when,
        "outcome": report.outcome,
        "requests": dict(report.user_properties)["requests"],
        "worker": getattr(report, "worker_id", ""),
        "message": report.longrepr.reprcrash.message if hasattr(report.longrepr, "reprcrash") else "",
    }
    with Path(os.environ["HUB_CLIENT_REPORT"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has caches and stored tokens of its own."""
    home = tmp_path_factory.mktemp("home")
    names = {"HF_HOME": "", "HF_HUB_CACHE": "hub", "HUGGINGFACE_HUB_CACHE": "hub", "HF_XET_CACHE": "xet"}
    names |= {"HF_ASSETS_CACHE": "assets", "HF_TOKEN_PATH": "token", "HF_STORED_TOKENS_PATH": "stored_tokens"}
    for name, path in names.items():
        monkeypatch.setattr(constants, name, str(home / path))
    monkeypatch.setattr(_auth, "_OAUTH_REFRESH_CACHE", None)
    monkeypatch.setattr(_auth, "_OAUTH_REFRESH_WARNED", False)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line prints the same wherever the tests run."""
    monkeypatch.setattr(_detect_agent, "_registry", _detect_agent._EMPTY_REGISTRY)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_EXPERIMENTAL_WARNING", True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    out.set_mode()
    out.set_no_truncate(False)


@pytest.fixture(autouse=True)
def marks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`xet`, `no_xet` and `git_lfs` say what a test needs."""
    if request.node.get_closest_marker("xet"):
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    if request.node.get_closest_marker("no_xet"):
        pytest.skip("for clients without hf_xet")
    if request.node.get_closest_marker("git_lfs"):
        pytest.skip("git-lfs has tests of its own")


@pytest.fixture(scope="session")
def api() -> HfApi:
    return HfApi(endpoint=ENDPOINT_STAGING, token=TOKEN)


@pytest.fixture(scope="session")
def api_prod() -> HfApi:
    return HfApi(endpoint=ENDPOINT_PRODUCTION)


@pytest.fixture
def repo_factory(api: HfApi) -> Iterator[RepoFactory]:
    """Makes repositories that are gone after the test."""
    made: list[tuple[str, str, str | None]] = []

    def make(repo_type: str = "model", repo_id: str | None = None, **options: Any) -> RepoUrl:
        if repo_type == "space":
            options.setdefault("space_sdk", "gradio")
        url = api.create_repo(repo_id or repo_name(prefix=repo_type), repo_type=repo_type, **options)
        made.append((url.repo_id, repo_type, options.get("token")))
        return url

    yield make
    for repo_id, repo_type, token in made:
        api.delete_repo(repo_id, repo_type=repo_type, token=token, missing_ok=True)


@pytest.fixture
def new_repo_id(api: HfApi) -> Iterator[str]:
    """The id of a repository that the test makes."""
    repo_id = f"{USER}/{repo_name()}"
    yield repo_id
    api.delete_repo(repo_id, missing_ok=True)
