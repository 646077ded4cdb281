"""The verbs about names: what one says, a new one, the version of a tag, the runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tagship.cli.session import Document, Session
from tagship.naming.fields import FieldValue, PatternError
from tagship.naming.names import make_name
from tagship.naming.parsing import OLDER, Reading, read_name
from tagship.naming.tags import read_tag
from tagship.runs.base import resolve_base
from tagship.runs.run import choose_run, find_runs, no_runs, read_run
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.toml_reader import hint


def version(session: Session) -> Document:
    """The version that a tag carries."""
    name = session.options.tag or session.triggered
    if name is None:
        raise UsageError("which tag?", remedy=f"{called()} version --tag v1.0.0")
    tag = read_tag(name, session.config.streams)
    stream = tag.stream.name if tag.stream else None
    return {"tag": tag.name, "version": tag.version, "stream": stream, "does": list(tag.does)}


def runs(session: Session) -> list[Document]:
    """Training runs found, newest first."""
    listed: list[Document] = []
    for path in find_runs(session.config.runs, session.config.naming):
        try:
            run = read_run(path, session.config.naming)
        except ReleaseError as error:
            listed.append({"run": path.name, "problem": str(error)})
            continue
        fields = {key: _shown(value) for key, value in run.fields.items()}
        listed.append({"run": run.name, "base_model": run.adapter.base_model, **fields})
    if not listed:
        none = no_runs(session.config.runs)
        session.console.warn(str(none), none.remedy)
    return listed


def name(session: Session, given: str) -> Document:
    """What a name says, by the policy and by the styles before it."""
    readings = read_name(given, session.config)
    if not readings:
        raise ReleaseError(
            f"no pattern of {session.config.file.name} makes the name {given!r}, and no older style does",
            remedy="[naming] says how names are made, and [naming.older] how they were",
        )
    return {"name": given, "readings": [_document(reading) for reading in readings]}


def described(document: Document) -> list[str]:
    """What `name` found, as people read it: a line for each reading."""
    lines = []
    for reading in document["readings"]:
        of = " ".join(filter(None, (reading["format"], reading["quant"])))
        kind = " ".join(
            filter(None, (reading["what"], of and f"of {of}", "in an older style" * (reading["style"] == OLDER)))
        )
        fields = ", ".join(f"{name}={value}" for name, value in reading["fields"].items())
        lines.append(f"{kind}: {fields}")
    return lines


def new_name(session: Session, given: Mapping[str, Any], own: Sequence[str]) -> Document:
    """The name of a training run, from what the options say and, where they name one, from a run's record.

    `own` are fields of `[naming.fields]` as NAME=VALUE. Raises UsageError for what is missing or
    does not fit its field.
    """
    config, options = session.config, session.options
    fields: dict[str, FieldValue] = {"trained": options.at or session.now}
    base = options.base
    if options.run is not None:
        run = read_run(choose_run(config.runs, config.naming, options.run), config.naming)
        fields |= run.fields
        base = base or run.adapter.base_model
    if base is not None and (options.base or "base" not in fields):
        fields["base"] = config.naming.short_base_name(_base_id(session, base))
    said = {key: given[key] for key in ("dataset", "rank", "alpha", "epochs") if given[key] is not None}
    if options.at is not None:
        said["trained"] = options.at
    fields |= said | _own_fields(session, own)
    try:
        made = make_name(config.naming.run, fields, "run")
    except PatternError as error:
        raise UsageError(str(error), remedy=_new_name_remedy(session, fields)) from None
    used = {key: _shown(value) for key, value in fields.items() if key in config.naming.run.fields}
    return {"name": made, "path": str(config.runs.root / made), "fields": used}


def _own_fields(session: Session, own: Sequence[str]) -> dict[str, FieldValue]:
    known = session.config.naming.own_fields
    pairs = [field.partition("=") for field in own]
    for name, equals, _ in pairs:
        if not equals or name not in known:
            raise UsageError(
                f"--field must be NAME=VALUE with a name of [naming.fields], not {name + equals!r}{hint(name, known)}"
            )
    return {name: value for name, _, value in pairs}


def _base_id(session: Session, reference: str) -> str:
    """The id of a base, by whatever a release would know it as. What is known as nothing stands for itself, but for a
    folder: that it has some name says nothing of the model in it."""
    root = session.config.root
    try:
        return resolve_base(reference, None, session.config.bases, root).id
    except ReleaseError:
        if Path(reference).is_dir() or (root / reference).is_dir():
            raise
        return reference


def _new_name_remedy(session: Session, fields: Mapping[str, FieldValue]) -> str:
    missing = sorted(session.config.naming.run.fields - fields.keys())
    options = " ".join(
        f"--field {field}=…" if field in session.config.naming.own_fields else f"--{field} …" for field in missing
    )
    return f"add {options}" if missing else "a word has letters, digits, '.' and '_'; a hyphen separates fields"


def _document(reading: Reading) -> Document:
    return {
        "what": reading.what,
        "style": reading.style,
        "tagged": reading.tagged,
        "format": reading.format.name if reading.format else None,
        "quant": reading.quant,
        "pattern": reading.pattern.text,
        "fields": {name: _shown(value) for name, value in reading.fields.items()},
    }


def _shown(value: FieldValue) -> str | int:
    return value.isoformat() if isinstance(value, datetime) else value
