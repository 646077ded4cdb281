"""`[publish]`: what is published beside a model's files, and where beside the Hub."""

import re

from msgspec import Struct

from tagship.system.toml_reader import Reader

# A registry and a path in it (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).
_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d))(?::\d{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LAST_PORT = 65535
_PLACE = re.compile(rf"(?P<host>{_HOST})/(?P<path>{_PART}(?:/{_PART})*)")


class OciPlace(Struct, frozen=True, kw_only=True):
    """Where artifacts go: a registry's host, with its port where it has one, and a path there."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


class PublishPolicy(Struct, frozen=True, kw_only=True):
    """`provenance` is whether each repo says what it was made of, and where; `sbom` whether it has a bill of
    materials; `attests` whether the service that CI runs at is to say where archives come from, too; `oci` is where the
    release goes as OCI artifacts, too, None for nowhere."""

    provenance: bool = False
    sbom: bool = False
    attests: bool = False
    oci: OciPlace | None = None


def read_publish(table: Reader, *, signs: bool) -> PublishPolicy:
    """The table `[publish]`. What is signed says where it comes from, too; only who asks for it by name is given a step
    of GitHub's for it, which private repositories need a paid plan for."""
    asked = table.flag("provenance", False)
    policy = PublishPolicy(
        provenance=asked or signs,
        sbom=table.flag("sbom", False),
        attests=asked,
        oci=table.parsed("oci", "", _place),
    )
    table.close()
    return policy


def _place(text: str) -> OciPlace | None:
    if not text:
        return None
    if (found := _PLACE.fullmatch(text)) is None:
        raise ValueError(
            'must be a registry and a path in small letters, such as "registry.example.org/models", without https:// '
            f"and without a tag, not {text!r:.100}"
        )
    port = found["host"].partition(":")[2]
    if port and not 0 < int(port) <= _LAST_PORT:
        raise ValueError(f"has {port} as its port, which is none: they are 1 to {_LAST_PORT}")
    return OciPlace(host=found["host"], path=found["path"])
