"""release.json: what a published folder is, and the checksum of everything in it.

It is in every export and so in every archive and repository: what was released can be told, and
checked, from the published files alone.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from tagship.formats.shared_parts import FoundTypes
from tagship.system.called import called
from tagship.system.errors import ReleaseError
from tagship.system.files import check_is_file, files_below, sha256_of, write_json
from tagship.system.pool import in_order
from tagship.system.progress import Advance, silent
from tagship.verify.evidence import Evidence

MANIFEST_FILE = "release.json"
CARD_FILE = "README.md"
PLOT_FILE = "quality.svg"
BILL_FILE = "sbom.cdx.json"
PROVENANCE_FILE = "provenance.intoto.json"
SIGNATURE_FILE = "model.sig"
SEALS = (PROVENANCE_FILE, SIGNATURE_FILE)
"""The files that list all others, this one too: so it does not list them."""
# What says what was shown of the other files, and is made after it.
_DESCRIBING = (CARD_FILE, PLOT_FILE, BILL_FILE)
TELLING = (MANIFEST_FILE, *_DESCRIBING, *SEALS)
"""The files that say what verifying showed: other machines have other figures."""
_SCHEMA = 1
_Digests = Mapping[Path, str] | None


class FileEntry(Struct, frozen=True, kw_only=True):
    """A file of a release: POSIX path below the folder, size in bytes, SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class Part(Struct, frozen=True, kw_only=True):
    """One of several exports that share a repo: its quantization type with what is chosen of its tensors, its files as
    they are called there, and what verifying them showed."""

    quant: str | None
    files: tuple[FileEntry, ...]
    evidence: Evidence | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)
    mix: Mapping[str, Any] | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """What release.json says. `version` and `tag` are None for an untagged release; `exported` is
    the moment in its names (UTC); `model` is what the model was made of (tagship/history/model.py),
    by which the next version is decided; `evidence` is what verifying these files showed. `stream` is that of the tag,
    `source` the page of the repository whose `commit` this is, `policy` the SHA-256 of release.toml, `tools` what made
    the files, with versions; `siblings` are the other repos of the release, `missing` what a partial one lacks.
    `quantized` is what the base was held in while the adapter was trained, where that is not 16 bits, and what it was
    merged into. `tensors` are types by patterns of the names of tensors, the first that fits first; `mix` is how
    they were found, where they were searched for. Where several
    exports share a repo they are its `parts`: `files` are then those of all of them, `quant` and `evidence` None, and
    `tensors` empty."""

    tagship: str
    format: str
    quant: str | None
    repo_id: str
    version: str | None
    tag: str | None
    commit: str
    exported: datetime
    run: str
    fields: Mapping[str, Any]
    base_model: str
    base_revision: str | None
    license: str
    files: tuple[FileEntry, ...]
    model: Mapping[str, Any] | None = None
    evidence: Evidence | None = None
    stream: str | None = None
    source: str | None = None
    policy: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    siblings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    quantized: Mapping[str, Any] | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)
    mix: Mapping[str, Any] | None = None
    parts: tuple[Part, ...] = ()

    def each(self) -> tuple["Manifest", ...]:
        """A manifest for each export that there is, as if it were alone in the repo."""
        names = Part.__struct_fields__
        return tuple(
            replace(self, **{name: getattr(part, name) for name in names}, parts=()) for part in self.parts
        ) or (self,)

    @property
    def quants(self) -> tuple[str, ...]:
        """The quantization types of what there is."""
        return tuple(each.quant for each in self.each() if each.quant)

    @property
    def found(self) -> FoundTypes | None:
        """The types that were found for its tensors, where they were searched for."""
        return None if self.mix is None else FoundTypes(tensors=self.tensors, record=self.mix)

    @property
    def size(self) -> int:
        """The bytes of what was exported: without what describes it, and is made later."""
        return sum(entry.size for entry in self.files if entry.path not in _DESCRIBING)

    def shown(self) -> Evidence | None:
        """What was shown of these very files; None where nothing was, or they are others now."""
        return self.evidence if self.evidence and self.evidence.files == digest_of(self.files) else None


def same_release(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests are of one release: they differ in nothing but what was shown of it, by which tools it was
    made, what else was released by then, and in how this clone calls the repository."""
    first, second = (
        replace(
            each,
            tagship="",
            tools={},
            source=None,
            evidence=None,
            parts=tuple(replace(part, evidence=None) for part in each.parts),
            siblings=(),  # of a partial release, which was completed since
            missing=(),
            files=tuple(entry for entry in each.files if entry.path not in _DESCRIBING),
        )
        for each in (one, other)
    )
    return first == second


def tool_version() -> str:
    """The version of tagship that is running."""
    return version("tagship")


def list_files(folder: Path, advance: Advance = silent, *, known: _Digests = None) -> tuple[FileEntry, ...]:
    """Every file of a folder but its manifest and its seals, hashed, but for those whose SHA-256 is `known`. `advance`
    counts bytes."""
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    listed = [name for name in names if name not in (MANIFEST_FILE, *SEALS)]
    return tuple(in_order(lambda name: file_entry(folder, name, advance, known=known), listed))


def file_entry(folder: Path, name: str, advance: Advance = silent, *, known: _Digests = None) -> FileEntry:
    """One file of a folder, hashed unless its SHA-256 is `known`."""
    path = folder / name
    digest = (known or {}).get(path) or sha256_of(path, advance)
    return FileEntry(path=name, size=path.stat().st_size, sha256=digest)


def with_file(manifest: Manifest, folder: Path, name: str) -> Manifest:
    """A manifest that lists a file as it is now, in place of what it listed under that name."""
    others = without_file(manifest, name).files
    files = sorted([*others, file_entry(folder, name)], key=lambda entry: entry.path)
    return replace(manifest, files=tuple(files))


def with_evidence(manifest: Manifest, evidence: Evidence) -> Manifest:
    """A manifest that says what was shown of its files."""
    return replace(manifest, evidence=replace(evidence, files=digest_of(manifest.files)))


def digest_of(files: Iterable[FileEntry]) -> str:
    """The SHA-256, in hexadecimal, of all files but the card and its plot, which say what was shown of them."""
    listed = [f"{entry.sha256} {entry.path}" for entry in files if entry.path not in _DESCRIBING]
    return hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest()


def without_file(manifest: Manifest, name: str) -> Manifest:
    """A manifest that does not list a file."""
    return replace(manifest, files=tuple(entry for entry in manifest.files if entry.path != name))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write release.json into the folder that it describes. Seals that were there are of another one, and go."""
    for name in SEALS:
        (folder / name).unlink(missing_ok=True)
    document = {"schema": _SCHEMA} | to_builtins(manifest)
    document["exported"] = manifest.exported.isoformat()
    shown = [manifest.evidence, *(part.evidence for part in manifest.parts)]
    for said, evidence in zip((document, *document["parts"]), shown, strict=True):
        said["evidence"] = evidence.document() if evidence else None
    document["fields"] = {
        key: value.isoformat() if isinstance(value, datetime) else value for key, value in manifest.fields.items()
    }
    write_json(folder / MANIFEST_FILE, document)


def read_manifest(folder: Path) -> Manifest:
    """Read release.json. Raises ReleaseError when the folder has none or it is not ours."""
    path = folder / MANIFEST_FILE
    try:
        check_is_file(path)
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ReleaseError(
            f"{folder} is no export of tagship: it has no {MANIFEST_FILE}",
            remedy=f"make one with {called()} export",
        ) from None
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be read: {error.strerror}", remedy="mend its rights, or remove it and export again"
        ) from None


def is_manifest(content: bytes) -> bool:
    """Whether the bytes of a release.json are, or were, a manifest: not another program's file of that name."""
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return True  # damaged, it might have been
    return isinstance(document, dict) and "tagship" in document


def parse_manifest(content: bytes, where: str) -> Manifest:
    """What the bytes of a release.json say; `where` they are from is for people. Raises ReleaseError."""
    try:
        document = json.loads(content.decode("utf-8"))
        if document.pop("schema") != _SCHEMA:
            raise ReleaseError(f"{where} is of a newer tagship", remedy="pip install --upgrade tagship")
        document["exported"] = datetime.fromisoformat(document["exported"])
        if document["exported"].tzinfo is None:
            raise ValueError("exported has no time zone")
        for said in (document, *document.get("parts", ())):
            said["files"] = tuple(FileEntry(**entry) for entry in said["files"])
            if said.get("evidence") is not None:
                said["evidence"] = Evidence.of(said["evidence"])
        document["parts"] = tuple(Part(**part) for part in document.get("parts", ()))
        _check_types(document)
        for name in ("siblings", "missing"):
            document[name] = tuple(document.get(name, ()))
        return Manifest(**document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseError(f"{where} is malformed: {error!r}", remedy="export again") from None


_TEXTS = ("tagship", "format", "repo_id", "commit", "run", "base_model", "license")
_TEXTS_OR_NONE = ("quant", "version", "tag", "base_revision", "stream", "source", "policy")


def _check_types(document: Mapping[str, Any]) -> None:
    """Raise TypeError for what is not of the type that it has: a manifest on the Hub is anybody's to write."""
    for names, kinds in ((_TEXTS, str), (_TEXTS_OR_NONE, str | None)):
        for name in names:
            if not isinstance(document[name] if kinds is str else document.get(name), kinds):
                raise TypeError(f"{name} is {document.get(name)!r}")
    for part in document["parts"]:
        if not isinstance(part.quant, str | None):
            raise TypeError(f"quant is {part.quant!r}")
    for entry in (*document["files"], *(entry for part in document["parts"] for entry in part.files)):
        if not (isinstance(entry.path, str) and isinstance(entry.size, int) and isinstance(entry.sha256, str)):
            raise TypeError(f"an entry of files is {entry!r}")
    for key in ("siblings", "missing"):
        if not all(isinstance(name, str) for name in document.get(key, ())):
            raise TypeError(f"{key} are no names")
    if not isinstance(document["fields"], dict):
        raise TypeError("fields is no object")
    for chosen in (document.get("tensors", {}), *(part.tensors for part in document["parts"])):
        if not isinstance(chosen, dict) or not all(isinstance(kind, str) for kind in chosen.values()):
            raise TypeError(f"tensors is {chosen!r}")
    for mix in (document.get("mix"), *(part.mix for part in document["parts"])):
        if not isinstance(mix, dict | None) or (mix and not isinstance(mix.get("file_type"), str)):
            raise TypeError(f"mix is {mix!r:.200}")


def manifests_below(folder: Path) -> list[Manifest]:
    """What the exports in a folder say of themselves, by their names; a damaged one says nothing."""
    found = []
    for path in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
        with suppress(ReleaseError):
            found.append(read_manifest(path.parent))
    return found
