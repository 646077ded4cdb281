"""A proxy before a Hub that does one thing wrong: what becomes of a client then."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# Statuses are answered in place of the Hub, "bare" ones without a word;
# "after" means that the Hub does it first, and its answer is lost.
STATUSES = (400, 401, 403, 404, 408, 409, 412, 422, 429, 500, 502, 503, 504, 507)
FAULTS = (*map(str, STATUSES), "drop", "cut", "html", "empty", "null", "half", "after 503", "after drop")


@dataclass
class Plan:
    """The request that goes wrong, by its number, and how; the requests that were seen."""

    at: int = -1
    fault: str = ""
    seen: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, request: str) -> str | None:
        with self.lock:
            self.seen.append(request)
            return self.fault if len(self.seen) - 1 == self.at else None


@contextmanager
def proxy(upstream: str, plan: Plan) -> Iterator[str]:
    """The address of a proxy before `upstream`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # one packet for an answer: else each waits for the client's acknowledgement
        disable_nagle_algorithm = True

        def do(self) -> None:
            fault = plan.next(f"{self.command} {urlsplit(self.path).path}")
            if fault == "cut":
                self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
                return self.hang_up()
            body = self.body()
            if fault == "drop":
                return self.hang_up()
            if fault and fault.isdecimal():
                return self.answer(int(fault), [], b'{"error": "No."}')
            if fault and fault.startswith("bare "):
                return self.answer(int(fault.removeprefix("bare ")), [], b"")
            if fault in ("html", "empty", "null"):
                return self.answer(200, [], {"html": b"<html>Sign in</html>", "empty": b"", "null": b"null"}[fault])
            status, headers, data = self.forward(body)
            if fault == "after 503":
                return self.answer(503, [], b"")
            if fault == "after drop":
                return self.hang_up()
            return self.answer(status, headers, data, whole=fault != "half")

        def body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
            left_out = ("transfer-encoding", "connection", "content-length", "accept-encoding")
            # The Host is kept, so that the Hub's own links lead back here.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in left_out]
            if self.command == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, kept, data

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, whole: bool = True) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data if whole else data[: len(data) // 2])
            self.wfile.flush()
            if not whole:
                self.hang_up()

        def hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *arguments: object) -> None:
            pass

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is none of the proxy's."""

    running = Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
