"""What a release needs to know of a run and cannot read from it yet: found elsewhere, or to be asked for; and the
record that then tells it, experiment_metadata.json beside the adapter."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from tagship.naming.fields import FieldValue
from tagship.policy.config import Config
from tagship.runs.run import METADATA_FILE, read_run
from tagship.setup.changes import Change, appended, write
from tagship.setup.found_runs import FoundRun
from tagship.setup.questions import OF_RUNS, Question, said_by
from tagship.setup.run_names import Learned, date_in
from tagship.system.errors import UsageError


class Lacking(Struct, frozen=True, kw_only=True):
    """What is not to be read from a run: the fields that something else tells, and those that have to be asked for."""

    found: Mapping[str, FieldValue]
    questions: tuple[Question, ...]


def lacking_of(run: FoundRun, config: Config, learned: Learned | None, said: Mapping[str, FieldValue]) -> Lacking:
    """What the names of a release need of a run that it does not tell. Raises ReleaseError for a run that contradicts
    itself, UsageError for what is said otherwise than it tells."""
    tells = read_run(run.path, config.naming).fields
    for field in OF_RUNS:
        if field in said and field in tells and said[field] != tells[field]:
            given, told = (said_by({field: value})[0] for value in (said[field], tells[field]))
            raise UsageError(
                f"--set {given} is not what {run.path.name} tells: {told.partition('=')[2]}",
                remedy=f"leave it out, or mend {METADATA_FILE} in {run.path} or the folder's name, whichever says so",
            )
    wanted = [field for field in OF_RUNS if field in _needed(config, run.path.name) and field not in tells]
    known = _told_elsewhere(run, learned) | {field: said[field] for field in OF_RUNS if field in said}
    return Lacking(
        found={field: known[field] for field in wanted if field in known},
        questions=tuple(OF_RUNS[field] for field in wanted if field not in known),
    )


def record_change(run: FoundRun, fields: Mapping[str, FieldValue], root: Path) -> Change | None:
    """The record with these fields in it: a new one, with what the trainer recorded, or lines added to the one that is
    there, every character of which stays."""
    if not fields:
        return None
    path = run.path.relative_to(root).joinpath(METADATA_FILE).as_posix()
    values = {field: _as_json(value) for field, value in fields.items()}
    why = f"what nobody recorded of the run: {', '.join(values)}"
    if not run.has_record:
        return write(path, json.dumps({**run.recorded, **values}, indent=2, ensure_ascii=False) + "\n", why)
    present = (run.path / METADATA_FILE).read_text(encoding="utf-8")
    body = present.rstrip().removesuffix("}").rstrip()
    added = ",\n".join(f"  {json.dumps(field)}: {json.dumps(value)}" for field, value in values.items())
    comma = "" if body.endswith("{") else ","
    change = appended(path, "", added + "\n", why)
    return Change(what=change.what, path=path, text=change.text, whole=f"{body}{comma}\n{added}\n}}\n", why=why)


def _needed(config: Config, name: str) -> set[str]:
    """The fields that names of a release are made of, a run's own where its folder does not have it."""
    pairs = [policy.names.of(kind) for policy in config.formats for kind in ("export", "artifact", "repo")]
    needed = {field for pair in pairs for pattern in (pair.tagged, pair.untagged) for field in pattern.fields}
    return needed if config.naming.run.parse(name) is not None else needed | config.naming.run.fields


def _told_elsewhere(run: FoundRun, learned: Learned | None) -> dict[str, FieldValue]:
    """What the card beside the adapter, and the name of the folder around it, tell."""
    told = dict(run.fields)
    if date := date_in(run.telling_name):
        told.setdefault("trained", date[0])
    for field, value in ((learned.read(run.telling_name) if learned else None) or {}).items():
        told.setdefault(field, value)
    return told


def _as_json(value: FieldValue) -> str | int:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
