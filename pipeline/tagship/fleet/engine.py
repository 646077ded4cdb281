"""Where units are done: what an engine has to be able to do."""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from tagship.fleet.away import UnitDone
from tagship.fleet.shipment import Shipment
from tagship.policy.fleet import FleetPolicy
from tagship.release.planned import Unit
from tagship.system.console import Console


class Needs(Struct, frozen=True, kw_only=True):
    """What a unit takes of a machine, as the plan predicted it: bytes, None where that is not known."""

    memory: int | None
    disk: int | None


class Engine(Protocol):
    """Does units of one shipment on machines that it chooses. Its methods are called from several threads."""

    def do(self, unit: Unit, needs: Needs) -> UnitDone:
        """Do a unit, and wait for it: `do_away`, on some machine. Raises ToolError where that machine or its process
        was lost."""

    def stop(self) -> None:
        """End what is being done. Those who wait for it get a ToolError."""


class Task(Struct, frozen=True, kw_only=True):
    """What an engine is opened for: the shipment, the units and what they need, where people see what it says,
    and a folder for what it keeps meanwhile; the Hub that is published to, and the namespace there."""

    shipment: Shipment
    needs: tuple[Needs, ...]
    policy: FleetPolicy
    console: Console
    scratch: Path
    endpoint: str
    namespace: str
