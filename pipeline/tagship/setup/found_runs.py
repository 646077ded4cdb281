"""The adapters in a repository: where they are, and what each says of itself."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.artifacts.manifest import MANIFEST_FILE
from tagship.naming.fields import FieldValue
from tagship.runs.base_folder import card_data_of
from tagship.runs.places import RunPlaces, checkpoint_step
from tagship.runs.run import METADATA_FILE, read_record, recorded_fields
from tagship.setup.run_names import date_in
from tagship.system.errors import ReleaseError
from tagship.weights.adapter_config import CONFIG_FILE, AdapterConfig, read_adapter_config

_DEEPEST = 6
_PASSED_OVER = ("node_modules", "venv", "env", "site-packages", "__pycache__")
_WORD = re.compile(r"[^A-Za-z0-9._]+")


class FoundRun(Struct, frozen=True, kw_only=True):
    """A folder with an adapter. `fields` are what its record, and its card, tell of the fields of names; `problem` is
    why it can be no run, where it cannot; `made` is when it was trained as far as anything tells, else the time of the
    newest file in it."""

    path: Path
    adapter: AdapterConfig | None
    recorded: Mapping[str, Any]
    fields: Mapping[str, FieldValue]
    made: datetime
    has_record: bool = False
    problem: str | None = None

    @property
    def is_checkpoint(self) -> bool:
        return checkpoint_step(self.path.name) is not None

    @property
    def telling_name(self) -> str:
        """The name that may say what it is: of a checkpoint the one of its run."""
        return self.path.parent.name if self.is_checkpoint else self.path.name


def find_adapters(root: Path) -> list[FoundRun]:
    """Every adapter below a folder, but for those in exports and environments, the newest first; of a run's checkpoints
    the one of the most steps, as releases take it."""
    found = [_read(path) for path in _folders(root)]
    newest: dict[Path, datetime] = {}
    for run in found:
        home = run.path.parent if run.is_checkpoint else run.path
        newest[home] = max(run.made, newest.get(home, run.made))

    def age(run: FoundRun) -> tuple[datetime, int, Path]:
        step = checkpoint_step(run.path.name)
        home = run.path if step is None else run.path.parent
        return newest[home], step or 0, run.path

    return sorted(found, key=age, reverse=True)


def places_of_runs(runs: Iterable[FoundRun], root: Path) -> RunPlaces | None:
    """Where the runs are that are to be released, as the newest adapter that can be one, those that are whole before
    checkpoints: the folder that it is in, or the checkpoints of all runs beside its own."""
    fitting = [run for run in runs if run.problem is None]
    best = max(fitting, key=lambda run: (not run.is_checkpoint, run.made), default=None)
    if best is None:
        return None
    folder = best.path.parent
    if best.is_checkpoint and root not in (folder, folder.parent):
        return RunPlaces(root=folder.parent, parts=("*", "checkpoint-*"))
    return RunPlaces(root=folder, parts=("*",))


def folders_below(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders below one that may hold somebody's models, each with the names of its files; also where a link leads
    to them, as to a large disk, but each once."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        path = Path(folder)
        status = path.stat()
        known = (status.st_dev, status.st_ino) in seen
        seen.add((status.st_dev, status.st_ino))
        if known or MANIFEST_FILE in files:  # an export
            folders.clear()
            continue
        deep = len(path.relative_to(root).parts) >= _DEEPEST
        folders[:] = [] if deep else sorted(name for name in folders if name not in _PASSED_OVER and name[0] != ".")
        yield path, files


def _folders(root: Path) -> Iterator[Path]:
    # Neither a pipe nor a device, which would be read for ever.
    return (path for path, _ in folders_below(root) if (path / CONFIG_FILE).is_file() and path != root)


def _read(path: Path) -> FoundRun:
    try:
        adapter, recorded = read_adapter_config(path), read_record(path)
    except ReleaseError as error:
        return FoundRun(path=path, adapter=None, recorded={}, fields={}, made=_changed(path), problem=str(error))
    fields: dict[str, FieldValue] = dict(_of_card(path)) | recorded_fields(recorded)
    trained, dated = fields.get("trained"), date_in(path.name) or date_in(path.parent.name)
    return FoundRun(
        path=path,
        adapter=adapter,
        recorded=recorded,
        fields=fields,
        made=trained if isinstance(trained, datetime) else dated[0] if dated else _changed(path),
        has_record=(path / METADATA_FILE).is_file(),
        problem=next(iter(adapter.unsupported), None),
    )


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(max(file.stat().st_mtime for file in path.iterdir() if file.is_file()), UTC)


def _of_card(path: Path) -> Iterator[tuple[str, FieldValue]]:
    """What the card that a trainer wrote beside the adapter tells: the one dataset that it names."""
    datasets = card_data_of(path).get("datasets")
    names = [datasets] if isinstance(datasets, str) else datasets if isinstance(datasets, list) else []
    if len(names) == 1 and (word := _WORD.sub("_", str(names[0]).rpartition("/")[2])):
        yield "dataset", word
