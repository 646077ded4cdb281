"""A document of what is planned, of one run or of several, read, and held against the repository that units of it are
done in."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.artifacts.manifest import tool_version
from tagship.history.model import ModelState, changes
from tagship.naming.clock import parse_moment
from tagship.release.options import Options
from tagship.release.units import RUNS, SCHEMA, decided
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git import Repository
from tagship.system.json_files import read_object

# How people call what a document says under these keys.
_CALLED = {"policy": "release.toml", "inputs": "the files beside the run"}


class Unit(Struct, frozen=True, kw_only=True):
    """One export of one run: its `index` in the document and its `place` in its run's plan, what it is called (`ollama
    q4_k_m`), and the digest of all that it is made from, which is the name of its result."""

    index: int
    place: int
    name: str
    digest: str


class Planned(Struct, frozen=True, kw_only=True):
    """A run's plan, read from a file: the options that come to it again, and its units in order."""

    file: Path
    document: Mapping[str, Any]
    options: Options
    units: tuple[Unit, ...]

    @property
    def digest(self) -> str:
        return str(self.document["digest"])

    @property
    def commit(self) -> str:
        return str(self.document["commit"])

    @property
    def run(self) -> str:
        return str(self.document["run"])


class PlannedRuns(Struct, frozen=True, kw_only=True):
    """What is released as one: the plans of one run or of several, whose units are numbered through."""

    plans: tuple[Planned, ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """Those of all plans, in the order of their indexes."""
        return tuple(unit for planned in self.plans for unit in planned.units)

    @property
    def number(self) -> int:
        """Of units."""
        return len(self.units)

    def unit(self, index: int) -> tuple[Planned, Unit]:
        """A unit, and the plan that it is of. Raises UsageError where there is none of this number."""
        for planned in self.plans:
            for unit in planned.units:
                if unit.index == index:
                    return planned, unit
        raise UsageError(f"the plan has no unit {index}: it has 0 to {self.number - 1}")


def read_planned(path: Path, root: Path) -> PlannedRuns:
    """Read a document that `plan` wrote; `root` is the folder of release.toml. Raises UsageError for what is none."""
    if not path.is_file():
        raise UsageError(f"there is no plan {path}", remedy=_make())
    try:
        document = read_object(path)
    except (ReleaseError, OSError) as error:
        raise UsageError(f"the plan {error}", remedy=_anew()) from None
    try:
        if document["schema"] != SCHEMA or document["tagship"] != tool_version():
            made_by = f"tagship {document['tagship']}" if document["schema"] == SCHEMA else "another tagship"
            raise UsageError(
                f"{path} was made by {made_by}, and this is {tool_version()}",
                remedy="install the same one on all machines of a release",
            )
        plans: list[Planned] = []
        for each in document["runs"] if RUNS in document else [document]:
            units = _units(each, sum(len(planned.units) for planned in plans))
            _text(each["run"])
            plans.append(Planned(file=path, document=each, options=_options(each["options"], root), units=units))
        if not plans or {planned.commit for planned in plans} != {document["commit"]}:
            raise ValueError("its runs are not of one commit")
        return PlannedRuns(plans=tuple(plans))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no plan of tagship: {error!r:.200}", remedy=_anew()) from None


def _units(document: Mapping[str, Any], before: int) -> tuple[Unit, ...]:
    """The units of a plan, with so many before them."""
    units = tuple(
        Unit(index=before + place, place=place, name=_text(unit["name"]), digest=_hexadecimal(unit["digest"]))
        for place, unit in enumerate(document["units"])
    )
    _hexadecimal(document["digest"])
    _text(document["commit"])
    if not units:
        raise ValueError("it has no units")
    return units


def _options(given: Mapping[str, Any], root: Path) -> Options:
    values: dict[str, Any] = {
        key: None if given[key] is None else _text(given[key]) for key in ("tag", "base", "hub", "repo_name")
    }
    values |= {key: tuple(map(_text, given[key])) for key in ("formats", "quants")}
    return Options(
        **values,
        untagged=given["tag"] is None,
        run=str(root / _text(given["run"])),
        of_formats={_text(name): _text(value) for name, value in given["of_formats"].items()},
        at=_moment(given["at"]),
        private=given["private"] is True,
        extent=_text(given["extent"]),
    )


def _moment(value: Any) -> datetime:
    try:
        return parse_moment(_text(value))
    except UsageError:
        raise ValueError(f"{value!r:.100} is no moment") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r:.100} is no text")
    return value


def _hexadecimal(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"{value!r:.100} is no digest")  # it becomes the name of a folder
    return value


# Held against the repository


def check_commit(planned: Planned, repository: Repository, own: Sequence[Path]) -> None:
    """Raise ReleaseError where another commit is checked out than was planned, or the working tree is not what it has,
    but for the folders and files that are our `own`."""
    head = repository.head().sha
    if head != planned.commit:
        raise ReleaseError(
            f"the plan is of the commit {planned.commit[:10]}, and {head[:10]} is checked out",
            remedy=f"git checkout {planned.commit}",
        )
    if changed := repository.changed_paths(own):
        listed = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise ReleaseError(
            f"the working tree is not what {head[:10]} has: {listed}",
            remedy="git stash --include-untracked, or commit it and plan that",
        )


def check_same(planned: Planned, here: Mapping[str, Any]) -> None:
    """Raise ReleaseError, which names what differs, where the document of the plan that is made `here` is not the one
    that was planned."""
    before, now = decided(planned.document), decided(here)
    differing = [key for key in now if _canonical(before.get(key)) != _canonical(now[key])]
    if not differing:
        return
    if "model" in differing:
        check_model(planned, now["model"])
    key = differing[0]
    if key in _CALLED:
        raise ReleaseError(f"{_CALLED[key]} is not what was planned{_which(before.get(key), now[key])}", remedy=_anew())
    raise ReleaseError(
        f"the plan says {key} {_canonical(before.get(key)):.200}, and here it is {_canonical(now[key]):.200}",
        remedy=_anew(),
    )


def check_model(planned: Planned, state: Any, what: str = "this") -> None:
    """Raise ReleaseError, with what changed, where the state of a model, as a manifest has it, is not the planned one;
    `what` is of that model."""
    before = planned.document["model"]
    if _canonical(before) != _canonical(state):
        told = _changes(before, state)
        raise ReleaseError(f"{what} is not the model that was planned" + (f": {told}" if told else ""), remedy=_anew())


def _changes(before: Any, now: Any) -> str:
    was, is_now = ModelState.from_manifest(before), ModelState.from_manifest(now)
    return "; ".join(f"{each.what} ({each.file})" for each in changes(was, is_now)) if was and is_now else ""


def _which(before: Any, now: Any) -> str:
    """Which files differ, where both are digests by path."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return ""
    return ": " + ", ".join(path for path in sorted({*before, *now}) if before.get(path) != now.get(path))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _make() -> str:
    return f"{called()} plan --json-file plan.json"


def _anew() -> str:
    return f"make it anew on this commit: {_make()}; or give this machine what it was made from"
