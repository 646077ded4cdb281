"""A release as a ModelPack artifact: what its manifest and its configuration say."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace
from tagship.artifacts.manifest import FileEntry
from tagship.oci.artifact import Description, digests_of, make_artifact, media_type

MOMENT = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
DESCRIPTION = Description(
    name="phi3-minimal-vllm-v1.0.0",
    version="1.0.0",
    title="phi3-minimal",
    vendor="acme",
    created=MOMENT,
    license="mit",
    documentation="https://huggingface.co/acme/phi3-minimal-vllm-v1.0.0",
    source=None,
    revision="0" * 40,
    quantization=None,
)
FILES = tuple(
    FileEntry(path=path, size=len(path), sha256=hashlib.sha256(path.encode()).hexdigest())
    for path in ("model.safetensors", "README.md", "config.json", "code/it.py")
)
# What of the specification's schema/config-schema.json a configuration has.
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
DESCRIBED = ("vendor", "name", "version", "title", "docURL", "sourceURL", "revision")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["descriptor", "config", "modelfs"],
    "additionalProperties": False,
    "properties": {
        "descriptor": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "createdAt": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "licenses": TEXTS,
                **{key: TEXT for key in DESCRIBED},
            },
        },
        "config": {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: TEXT for key in ("architecture", "format", "quantization")},
        },
        "modelfs": {
            "type": "object",
            "required": ["type", "diffIds"],
            "additionalProperties": False,
            "properties": {"type": {"enum": ["layers"]}, "diffIds": TEXTS | {"minItems": 1}},
        },
    },
}


def test_manifest() -> None:
    """Each file is a raw layer of its kind, with its path, in the order of the paths; the configuration has the same
    digests."""
    artifact = make_artifact(DESCRIPTION, FILES)
    manifest, config = json.loads(artifact.manifest), json.loads(artifact.config)
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert manifest["config"]["digest"] == f"sha256:{hashlib.sha256(artifact.config).hexdigest()}"
    layers = [
        (layer["annotations"]["org.cncf.model.filepath"], layer["mediaType"].split(".model.")[1])
        for layer in manifest["layers"]
    ]
    assert layers == [
        ("README.md", "doc.v1.raw"),
        ("code/it.py", "code.v1.raw"),
        ("config.json", "weight.config.v1.raw"),
        ("model.safetensors", "weight.v1.raw"),
    ]
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]
    assert "org.opencontainers.image.source" not in manifest["annotations"]
    assert artifact.digest == f"sha256:{hashlib.sha256(artifact.manifest).hexdigest()}"


@pytest.mark.parametrize("quantization", [None, "q4_k_m"])
def test_configuration(quantization: str | None) -> None:
    """It is what the specification's schema allows, with the format of the weights."""
    document = json.loads(make_artifact(replace(DESCRIPTION, quantization=quantization), FILES).config)
    jsonschema.validate(document, SCHEMA)
    assert document["config"].get("quantization") == quantization and document["config"]["format"] == "safetensors"


def test_the_same_gives_the_same_digest() -> None:
    """Whatever order files come in; other content gives another one."""
    digest = make_artifact(DESCRIPTION, FILES).digest
    assert make_artifact(DESCRIPTION, FILES[::-1]).digest == digest
    assert make_artifact(DESCRIPTION, (replace(FILES[0], sha256="0" * 64), *FILES[1:])).digest != digest


@pytest.mark.parametrize(
    ("path", "kind"),
    [("it-Q4_K_M.gguf", "weight"), ("LICENSE", "doc"), ("quality.svg", "doc"), ("Modelfile", "weight.config")],
)
def test_kinds(path: str, kind: str) -> None:
    """What is no document and no code is what weights are used by."""
    assert media_type(path) == f"application/vnd.cncf.model.{kind}.v1.raw"


def test_read_back() -> None:
    """A manifest tells its files; another program's is told as that."""
    assert digests_of(make_artifact(DESCRIPTION, FILES).manifest)["README.md"] == f"sha256:{FILES[1].sha256}"
    for other in (b"{}", b"[]", b'{"artifactType": "x", "layers": []}', b"no JSON"):
        with pytest.raises(ValueError):
            digests_of(other)
