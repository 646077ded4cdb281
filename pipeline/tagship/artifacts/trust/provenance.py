"""provenance.intoto.json: what a repo's files were made of, by which tools, and where: an in-toto Statement v1 with the
predicate of SLSA Provenance v1 (https://slsa.dev/spec/v1.0/provenance).

It is made of what is known when a release is gathered, has no clock of its own, and so is the same for the same inputs
in the same run of CI. What signs the folder signs it, too.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from tagship.artifacts.manifest import FileEntry, Manifest, tool_version
from tagship.runs.base import HUGGING_FACE
from tagship.system.ci import CiRun
from tagship.system.errors import ReleaseError
from tagship.system.json_files import parse_object

_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
# What the parameters of a build mean is said in docs/trust.md.
_BUILD_TYPE = "urn:tagship:release:v1"
_IN_GIT, _SHA256 = "git", "sha256"


class Materials(Struct, frozen=True, kw_only=True):
    """What is not in a manifest of what its files were made of: the SHA-256 of the run's files, and of other `inputs`,
    by path; what the policy's file is called; the run of CI, where it is one."""

    run_files: Mapping[str, str]
    inputs: Mapping[str, str]
    policy: str
    ci: CiRun | None = None


def statement(manifest: Manifest, files: Iterable[FileEntry], materials: Materials) -> dict[str, Any]:
    """The statement about `files`, which are a repo's with this manifest."""
    return {
        "_type": _STATEMENT,
        "subject": [
            {"name": entry.path, "digest": {_SHA256: entry.sha256}}
            for entry in sorted(files, key=lambda entry: entry.path)
        ],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": _asked(manifest),
                "internalParameters": {"compared": list(_compared(manifest))},
                "resolvedDependencies": list(_dependencies(manifest, materials)),
            },
            "runDetails": _ran(manifest, materials.ci),
        },
    }


def _asked(manifest: Manifest) -> dict[str, Any]:
    """What the release was asked for: what another one of the same commit would have to be told."""
    return {
        "repo": manifest.repo_id,
        "format": manifest.format,
        "quants": list(manifest.quants),
        "run": manifest.run,
        **({"tag": manifest.tag} if manifest.tag else {}),
        "at": manifest.exported.isoformat(),
    }


def _compared(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """What ran each export, and base + adapter, when they were compared."""
    for export in manifest.each():
        if shown := export.shown():
            said = {"quant": export.quant, "outcome": shown.outcome}
            said |= {"runtime": shown.runtime, "reference": shown.reference}
            yield {key: value for key, value in said.items() if value is not None}


def _dependencies(manifest: Manifest, materials: Materials) -> Iterator[dict[str, Any]]:
    # Without a page it is known by its commit alone: an address on a disk is nobody else's.
    at = f"@refs/tags/{manifest.tag}" if manifest.tag else ""
    source = {"uri": f"git+{manifest.source}{at}"} if manifest.source else {}
    yield {"name": "source", **source, "digest": {"gitCommit": manifest.commit}}
    if manifest.policy:
        yield {"name": materials.policy, "digest": {_SHA256: manifest.policy}}
    for path, digest in sorted(materials.run_files.items()):
        yield {"name": f"run/{path}", "digest": {_SHA256: digest}}
    for path, digest in sorted(materials.inputs.items()):
        yield {"name": path, "digest": {_SHA256: digest}}
    yield from _base(manifest)
    for name, version in sorted(manifest.tools.items()):
        yield {"name": name, "uri": f"pkg:pypi/{name}@{version}"}


def _base(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The base at its commit on the Hub; one that was in a folder by the digests of its files."""
    if manifest.base_revision:
        uri = f"{HUGGING_FACE}/{manifest.base_model}"
        yield {"name": manifest.base_model, "uri": uri, "digest": {"gitCommit": manifest.base_revision}}
        return
    for path, said in sorted(((manifest.model or {}).get("base_files") or {}).items()):
        how, _, digest = said.partition(":")
        yield {
            "name": f"{manifest.base_model}/{path}",
            "digest": {"gitBlob" if how == _IN_GIT else _SHA256: digest},
        }


def _ran(manifest: Manifest, ci: CiRun | None) -> dict[str, Any]:
    builder = ci.builder if ci else f"pkg:generic/tagship@{tool_version()}"
    return {
        "builder": {"id": builder, "version": {"tagship": manifest.tagship}},
        **({"metadata": {"invocationId": ci.run}} if ci else {}),
    }


class Provenance(Struct, frozen=True, kw_only=True):
    """What a statement says: the SHA-256 of its subjects by path, the source commit, and who built them."""

    subjects: Mapping[str, str]
    commit: str | None
    builder: str


def read_provenance(content: bytes, where: str) -> Provenance:
    """What the bytes of a provenance say; `where` they are from is for people. Raises ReleaseError for anything else:
    on a Hub it is anybody's to write."""
    document = parse_object(content, where)
    try:
        if (document["_type"], document["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise ValueError(f"its types are {document['_type']} and {document['predicateType']}")
        definition = document["predicate"]["buildDefinition"]
        digests = [material.get("digest", {}) for material in definition["resolvedDependencies"]]
        return Provenance(
            subjects={str(each["name"]): str(each["digest"][_SHA256]) for each in document["subject"]},
            commit=next((digest["gitCommit"] for digest in digests if "gitCommit" in digest), None),
            builder=str(document["predicate"]["runDetails"]["builder"]["id"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReleaseError(f"{where} is no provenance of SLSA: {error!r:.200}") from None
