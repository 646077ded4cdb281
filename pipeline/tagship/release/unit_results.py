"""What a unit of work leaves: its export with the evidence, or why it failed."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from tagship.artifacts.file_checks import check_files
from tagship.artifacts.manifest import MANIFEST_FILE, FileEntry, Manifest, file_entry, read_manifest, tool_version
from tagship.policy.config import FAILURES_FOLDER, UNITS_FOLDER
from tagship.release.planned import Planned, Unit
from tagship.release.result_store import ResultStore
from tagship.release.units import digest_of_json
from tagship.system.called import called
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.files import scratch_folder, write_json
from tagship.system.json_files import read_object
from tagship.system.shown import masked
from tagship.verify.questions import Answers

_SCHEMA = 1
_RESULT, _EXPORT, _FAILURE = "result.json", "export", "failure.json"


class UnitResult(Struct, frozen=True, kw_only=True):
    """A unit that was done: of which plan and inputs, by which tagship; the digest of its manifest, which lists all
    other files; about how large the exports of the release are, by name, in bytes; the digest of the answers of
    base + adapter that it was held against; and the paths of what was `sent` to the Hub, and is not with it."""

    plan: str
    digest: str
    tagship: str
    manifest: FileEntry
    sizes: Mapping[str, int]
    answers: str
    sent: tuple[str, ...] = ()


class Failure(Struct, frozen=True, kw_only=True):
    """Why a unit is not done, and what mends it."""

    error: str
    remedy: str | None


class Found(Struct, frozen=True, kw_only=True):
    """A unit's result, each file compared with its digest, in a folder with its `export`."""

    result: UnitResult
    manifest: Manifest
    export: Path


def name_of(digest: str) -> str:
    """What a store calls the result of a unit, by the unit's digest."""
    return f"{UNITS_FOLDER}/{digest}"


def answers_digest(answers: Answers) -> str:
    """What tells one set of answers from another."""
    return digest_of_json([[list(answer.asked.ids), list(answer.ids)] for answer in answers])


def put_result(store: ResultStore, result: UnitResult, export: Path, scratch: Path) -> None:
    """Keep a unit's export and what is known of it, in place of an earlier failure; `scratch` is a folder for what is
    written on the way."""
    manifest = read_manifest(export)
    write_json(scratch / _RESULT, {"schema": _SCHEMA} | to_builtins(result))
    names = [MANIFEST_FILE, *(entry.path for entry in manifest.files if entry.path not in result.sent)]
    files = {f"{_EXPORT}/{name}": export / name for name in names}
    store.put(name_of(result.digest), {_RESULT: scratch / _RESULT} | files)
    store.remove(_failed(result.digest))


def put_failure(store: ResultStore, unit: Unit, error: ReleaseError, scratch: Path) -> None:
    """Keep why a unit failed, for those who gather."""
    write_json(scratch / _FAILURE, {"unit": unit.name, "error": masked(str(error)), "remedy": error.remedy})
    store.put(_failed(unit.digest), {_FAILURE: scratch / _FAILURE})


def failure_of(store: ResultStore, unit: Unit, scratch: Path) -> Failure | None:
    """Why a unit failed, as far as that was left."""
    folder = scratch / f"failure-{unit.index}"
    folder.mkdir()
    if not store.get(_failed(unit.digest), folder):
        return None
    try:
        told = read_object(folder / _FAILURE, "what it left")
    except ReleaseError as error:
        return Failure(error=f"it failed, and {error}", remedy=None)
    remedy = told.get("remedy")
    return Failure(error=str(told.get("error")), remedy=str(remedy) if remedy else None)


def has_result(store: ResultStore, unit: Unit) -> bool:
    """Whether a unit left a result, whatever is in it."""
    return store.has(name_of(unit.digest))


def find_result(store: ResultStore, planned: Planned, unit: Unit, scratch: Path) -> Found | None:
    """A unit's result, where there is one. Raises ReleaseError for one that is damaged, or not of this plan."""
    folder = scratch / f"unit-{unit.index}"
    folder.mkdir()
    try:
        if not store.get(name_of(unit.digest), folder):
            return None
        result = _read(folder / _RESULT)
        if (result.plan, result.digest) != (planned.digest, unit.digest):
            raise ReleaseError("it is of another plan")
        export = folder / _EXPORT
        if not (export / MANIFEST_FILE).is_file() or file_entry(export, MANIFEST_FILE) != result.manifest:
            raise ReleaseError(f"its {MANIFEST_FILE} was changed")
        manifest = read_manifest(export)
        here = tuple(entry for entry in manifest.files if entry.path not in result.sent)
        check_files(export, replace(manifest, files=here))
    except ToolError:  # where it is could not be asked, which says nothing of it
        raise
    except ReleaseError as error:
        why = str(error).replace(f"{folder}/", "").replace(str(folder / _EXPORT), _EXPORT)
        raise ReleaseError(
            f"the result of {unit.name} is not what was made: {why}",
            remedy=f"do it again: {called()} work --plan {shlex.quote(str(planned.file))} --index {unit.index}",
        ) from None
    return Found(result=result, manifest=manifest, export=export)


@contextmanager
def results_scratch(root: Path) -> Iterator[Path]:
    """A folder for what is looked at of results; beside the exports of `root`, so that it is linked there."""
    root.mkdir(parents=True, exist_ok=True)
    with scratch_folder("results", root) as scratch:
        yield scratch


def _read(path: Path) -> UnitResult:
    document: dict[str, Any] = read_object(path)
    try:
        if document.pop("schema") != _SCHEMA:
            raise ReleaseError(f"{path.name} is of another tagship, not of {tool_version()}")
        document["manifest"] = FileEntry(**document["manifest"])
        document["sent"] = tuple(map(str, document["sent"]))
        document["sizes"] = {str(name): int(size) for name, size in document["sizes"].items()}
        result = UnitResult(**document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ReleaseError(f"{path.name} is malformed: {error!r:.200}") from None
    return result


def _failed(digest: str) -> str:
    return f"{FAILURES_FOLDER}/{digest}"
