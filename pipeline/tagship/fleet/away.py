"""A unit, done on the machine that an engine chose: what was shipped is unpacked, and `work` is called on it in a
process of its own, as anybody would call it.

That process ends with the one that started it, however that ended, so that nobody works on what another machine was
given.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from msgspec import Struct

from tagship.fleet.shipment import Shipment, unpack
from tagship.system.ci import VARIABLES
from tagship.system.disk import told
from tagship.system.ending import end_with_children
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.files import scratch_folder
from tagship.system.json_files import read_object

# The program, in a process that ends when its standard input does (cli/leashed.py, which nothing below may import).
_PROGRAM = ("-P", "-m", "tagship.cli.leashed")
_TAIL = 2000


class UnitDone(Struct, frozen=True, kw_only=True):
    """What came of a unit: on which machine, in how many seconds; where it failed, the error and what mends it, whether
    doing it again could be of any use, and the end of what it printed."""

    machine: str
    seconds: float
    error: str | None = None
    remedy: str | None = None
    again: bool = True
    printed: str = ""


def do_away(shipment: Shipment, index: int) -> UnitDone:
    """Do a unit of what was shipped, on this machine. Its result is left where the shipment says; what fails is
    returned, with all that is known of it."""
    machine, began = platform.node(), monotonic()
    try:
        _check_seen(shipment, machine)
        with scratch_folder("tagship-unit") as scratch:
            failed = _work(shipment, index, scratch)
    except ReleaseError as error:
        failed = {"error": str(error), "remedy": error.remedy, "again": not isinstance(error, UsageError)}
    except OSError as error:
        if (refused := told(error)) is None:
            raise
        failed = {"error": str(refused), "remedy": refused.remedy}
    return UnitDone(machine=machine, seconds=round(monotonic() - began, 3), **failed)


def _check_seen(shipment: Shipment, machine: str) -> None:
    if shipment.mark and not Path(shipment.mark).is_file():
        raise UsageError(
            f"{machine} does not see the folder of results {shipment.results}",
            remedy="name a folder that all machines see, or an address: --results s3://bucket/folder",
        )


def _work(shipment: Shipment, index: int, scratch: Path) -> dict[str, Any]:
    """What of a failure is to be told; nothing where there was none."""
    folder = unpack(shipment, scratch / "clone")
    plan, answer, log = scratch / "plan.json", scratch / "answer.json", scratch / "log"
    plan.write_text(shipment.document, encoding="utf-8")
    options = ["--plan", str(plan), "--index", str(index), "--results", shipment.results, "--json-file", str(answer)]
    options += ["--config", str(folder / Path(shipment.policy).name), *(["--to-hub"] if shipment.to_hub else [])]
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, *_PROGRAM, "work", *options],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=printed,
            env=_environment(os.environ),
        )
        try:
            code = process.wait()
        finally:
            end_with_children(process)
    if code == 0:
        return {}
    tail = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
    document = read_object(answer) if answer.is_file() else {}
    error = str(document.get("error") or f"it ended with {code}: {tail.strip().rpartition(chr(10))[2]}")
    remedy = document.get("remedy")
    return {"error": error, "remedy": remedy, "again": code != UsageError.exit_code, "printed": tail}


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the machine has, but for the tag that a job of CI runs for, which is not this one's."""
    return {name: value for name, value in environment.items() if name not in VARIABLES}
