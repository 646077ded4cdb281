"""A training run on disk: a folder with a LoRA adapter, named by the policy."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from msgspec import Struct

from tagship.naming.fields import FieldValue
from tagship.naming.names import NamingPolicy
from tagship.runs.folder import DiskFolder, Folder, object_in
from tagship.runs.places import RunPlaces, checkpoint_step
from tagship.runs.quantized import Quantized
from tagship.system.errors import ReleaseError
from tagship.system.json_files import read_object
from tagship.weights.adapter_config import CONFIG_FILE, AdapterConfig, read_adapter_config
from tagship.weights.nf4_form import Nf4

METADATA_FILE = "experiment_metadata.json"
TRAINER_FILE = "trainer_state.json"


class UnknownRun(ReleaseError):
    """No folder is the run that was asked for."""


class Run(Struct, frozen=True, kw_only=True):
    """A finished training run.

    `fields` are what names are made of (dataset, rank, alpha, epochs, trained; `base` where the
    run's own name tells it); `recorded` is what the trainer wrote about the run, for the card;
    `quantized` is what its base was held in while it was trained, None for 16 bits or more.
    """

    name: str
    path: Path
    adapter: AdapterConfig
    fields: Mapping[str, FieldValue]
    recorded: Mapping[str, Any]
    quantized: Quantized | None = None

    @property
    def nf4(self) -> Nf4 | None:
        """How its base was held in NF4, if it was."""
        return self.quantized.nf4 if self.quantized else None


def find_runs(places: RunPlaces, naming: NamingPolicy) -> list[Path]:
    """The training runs in some places, newest first.

    A run is a folder that has an adapter, or that is named as one: an unfinished run is listed
    too, so that it is refused by name and never silently passed over for an older one. The date
    in the name decides, then the recorded one. Runs without either come after all others, by
    their folders' times: a clone has made those anew. Of a run's checkpoints the last is the newest.
    """
    found = [
        path for path in places.folders() if (path / CONFIG_FILE).is_file() or naming.run.parse(path.name) is not None
    ]
    return sorted(found, key=lambda path: _age_on_disk(path, naming), reverse=True)


def choose_run(places: RunPlaces, naming: NamingPolicy, wanted: str | None) -> Path:
    """The run of that name in some places, or at that path; without a name, the newest.

    Raises ReleaseError that lists what there is.
    """
    runs = find_runs(places, naming)
    if wanted is None:
        if not runs:
            raise no_runs(places)
        return runs[0]
    found = [path for path in runs if wanted == path.name or (len(places.parts) > 1 and wanted == path.parent.name)]
    if len({path.parent for path in found}) == 1:
        return found[0].resolve()
    for path in (places.root / wanted, Path(wanted)):
        if path.is_dir() and not found:
            checkpoints = [run for run in runs if len(places.parts) > 1 and run.parent.resolve() == path.resolve()]
            return (path if (path / CONFIG_FILE).is_file() else next(iter(checkpoints), path)).resolve()
    listed = ", ".join(path.relative_to(places.root).as_posix() for path in (found or runs)[:5]) or "none"
    if found:
        raise ReleaseError(f"{len(found)} training runs are called {wanted!r}", remedy=f"say which: {listed}")
    raise UnknownRun(f"there is no training run {wanted!r}", remedy=f"newest in {places.root}: {listed}")


def no_runs(places: RunPlaces) -> ReleaseError:
    """That there is none, and where it was looked for."""
    deeper = places.deeper()
    return ReleaseError(
        f"no training run found: there is no folder {places} with an {CONFIG_FILE}",
        remedy=f'they lie deeper: [project] runs = "{places.root.name}/{deeper}"'
        if deeper
        else "train one, set [project] runs in release.toml, or name a folder with --run",
    )


def read_run(path: Path, naming: NamingPolicy) -> Run:
    """Read what a run says of itself.

    Raises ReleaseError when it has no adapter, or when its name and its adapter disagree.
    """
    adapter = read_adapter_config(path)
    recorded = read_record(path)
    name = _name_of(path, naming)
    named = naming.run.parse(name) or {}
    for field, value in (("rank", adapter.rank), ("alpha", adapter.alpha)):
        if named.get(field, value) != value:
            raise ReleaseError(
                f"the run's name {name} says {field} {named[field]}, its {CONFIG_FILE} says {value:g}",
                remedy="rename the folder: every name of the release is made from it",
            )
    fields: dict[str, FieldValue] = {"rank": adapter.rank}
    # A number that is not whole has no place in names: cut, it would say what is not so.
    if float(adapter.alpha).is_integer():
        fields["alpha"] = int(adapter.alpha)
    fields |= recorded_fields(recorded) | _own_fields(recorded, naming) | named
    return Run(name=name, path=path, adapter=adapter, fields=fields, recorded=recorded)


def read_record(path: Path) -> dict[str, Any]:
    """What was recorded of a run: its own metadata, or that of the run whose checkpoint it is, else what transformers'
    Trainer wrote, under the same names. Empty where nobody recorded anything. Raises ReleaseError for malformed
    JSON."""
    said = read_object(path / METADATA_FILE)
    if not said and checkpoint_step(path.name) is not None:
        said = read_object(path.parent / METADATA_FILE)
    return _written(said) or _from_trainer(read_object(path / TRAINER_FILE))


def trained_at(name: str, folder: Folder, naming: NamingPolicy) -> datetime | None:
    """When a run was trained: the date in its name, else the recorded one. The name is the path below the places that
    runs are in."""
    named = (naming.run.parse(_name_of(PurePosixPath(name), naming)) or {}).get("trained")
    if isinstance(named, datetime):
        return named
    recorded = recorded_fields(object_in(folder, METADATA_FILE)).get("trained")
    return recorded if isinstance(recorded, datetime) else None


def age(name: str, trained: datetime | None, changed: float = 0.0) -> tuple[datetime, float, int, str]:
    """What runs are sorted by, the oldest first. Those of which nobody knows when they were trained come before all
    others, by the time of their folders. The name is the path below the places that runs are in."""
    step = checkpoint_step(PurePosixPath(name).name) or 0
    return (datetime.min.replace(tzinfo=UTC), changed, step, name) if trained is None else (trained, 0.0, step, name)


def _age_on_disk(path: Path, naming: NamingPolicy) -> tuple[datetime, float, int, str]:
    # A run's checkpoints share its folder's time.
    folder = path.parent if checkpoint_step(path.name) is not None else path
    name = f"{path.parent.name}/{path.name}"
    return age(name, trained_at(name, DiskFolder(path=path), naming), folder.stat().st_mtime)


def _name_of(path: PurePath, naming: NamingPolicy) -> str:
    """A run's name: its folder's, or, of a checkpoint, that of the run that it is in, where the policy knows it and it
    has no adapter of its own."""
    of_run = checkpoint_step(path.name) is not None and naming.run.parse(path.parent.name) is not None
    if isinstance(path, Path) and (path.parent / CONFIG_FILE).is_file():
        of_run = False
    return path.parent.name if of_run else path.name


def recorded_fields(recorded: Mapping[str, Any]) -> dict[str, FieldValue]:
    """The fields of names that a record tells: dataset, epochs, trained."""
    fields: dict[str, FieldValue] = {}
    dataset = recorded.get("dataset")
    if isinstance(dataset, dict):
        dataset = dataset.get("name")
    if isinstance(dataset, str):
        fields["dataset"] = dataset
    epochs = recorded.get("epochs")
    if type(epochs) is int or (isinstance(epochs, float) and epochs.is_integer()):
        fields["epochs"] = int(epochs)
    try:
        trained = datetime.fromisoformat(str(recorded.get("trained")))
    except ValueError:
        return fields
    return fields | {"trained": trained if trained.tzinfo else trained.replace(tzinfo=UTC)}


def _own_fields(recorded: Mapping[str, Any], naming: NamingPolicy) -> dict[str, FieldValue]:
    """The policy's own fields (`[naming.fields]`), as far as the run recorded them."""
    found = {name: recorded.get(name) for name in naming.own_fields}
    return {
        name: f"{value:g}" if isinstance(value, float) else value
        for name, value in found.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


def _written(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what JSON has no word for, a loss that is no number above all: trainers write it all the same,
    and other programs read neither a card nor a manifest with it."""
    return {
        key: _written(value) if isinstance(value, dict) else value
        for key, value in recorded.items()
        if _is_written(value)
    }


def _is_written(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_written, value))
    return not isinstance(value, float) or math.isfinite(value)


def _from_trainer(state: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers' Trainer recorded, under the names of an experiment's metadata."""
    if not state:
        return {}
    history = state.get("log_history")
    entries = [entry for entry in history if isinstance(entry, Mapping)] if isinstance(history, list) else []
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    recorded = {
        "epochs": _epochs(state),
        "batch_size": state.get("train_batch_size"),
        "steps": state.get("global_step"),
        "train_loss": losses[-1] if losses else None,
    }
    return _written({key: value for key, value in recorded.items() if value is not None})


def _epochs(state: Mapping[str, Any]) -> float | None:
    """How many epochs a Trainer has done: all that were planned, or as many as it was through when it saved this."""
    planned, done = (state.get(key) for key in ("num_train_epochs", "epoch"))
    if not isinstance(planned, int | float):
        return None
    return min(planned, done) if isinstance(done, int | float) else planned
