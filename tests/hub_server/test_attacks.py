"""What strangers send: it is refused in words, quickly, and leaves no traceback."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tagship.hub_server.bounded import MAX_DEPTH, OutOfBounds, parse_json, parse_yaml
from tagship.hub_server.cards import BadCard, check, metadata
from tagship.hub_server.names import check_path
from tagship.hub_server.problem import HubProblem

REPO = "acme/model"
LAUGHS = "---\na: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
LAUGHS = f"{LAUGHS}tags: *j\n---\n"


class Server:
    """A Hub in a process of its own, whose standard error is looked at."""

    def __init__(self, folder: Path) -> None:
        script = (
            "import sys\nfrom pathlib import Path\nfrom tagship.hub_server.app import serve\n"
            "serve(root=Path(sys.argv[1]), announce=lambda url: print(url, flush=True))\n"
        )
        self.errors = folder / "errors"
        with self.errors.open("wb") as errors:
            command = [sys.executable, "-c", script, str(folder / "hub")]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        address = urlsplit(self.url)
        self.host, self.port = str(address.hostname), address.port or 0

    def stop(self) -> str:
        """What it said of errors."""
        self.process.terminate()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.errors.read_text()

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in (headers or {}))
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                connection.putheader(key, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def raw(self, data: bytes, *, reads: int = 1 << 20) -> bytes:
        with socket.create_connection((self.host, self.port), timeout=10) as connection:
            connection.sendall(data)
            connection.settimeout(0.5)
            answer = b""
            try:
                while len(answer) < reads and (block := connection.recv(reads)):
                    answer += block
            except TimeoutError:
                pass
            return answer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    try:
        body = json.dumps({"organization": "acme", "name": "model"}).encode()
        assert running.request("POST", "/api/repos/create", body)[0] == 200
        yield running
        assert running.request("GET", f"/api/models/{REPO}")[0] == 200
    finally:
        said = running.stop()
    assert "Traceback" not in said, said


def commit_lines(path: object, content: object = "x", **more: object) -> bytes:
    value = {"path": path, "content": content, **more}
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "file", "value": value}]
    return "\n".join(map(json.dumps, lines)).encode()


API = f"/api/models/{REPO}"
JSON_ROUTES = [
    ("POST", "/api/repos/create"),
    ("DELETE", "/api/repos/delete"),
    ("POST", "/api/repos/move"),
    ("POST", "/api/validate-yaml"),
    ("PUT", f"{API}/settings"),
    ("POST", f"{API}/preupload/main"),
    ("POST", f"{API}/tag/main"),
    ("POST", f"{API}/branch/new"),
    ("POST", f"{API}/lfs-files/duplicate"),
    ("POST", f"/{REPO}.git/info/lfs/objects/batch"),
    ("POST", f"/{REPO}.git/info/lfs/verify"),
]
FIELDS = (
    *("organization", "name", "type", "private", "visibility", "fromRepo", "toRepo", "content", "gated", "files"),
    *("gitIgnore", "tag", "message", "startingPoint", "operation", "objects", "oid", "size", "transfers"),
)
WRONG = (
    None,
    5,
    -1,
    1.5,
    True,
    "",
    "x",
    "\0",
    "a\nb",
    "../x",
    [],
    [5],
    [[]],
    [{}],
    {},
    {"a": {}},
    [None],
    "x" * 70_000,
)


class TestRequests:
    def test_bodies(self, server: Server) -> None:
        """A body that is no JSON object, or too much of one, is a bad request on every route."""
        bodies = [
            *(b"", b"{", b"[]", b"5", b'"x"', b"\xff\xfe", b"\0", b"{" * 100_000, b"[" * 100_000),
            *(b'{"a":' * 50_000, b'{"a": NaN}', b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}"),
            *(b'{"name": "\\ud800"}', b'{"tag": "\\ud800", "files": [{"path": "\\ud800"}]}'),
            b"[" + b"0," * 600_000 + b"0]",
        ]
        for method, path in JSON_ROUTES:
            for body in bodies:
                status, answer = server.request(method, path, body)
                assert status < 500, (method, path, body[:50])
                assert status != 200 or body == b"" or path.endswith("duplicate"), (method, path, body[:50], answer)

    def test_fields(self, server: Server) -> None:
        """A field of the wrong kind is a bad request, or taken as what it is."""
        for method, path in JSON_ROUTES:
            for field in FIELDS:
                for value in WRONG:
                    for operation in ("upload", "download"):
                        data = {"operation": operation, field: value, **({"tag": "t"} if field == "message" else {})}
                        if path.endswith("repos/delete") and field in ("type", "organization"):
                            data["name"] = "missing"
                        status, _ = server.request(method, path, json.dumps(data).encode())
                        assert status < 500, (method, path, field, value)
                        if not path.endswith("batch"):
                            break

    def test_commits(self, server: Server) -> None:
        """Operations of the wrong kind are refused, and nothing of them is committed."""
        bodies = [
            *(commit_lines(path) for path in (None, 5, [], {}, "", "a\0b", "\ud800", "x" * 300, "a/" * 3000 + "b")),
            *(commit_lines("a.txt", content) for content in ("\ud800",)),
            *(commit_lines("a.txt", content, encoding="base64") for content in ("ä", "x", "%%%%")),
            b'{"key": "header", "value": {"summary": "\\ud800"}}\n',
            b'{"key": "header", "value": {"summary": 5}}\n',
            b'{"key": "header", "value": {"summary": "x", "parentCommit": [1]}}\n' + b"\n",
            b'{"key": "header", "value": {"summary": "x"}}\n'
            b'{"key": "lfsFile", "value": {"path": "a", "oid": [], "size": {}}}',
            b'{"key": ["x"], "value": {}}\n',
            b"[" * 200_000,
            b"\0" * 100,
            b"x" * 33_000_000,
        ]
        for body in bodies:
            status, _ = server.request("POST", f"{API}/commit/main", body)
            assert 400 <= status < 500, body[:100]
        assert len(json.loads(server.request("GET", f"{API}/commits/main")[1])) == 1

    def test_addresses(self, server: Server) -> None:
        """Bytes that no client puts into an address, a header or a query are refused."""
        long = "9" * 5000
        for path in (
            *("/%00", "/%ff%fe", "/acme/%00", f"{API}/tree/main/%00", f"{API}/tree/%00", f"{API}/tree/main/%ff"),
            *(f"/{REPO}/resolve/main/a%00b", f"/{REPO}/resolve/main/%0a", f"{API}/revision/a%0ab", f"{API}/tag/%00"),
            *(
                f"/api/models?limit={long}",
                "/api/models?limit=%00",
                "/api/models?search=%00%ff",
                "/api/models?cursor=%00",
            ),
            *(
                f"/lfs/objects/{'0' * 64}?grant={long}.x",
                f"/{REPO}/info/refs?service=%00",
                "/xet/x/v1/reconstructions/%00",
            ),
            *(f"{API}/commits/{'a' * 5000}", f"{API}/tree/main/{'b' * 5000}", f"{API}/tree/main/{'c/' * 3000}"),
            *(f"{API}/revision/{'0' * 39}", f"{API}/revision/{'0' * 40}"),
        ):
            status, _ = server.request("GET", path)
            assert status < 500, path
        for name, value in (
            *(("Range", f"bytes={long}-"), ("Range", "bytes=-" + long), ("Host", "["), ("Host", "[::1"), ("Host", "")),
            *(("Host", "127.0.0.1:x"), ("Authorization", "Basic %%%"), ("Authorization", "Basic /w==")),
            *(("Authorization", "Bearer"), ("Git-Protocol", "version=2\tx"), ("Content-Type", "\xff")),
        ):
            for path in (
                f"/{REPO}/resolve/main/.gitattributes",
                "/api/whoami-v2",
                f"/{REPO}/info/refs?service=git-upload-pack",
            ):
                status, _ = server.request("GET", path, headers={name: value})
                assert status < 500, (name, value)
        for body in (b"\x1f\x8bnonsense", b"0032want " + b"0" * 40 + b"\n00000009done\n", b"0" * 1000):
            assert server.request("POST", f"/{REPO}/git-upload-pack", body, {"Content-Encoding": "gzip"})[0] < 500
            assert server.request("POST", f"/{REPO}/git-upload-pack", body)[0] < 500
        for path in (f"{API}/paths-info/main", f"{API}/paths-info/%00"):
            assert server.request("POST", path, b"paths=%00&paths=%ff&paths=../x&expand=%00")[0] < 500

    def test_not_http(self, server: Server) -> None:
        """What is no request at all ends the connection, and no more."""
        for data in (
            *(b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"x" * 100_000),
            *(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
            b"POST /api/repos/create HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /api/repos/create HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
        ):
            server.raw(data)

    def test_broken_pipes(self, server: Server, tmp_path: Path) -> None:
        """A client that goes away in the middle of what it sends or gets leaves nothing behind."""
        body = commit_lines("big.txt", "x" * 9_000_000)
        assert server.request("POST", f"{API}/commit/main", body)[0] == 200
        for path in (f"{API}/commit/main", f"/{REPO}.git/git-receive-pack", f"{API}/tag/main"):
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n".encode()
            with socket.create_connection((server.host, server.port)) as connection:
                connection.sendall(head + b"x" * 100_000)
        for _ in range(3):
            with socket.create_connection((server.host, server.port)) as connection:
                connection.sendall(f"GET /{REPO}/resolve/main/big.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                connection.recv(10)
        deadline = time.monotonic() + 10
        while list((tmp_path / "hub" / "tmp").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list((tmp_path / "hub" / "tmp").iterdir()) == []

    def test_lie(self, server: Server, tmp_path: Path) -> None:
        """A file that was uploaded by Xet under a wrong SHA-256 breaks off in words."""
        script = (
            "import sys\nfrom huggingface_hub import CommitOperationAdd, HfApi\n"
            "lie = CommitOperationAdd('model.bin', b'weights' * 1000)\n"
            "lie.upload_info.sha256 = bytes(32)\n"
            "HfApi(endpoint=sys.argv[1], token='x').create_commit('acme/model', [lie], commit_message='lie')\n"
        )
        environment = {**os.environ, "HF_XET_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        subprocess.run([sys.executable, "-c", script, server.url], env=environment, check=True)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            server.request("GET", f"/{REPO}/resolve/main/model.bin")
        assert "a download was broken off: the Xet file that was uploaded as 000" in server.errors.read_text()

    def test_cards(self, server: Server) -> None:
        """A card that stands for a billion values is refused, and one with odd values does not end lists."""
        for card in (LAUGHS, "---\n" + "a: [" * 500 + "\n---\n", "---\na: &a [*a]\n---\n"):
            content = json.dumps({"content": card}).encode()
            assert server.request("POST", "/api/validate-yaml", content)[0] == 400
            assert server.request("POST", f"{API}/commit/main", commit_lines("README.md", card))[0] == 400
        odd = "---\na: .nan\nb: .inf\nc: !!binary eA==\nd: !!set {x}\ne: 2024-01-01\n1: one\n? [a, b]\n: list\n---\n"
        for card in (odd.replace("? [a, b]\n: list\n", ""), "---\nlicense: mit\nx: .inf\n---\n"):
            assert server.request("POST", f"{API}/commit/main", commit_lines("README.md", card))[0] == 200
            assert server.request("GET", "/api/models?full=true&cardData=true")[0] == 200
            assert server.request("GET", f"/{REPO}")[0] == 200
        assert server.request("POST", f"{API}/commit/main", commit_lines("README.md", odd))[0] < 500


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (LAUGHS.strip("-\n"), "aliases counted"),
            ("a: &a {<<: [*a, *a]}", "stands for nothing, or for itself"),
            ("a: *b", "stands for nothing"),
            ("[" * (MAX_DEPTH + 1), "nested more than"),
            ("".join(f"{' ' * n}a:\n" for n in range(MAX_DEPTH + 2)), "nested more than"),
            ("a: " + "1:" * 100_000 + "1", "a number of more than"),
            ('a: !!int "' + "1:" * 100_000 + '1"', "a number of more than"),
            ("a: 0x" + "f" * 100_000, "a number of more than"),
            ("a: 2024-13-45", "month"),
            ("x, " * 1_000_000, "characters"),
            ("[" + "x, " * 300_000 + "x]", "values"),
            ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
            ("a: [", "expected"),
        ],
    )
    def test_refused(self, text: str, words: str) -> None:
        """What is out of bounds is told, in no time."""
        with pytest.raises(OutOfBounds, match=words):
            parse_yaml(text)

    def test_taken(self) -> None:
        """Anchors and numbers as cards have them, and digests, are read."""
        text = f"a: &x {{b: [1, 2.5]}}\nc: *x\nd: {{<<: *x, e: 1:30}}\nf: {'9f' * 64}\ng: '{'1' * 200}'"
        read = parse_yaml(text)
        assert read["c"] == {"b": [1, 2.5]} == {"b": read["d"]["b"]}
        assert (read["f"], read["g"]) == ("9f" * 64, "1" * 200)

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="a:&*[]{}<-?!|>'\"\\\n 0x1.,#%@ud8", max_size=60))
    def test_anything(self, text: str) -> None:
        """Any text is read, or refused in words; what is read can be told."""
        for card in (text, f"---\n{text}\n---\n"):
            try:
                metadata(card)
                check(card)
            except BadCard as error:
                str(error).encode()


class TestJson:
    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60) | st.text(alphabet='{}[]:,"\\ud8001e+-. nulltrefasNI', max_size=60).map(str.encode))
    def test_anything(self, text: bytes) -> None:
        """Any text is read, or refused; what is read can be written as UTF-8."""
        try:
            value = parse_json(text)
        except OutOfBounds:
            return
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()

    def test_pairs(self) -> None:
        """Whole surrogate pairs, and text that only looks like half of one, are read."""
        assert parse_json(rb'["\ud83d\ude00", "\\ud800"]') == ["😀", "\\ud800"]


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            *(
                ".git\u200c/config",
                ".g\u200dit",
                "\ufeff.git",
                ".GIT\u202e",
                ".git.",
                ".git ",
                ".git. . /x",
                "a/.Git...",
                ".git:x",
            ),
            *(".git::$INDEX_ALLOCATION/config", "git~1", "GIT~1/config", "git~1.", "git~1:x", "a/git~1", "\u200fgit~1"),
            *("a\u0085b", "a\0b", "a\ud800", "x" * 256, "ü" * 128, "a/" * 2001 + "a"),
        ],
    )
    def test_refused(self, path: str) -> None:
        """No spelling that some file system takes for `.git`, or none takes at all, gets into a repository."""
        with pytest.raises(HubProblem) as refused:
            check_path(path)
        assert refused.value.status == 422

    @pytest.mark.parametrize(
        "path", [".gitattributes", ".gitignore", "a.git", "git~10", "git~2", "x.git:y", "ü" * 127, ".github/x"]
    )
    def test_taken(self, path: str) -> None:
        """Names that are only similar are as good as any."""
        assert check_path(path) == path
