"""What a training writes of itself, for training code to call: names, cards and `doctor` are made of it."""

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tagship.runs.run import METADATA_FILE
from tagship.system.files import write_json
from tagship.system.json_files import read_object

# What a training depends on, and a reader wants to know.
_LIBRARIES = ("torch", "transformers", "peft", "trl")


def record_run(
    folder: str | os.PathLike[str],
    *,
    dataset: str | Mapping[str, Any] | None = None,
    epochs: float | None = None,
    trained: datetime | str | None = None,
    **more: Any,
) -> Path:
    """Write `experiment_metadata.json` into the folder that an adapter is saved to; returns its path.

    `dataset` is the data's name, `epochs` how often it was gone through, `trained` when that ended, also in ISO 8601
    (default: what an earlier call wrote, else now).
    `more` is whatever else is known, as JSON has it: settings, losses, metrics, fields of `[naming.fields]`; of it,
    cards have what docs/runs.md lists. What an earlier call wrote stays, where this one says nothing else.

    Raises TypeError for what JSON does not have, ValueError for numbers and times that are none, ReleaseError for a
    file that is there and is no JSON object.
    """
    path = Path(folder) / METADATA_FILE
    said = {"dataset": dataset, "epochs": _whole(epochs), "trained": _moment(trained), **more}
    known = {key: value for key, value in said.items() if value is not None}
    now = {"trained": _moment(datetime.now(UTC)), "versions": _versions()}
    document = now | read_object(path) | known
    written = _as_json(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, written)
    return path


def check_recordable(said: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for what `record_run` would not take."""
    _as_json(said)


def _as_json(said: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(said, allow_nan=False, default=_plain))


def _moment(trained: datetime | str | None) -> str | None:
    """A time as it is written: UTC, to the second."""
    if trained is None:
        return None
    moment = datetime.fromisoformat(trained) if isinstance(trained, str) else trained
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
    return moment.isoformat().replace("+00:00", "Z")


def _whole(number: float | None) -> float | None:
    """A number without the fraction that it does not have: names have whole ones alone."""
    if number is None or not math.isfinite(number):
        return number
    return int(number) if float(number).is_integer() else round(float(number), 4)


def _plain(value: Any) -> Any:
    """A number of numpy or torch, a path or a moment as JSON has it. Raises TypeError for anything else."""
    if isinstance(value, Path | datetime):
        return str(value)
    if getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"{METADATA_FILE} cannot have {value!r:.100}, a {type(value).__name__}")


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
