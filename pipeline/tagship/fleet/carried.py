"""A shipment as files of the store of results, and what came of its units: for machines that no engine of ours can hand
a value to. They are text and a git bundle; nothing of them is code that is run by being read.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins

from tagship.fleet.away import UnitDone
from tagship.fleet.shipment import Shipment
from tagship.release.result_store import ResultStore
from tagship.release.units import digest_of_json
from tagship.system.errors import ReleaseError
from tagship.system.files import scratch_folder, sha256_of, write_json
from tagship.system.json_files import read_object

_SHIPMENTS, _ENDS = "shipments", "ends"
_ABOUT, _BUNDLE, _END = "shipment.json", "bundle", "end.json"


def put_shipment(store: ResultStore, shipment: Shipment) -> str:
    """Leave a shipment where results are; returns its name there."""
    with scratch_folder("tagship-shipment") as scratch:
        files = {_BUNDLE: scratch / _BUNDLE}
        files[_BUNDLE].write_bytes(shipment.bundle)
        names = list(shipment.files)
        for number, content in enumerate(shipment.files.values()):
            files[f"files/{number}"] = scratch / str(number)
            files[f"files/{number}"].write_bytes(content)
        about = {key: value for key, value in to_builtins(shipment).items() if key not in ("bundle", "files")}
        files[_ABOUT] = scratch / _ABOUT
        write_json(files[_ABOUT], about | {"files": names})
        digest = digest_of_json({path: sha256_of(file) for path, file in files.items()})
        store.put(f"{_SHIPMENTS}/{digest}", files)
    return f"{_SHIPMENTS}/{digest}"


def get_shipment(store: ResultStore, name: str) -> Shipment:
    """Read a shipment again. Raises ReleaseError where it is gone or damaged."""
    with scratch_folder("tagship-shipment") as scratch:
        if not store.get(name, scratch):
            raise ReleaseError(f"there is no {name} in {store.place}", remedy="start the release again")
        about = read_object(scratch / _ABOUT)
        try:
            paths: list[str] = about.pop("files")
            about["remote"] = tuple(about["remote"]) if about["remote"] else None
            files = {path: (scratch / f"files/{number}").read_bytes() for number, path in enumerate(paths)}
            return Shipment(**about, files=files, bundle=(scratch / _BUNDLE).read_bytes())
        except (KeyError, TypeError, AttributeError) as error:
            raise ReleaseError(f"{name} in {store.place} is malformed: {error!r:.200}") from None


def put_end(store: ResultStore, name: str, done: UnitDone) -> None:
    """Leave what came of a unit."""
    with scratch_folder("tagship-end") as scratch:
        write_json(scratch / _END, to_builtins(done))
        store.put(f"{_ENDS}/{name}", {_END: scratch / _END})


def take_end(store: ResultStore, name: str) -> UnitDone | None:
    """What came of a unit, as far as that was left; it is there no longer then."""
    with scratch_folder("tagship-end") as scratch:
        if not store.get(f"{_ENDS}/{name}", scratch):
            return None
        left: Mapping[str, Any] = read_object(scratch / _END)
    store.remove(f"{_ENDS}/{name}")
    try:
        return UnitDone(**left)
    except TypeError as error:
        raise ReleaseError(f"what {name} left is malformed: {error!r:.200}") from None
