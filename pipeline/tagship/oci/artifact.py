"""A release as an OCI artifact by the ModelPack specification (CNCF, https://github.com/modelpack/model-spec): one raw
layer for each file, so that a runtime can mount it, and what is there already is not sent again."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct

from tagship.artifacts.manifest import FileEntry

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_LAYER = "application/vnd.cncf.model.{}.v1.raw"
FILEPATH, _TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
_WEIGHTS = {".safetensors": "safetensors", ".gguf": "gguf"}
_DOCUMENTS = (".md", ".svg", ".txt", ".pdf")


class Description(Struct, frozen=True, kw_only=True):
    """What an artifact says of its model: `created` is the moment of the release (UTC), `documentation` its page on the
    Hub, `source` the page of the repository, `revision` the commit there."""

    name: str
    version: str
    title: str
    vendor: str
    created: datetime
    license: str
    documentation: str
    source: str | None
    revision: str
    quantization: str | None


class Artifact(Struct, frozen=True, kw_only=True):
    """What a registry gets: the bytes of the configuration and of the manifest, and the files by their digests
    (`sha256:…`)."""

    config: bytes
    manifest: bytes
    files: Mapping[str, FileEntry]

    @property
    def digest(self) -> str:
        """By which the artifact is pulled."""
        return digest_of(self.manifest)


def make_artifact(description: Description, files: tuple[FileEntry, ...]) -> Artifact:
    """The artifact of these files; the same files and description give the same digest."""
    entries = sorted(files, key=lambda entry: entry.path)
    config = _bytes(_config(description, entries))
    layers = [
        {
            "mediaType": media_type(entry.path),
            "digest": f"sha256:{entry.sha256}",
            "size": entry.size,
            "annotations": {FILEPATH: entry.path, _TITLE: entry.path},
        }
        for entry in entries
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
        "layers": layers,
        "annotations": _annotations(description),
    }
    return Artifact(config=config, manifest=_bytes(manifest), files={f"sha256:{e.sha256}": e for e in entries})


def media_type(path: str) -> str:
    """The type of a file's layer: weights, code, a document, or what the weights are used by."""
    suffix = PurePosixPath(path).suffix
    if suffix in _WEIGHTS:
        return _LAYER.format("weight")
    if suffix == ".py":
        return _LAYER.format("code")
    if suffix in _DOCUMENTS or Path(path).name.upper().startswith(("LICENSE", "NOTICE")):
        return _LAYER.format("doc")
    return _LAYER.format("weight.config")


def digests_of(manifest: bytes) -> dict[str, str]:
    """The digest of each file that a manifest lists, by its path. Raises ValueError for what is no manifest of a
    model."""
    try:
        document = json.loads(manifest)
        if document["artifactType"] != ARTIFACT_TYPE:
            raise ValueError(f"an artifact of the type {document['artifactType']}")
        return {str(layer["annotations"][FILEPATH]): str(layer["digest"]) for layer in document["layers"]}
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no manifest of a model: {error!r}") from None


def digest_of(content: bytes) -> str:
    """`sha256:…` of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _config(description: Description, entries: list[FileEntry]) -> dict[str, Any]:
    formats = {_WEIGHTS[suffix] for entry in entries if (suffix := PurePosixPath(entry.path).suffix) in _WEIGHTS}
    told = {
        "createdAt": description.created.isoformat().replace("+00:00", "Z"),
        "vendor": description.vendor,
        "name": description.name,
        "version": description.version,
        "title": description.title,
        "docURL": description.documentation,
        "sourceURL": description.source,
        "revision": description.revision,
        "licenses": [description.license],
    }
    model = {
        "architecture": "transformer",
        "format": formats.pop() if len(formats) == 1 else None,
        "quantization": description.quantization,
    }
    return {
        "descriptor": {key: value for key, value in told.items() if value},
        "config": {key: value for key, value in model.items() if value},
        "modelfs": {"type": "layers", "diffIds": [f"sha256:{entry.sha256}" for entry in entries]},
    }


def _annotations(description: Description) -> dict[str, str]:
    told = {
        "created": description.created.isoformat().replace("+00:00", "Z"),
        "title": description.title,
        "version": description.version,
        "revision": description.revision,
        "source": description.source,
        "licenses": description.license,
        "documentation": description.documentation,
    }
    return {f"org.opencontainers.image.{key}": value for key, value in told.items() if value}


def _bytes(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
