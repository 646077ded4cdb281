"""How often a Hub is asked, how long it is waited for, and what is said when it is given up."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import http_backoff
from tagship.hub import http_client
from tagship.hub.connection import Hub, open_hub
from tagship.hub.failures import hub_errors
from tagship.hub.patience import Patience, impatient, set_current
from tagship.system.errors import ReleaseError, ToolError

pytestmark = pytest.mark.usefixtures("quiet_client")

Answer = tuple[int, dict[str, str], str]
FINE: Answer = (200, {}, json.dumps({"name": "bob"}))


@dataclass
class Server:
    """Gives the answers of a list, then success; a status of 0 hangs up."""

    answers: list[Answer] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    said = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            said.seen.append(self.command)
            said.sizes.append(len(self.rfile.read(int(self.headers.get("Content-Length", 0)))))
            status, headers, body = said.answers.pop(0) if said.answers else FINE
            if not status:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            pass

        do_GET = do_POST = do_PUT = answer

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    said.url = f"http://127.0.0.1:{running.server_port}"
    yield said
    running.shutdown()
    running.server_close()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def hub(server: Server, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A patient client that does not really wait."""
    monkeypatch.setattr("tagship.hub.http_client.sleep", lambda seconds: told.append(f"slept {seconds:g}"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    with open_hub(server.url, "acme", tmp_path, told.append) as opened:
        assert opened.api.endpoint == server.url
        yield opened


def whoami(hub: Hub) -> str:
    with hub_errors("say whose token this is"):
        return str(hub.api.whoami()["name"])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 0])
def test_asked_again(server: Server, hub: Hub, told: list[str], status: int) -> None:
    """A server that has trouble, or hangs up, is asked again after one second, then two."""
    server.answers = [(status, {}, "{}")] * 2
    assert whoami(hub) == "bob"
    assert told == ["slept 1", "slept 2"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422])
def test_never_asked_again(server: Server, hub: Hub, status: int) -> None:
    """What the server refuses is not asked for twice."""
    server.answers = [(status, {}, '{"error": "No."}')] * 2
    with pytest.raises(ToolError, match="No"):
        whoami(hub)
    assert len(server.seen) == 1


def test_changes_are_tried_again(server: Server, hub: Hub, told: list[str]) -> None:
    """A request that changes something is sent again as it was."""
    server.answers = [(503, {}, ""), (0, {}, ""), (200, {}, '{"url": "u/acme/x", "name": "acme/x"}')]
    with hub_errors("create a repo"):
        hub.api.create_repo("acme/x")
    assert server.seen == ["POST"] * 3


def test_given_up(server: Server, hub: Hub) -> None:
    """After five attempts the last answer is told, and that the same command goes on."""
    server.answers = [(503, {}, '{"error": "Down for maintenance."}')] * 9
    with pytest.raises(
        ToolError, match=r"refused to say whose token this is: Down for maintenance\. \(503\)"
    ) as caught:
        whoami(hub)
    assert len(server.seen) == 5
    assert "the same command goes on" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "40"}, {"RateLimit": '"api";r=0;t=40', "RateLimit-Policy": '"fixed window";"api";q=5;w=9'}],
)
def test_waits_as_long_as_it_is_asked_to(server: Server, hub: Hub, told: list[str], headers: dict[str, str]) -> None:
    """A server that says how long to wait is obeyed, and people are told why nothing happens."""
    server.answers = [(429, headers, "{}")]
    assert whoami(hub) == "bob"
    assert told == ["127.0.0.1 asks to wait (429): 40 seconds", "slept 40"]


def test_silence_is_told(server: Server, hub: Hub, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers for a while, people are told that it is tried again."""
    monkeypatch.setattr(http_client, "_SHORT", 0.0)
    server.answers = [(0, {}, "")]
    assert whoami(hub) == "bob"
    assert len(told) == 2 and told[0].endswith(": asked again in 1 seconds") and told[1] == "slept 1"


def test_waits_no_longer_than_five_minutes(server: Server, hub: Hub, told: list[str]) -> None:
    """All that is waited for is bounded: a server cannot hold up a release for hours."""
    server.answers = [(429, {"Retry-After": "200"}, "{}")] * 3
    with pytest.raises(ToolError, match="429") as caught:
        whoami(hub)
    assert [line for line in told if line.startswith("slept")] == ["slept 200"]
    assert "wait for some minutes" in str(caught.value.remedy)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tagship.hub.http_client._BRIEF", 0)
    set_current(Patience(connect=0.1, read=0.1, write=0.1, again=5, asked=0, attempts=2))
    yield
    set_current(Patience())


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("ask", [lambda api: api.whoami(), lambda api: api.create_repo("acme/x")])
def test_silence(silent: str, hub: Hub, told: list[str], ask: Callable[[HfApi], object]) -> None:
    """A silent server is given up after some attempts, also where the client's own function sets no limit."""
    with pytest.raises(ToolError, match="did not answer in time"), hub_errors("ask"):
        ask(HfApi(endpoint=silent, token="hf_x"))
    assert told == ["slept 1"]


def test_impatient(server: Server, hub: Hub) -> None:
    """What only adds to an output is asked for once."""
    server.answers = [(503, {}, "")] * 2
    with impatient(0.5), pytest.raises(ToolError):
        whoami(hub)
    assert len(server.seen) == 1


def test_nonsense(server: Server, hub: Hub) -> None:
    """An answer that is none of a Hub's, of a proxy's login page for example, is a message."""
    server.answers = [(200, {}, "<html>Sign in</html>")]
    with pytest.raises(ToolError, match="could not be read") as caught:
        whoami(hub)
    assert "no proxy answers in its place" in str(caught.value.remedy)


def test_storage_that_refuses(hub: Hub) -> None:
    """What the storage's part of the client says is told with what mends it."""
    refused = "Network error: Request error: HTTP status client error (403 Forbidden), domain: http://h/xet-write-token"

    def transfer() -> None:
        raise ConnectionError(refused)

    with pytest.raises(ToolError, match="storage refused to take x") as caught, hub_errors("take x"):
        exec(compile("fail()", "client", "exec"), {"fail": transfer, "__name__": "hf_xet"})
    assert "token may do this" in str(caught.value.remedy)


def test_full_disk_of_the_cache(hub: Hub) -> None:
    """A disk that is full while something is fetched is told as that."""
    source = "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/cache/x')"
    with pytest.raises(ToolError, match=r"the disk is full \(/cache/x\)"), hub_errors("fetch x"):
        exec(compile(source, "client", "exec"), {"__name__": "huggingface_hub"})


def test_own_mistakes_stay_what_they_are() -> None:
    """An error of this package's own code is no answer of the Hub's, and its refusals pass."""
    with pytest.raises(KeyError), hub_errors("ask"):
        exec(compile("{}['x']", "own", "exec"), {"__name__": "tagship.hub.publish"})
    with pytest.raises(ReleaseError, match="mine"), hub_errors("ask"):
        raise ReleaseError("mine")


@pytest.mark.filterwarnings("ignore:Use 'content=")
def test_files_are_wound_back(server: Server, hub: Hub, tmp_path: Path) -> None:
    """A file that is sent is not sent again from where it ended: the client's own function winds it back."""
    (tmp_path / "weights").write_bytes(b"w" * 1000)
    server.answers = [(0, {}, ""), (503, {}, "")]
    with (tmp_path / "weights").open("rb") as file:
        assert http_backoff("PUT", f"{server.url}/x", data=file).status_code == 200
    assert server.sizes == [1000] * 3


def test_what_an_upload_came_to(hub: Hub) -> None:
    """The client's words around a failure do not hide it."""
    source = "raise RuntimeError('Error while uploading') from OSError(28, 'No space', '/store')"
    with pytest.raises(ToolError, match=r"the disk is full \(/store\)"), hub_errors("take x"):
        exec(compile(source, "client", "exec"), {"__name__": "huggingface_hub"})
