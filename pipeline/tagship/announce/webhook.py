"""A document for whoever wants to act on a release: POST, signed by HMAC-SHA256 where there is a secret.

The signature is over the body's bytes, in hexadecimal, as GitHub's webhooks have it:
`X-Tagship-Signature-256: sha256=…`. `X-Tagship-Delivery` is the same whenever the same is told again.
"""

import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request

from tagship.announce.announcement import Announcement, Told
from tagship.announce.asking import unexpected
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import write_json
from tagship.system.forge_api import Unreached, send
from tagship.system.json_files import read_object


class Webhook:
    """An address that gets a document of each release once; what was delivered is remembered in the file `known`."""

    name = "webhook"

    def __init__(self, url: str, secret: str | None, known: Path) -> None:
        self._url, self._secret, self._known = url, secret, known

    def check(self, tag: str) -> None:
        """Raise ToolError where the address is none."""
        address = urlsplit(self._url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ToolError("the webhook's address is no URL", remedy="set its variable to https://…")

    def tell(self, announcement: Announcement) -> Told:
        """Deliver a release's document, unless this very one was delivered."""
        self.check(announcement.tag)
        body = json.dumps(announcement.document(), sort_keys=True).encode()
        delivery = hashlib.sha256(self._url.encode() + b"\0" + body).hexdigest()
        delivered = self._delivered()
        if delivery in delivered.values():
            return Told(url=None, before=True)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tagship",
            "X-Tagship-Event": "release",
            "X-Tagship-Delivery": delivery,
        }
        if self._secret:
            digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Tagship-Signature-256"] = f"sha256={digest}"
        host = urlsplit(self._url).hostname or ""
        try:
            answer = send(Request(self._url, data=body, headers=headers, method="POST"))
        except Unreached as error:
            raise ToolError(f"the webhook at {host} does not answer ({error})", remedy="try again later") from None
        if not 200 <= answer.code < 300:
            raise unexpected(host, "the webhook", answer.code, answer.document)
        write_json(self._known, delivered | {announcement.tag: delivery})
        return Told(url=None, before=False)

    def _delivered(self) -> dict[str, str]:
        try:
            return {str(tag): str(delivery) for tag, delivery in read_object(self._known).items()}
        except ReleaseError:  # damaged: the delivery's own name tells who gets it twice
            return {}
