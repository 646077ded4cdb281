"""A repository of an OCI registry, by the `oras` library: who one is (docker's configuration, its helpers, tokens) is
its part. Blobs are sent by one request each, from the disk: its own way reads a file into memory, and not every
registry takes pieces."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from tagship.oci.artifact import MANIFEST_TYPE, Artifact, digest_of
from tagship.policy.publish import OciPlace
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.installation import how_to_install
from tagship.system.progress import Advance, silent

if TYPE_CHECKING:
    from oras.provider import Registry as Client

# Seconds for a connection; for an answer, which after a large blob comes when the registry has hashed it.
_TIMEOUTS = (10, 600)
_LOOPBACK = ("localhost", "127.0.0.1")


class Source(Struct, frozen=True, kw_only=True):
    """A blob to be sent: its digest, its size in bytes, and what opens it."""

    digest: str
    size: int
    open: Callable[[], BinaryIO]


class OciRepository:
    """A repository in a registry, in which one may write. Raises ReleaseError where `oras` is not installed, ToolError
    where the registry does not let one write."""

    def __init__(self, place: OciPlace, name: str) -> None:
        self._host, self._path = place.host, f"{place.path}/{name}" if name else place.path
        scheme = "http" if place.host.rpartition(":")[0] in _LOOPBACK or place.host in _LOOPBACK else "https"
        self._root = f"{scheme}://{self._host}/v2/{self._path}"
        self._client = self._connect(insecure=scheme == "http")

    def __str__(self) -> str:
        return f"{self._host}/{self._path}"

    def manifest(self, tag: str) -> bytes | None:
        """The bytes of the manifest that a tag names, or None where there is none."""
        answer = self._ask("GET", f"{self._root}/manifests/{tag}", headers={"Accept": MANIFEST_TYPE})
        if answer.status_code == 404:
            return None
        self._check(answer, "read what is there", 200)
        return bytes(answer.content)

    def push(self, artifact: Artifact, tag: str, source: Callable[[str], Path], advance: Advance = silent) -> None:
        """Send what the registry lacks of an artifact, then its manifest under a tag; `source` says where each file
        is, by its path. Raises ToolError, also where the registry then has another one."""
        blobs = [
            Source(digest=digest, size=entry.size, open=lambda path=entry.path: source(path).open("rb"))  # type: ignore[misc]
            for digest, entry in artifact.files.items()
        ]
        config = artifact.config
        for blob in (*blobs, Source(digest=digest_of(config), size=len(config), open=lambda: BytesIO(config))):
            self._send(blob)
            advance(blob.size)
        url = f"{self._root}/manifests/{tag}"
        answer = self._ask("PUT", url, data=artifact.manifest, headers={"Content-Type": MANIFEST_TYPE})
        self._check(answer, "take the manifest", 201)
        if self.manifest(tag) != artifact.manifest:
            raise ToolError(f"{self}:{tag} is not what was pushed", remedy="look whether somebody else pushes there")

    def _send(self, blob: Source) -> None:
        if self._ask("HEAD", f"{self._root}/blobs/{blob.digest}").status_code == 200:
            return
        where = self._begin()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        mark = "&" if "?" in where else "?"
        with blob.open() as content:
            body = content if blob.size else b""  # an empty file would be sent in pieces, without an end
            answer = self._ask("PUT", f"{where}{mark}digest={blob.digest}", data=body, headers=headers)
        self._check(answer, f"take {blob.digest[:19]}…", 201)

    def _begin(self) -> str:
        """The address of a new upload. Asking for one is also asking for the right to write."""
        if hasattr(self._client.auth, "token"):
            self._client.auth.token = None  # of reading alone, or no longer valid
        answer = self._ask("POST", f"{self._root}/blobs/uploads/", headers={"Content-Length": "0"})
        self._check(answer, "be written to", 202)
        where = answer.headers.get("Location", "")
        scheme = self._root.partition("//")[0]
        return where if where.startswith("http") else f"{scheme}//{self._host}{where}"

    def check(self) -> None:
        """Raise ToolError where one may not write, by beginning an upload and ending it."""
        self._ask("DELETE", self._begin())

    def _connect(self, *, insecure: bool) -> "Client":
        try:
            from oras.logger import logger
            from oras.provider import Registry as Client
        except ImportError:
            raise ReleaseError(
                "[publish] oci needs the package oras, which is not installed", remedy=how_to_install("oci")
            ) from None
        logger.logger.disabled = True  # what it says is said by our own messages
        client = Client(
            hostname=self._host, insecure=insecure, auth_backend="basic" if self._is_basic(insecure) else "token"
        )
        client.session.request = _patient(client.session.request)
        try:
            client.auth.load_configs(client.get_container(f"{self._host}/{self._path}"), _configurations())
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise ReleaseError(
                f"docker's configuration cannot be read ({error!r:.100})", remedy=f"docker login {self._host}"
            ) from None
        return client

    def _is_basic(self, insecure: bool) -> bool:
        """Whether a registry wants a password with each request, rather than a token."""
        import requests

        try:
            answer = requests.get(f"{'http' if insecure else 'https'}://{self._host}/v2/", timeout=_TIMEOUTS)
        except requests.RequestException as error:
            raise self._silent(error) from None
        return answer.headers.get("WWW-Authenticate", "").lower().startswith("basic")

    def _ask(self, method: str, url: str, *, data: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The answer to a request, which is made once more where the registry first asks who it is. Not by the
        library's own way, which tries for a minute what was refused, and does not wind a body back."""
        import requests

        auth, own = self._client.auth, dict(headers or {})
        if getattr(auth, "token", None) or getattr(auth, "_basic_auth", None):
            own |= auth.get_auth_header()
        try:
            answer = self._client.session.request(method, url, data=data, headers=own)
            if answer.status_code != 401 or not self._may_answer():
                return answer
            own, changed = auth.authenticate_request(answer, own)
            if changed and hasattr(data, "seek"):
                data.seek(0)
            return self._client.session.request(method, url, data=data, headers=own) if changed else answer
        except requests.RequestException as error:
            raise self._silent(error) from None

    def _may_answer(self) -> bool:
        """Whether there is anything to answer a registry that asks who this is: of a token, anybody may ask for one."""
        return hasattr(self._client.auth, "token") or bool(getattr(self._client.auth, "_basic_auth", None))

    def _check(self, answer: Any, what: str, good: int) -> None:
        code = answer.status_code
        if code == good:
            return
        remedies = {401: self._login(), 403: self._login(), 404: "look whether the registry has such a place"}
        raise ToolError(
            f"{self} refuses to {what}: {code}{_words(answer)}",
            remedy=remedies.get(code, "run the same command again later: what was sent is not sent again"),
        )

    def _silent(self, error: Exception) -> ToolError:
        return ToolError(
            f"the registry {self._host} does not answer ({type(error).__name__})",
            remedy="run the same command again later: what was sent is not sent again",
        )

    def _login(self) -> str:
        return f"docker login {self._host}, as somebody who may push to {self._path}"


def _configurations() -> list[str]:
    """Docker's configuration where a variable says that it is, of which the library does not know."""
    folder = os.environ.get("DOCKER_CONFIG")
    return [str(file)] if folder and (file := Path(folder) / "config.json").is_file() else []


def _patient(request: Callable[..., Any]) -> Callable[..., Any]:
    """Requests with a limit of time, of which `oras` has none."""
    return lambda *arguments, **options: request(*arguments, **{"timeout": _TIMEOUTS, **options})


def _words(answer: Any) -> str:
    """A registry's own words for a refusal."""
    try:
        said = [str(error.get("message") or error.get("code")) for error in answer.json()["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f", {'; '.join(said):.200}" if said else ""
