"""What an export is made from beside run and base, which takes long to make: made before it, once, and kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tagship.naming.variant import Variant
from tagship.system.progress import Advance


class SharedPart(Struct, frozen=True, kw_only=True):
    """A part that exports of a run share: `what` it is, in a few words, and of the format's settings what it is made
    by. `finds` is whether it is there to find types of tensors: where those are known, it is not needed."""

    what: str
    made_by: str = ""
    finds: bool = False


class FoundTypes(Struct, frozen=True, kw_only=True):
    """Types that were found for the tensors of an export, by patterns of their names, and how: what `release.json` says
    of it, which is all that making the same once more takes."""

    tensors: Mapping[str, str]
    record: Mapping[str, Any]


class MadeOfParts:
    """The part of a format (`formats/protocol.py`) that says what exports are made from beside their run. Jobs are
    `ExportJob`."""

    def aim(self, settings: Any, variant: Variant) -> str | None:
        """What types are found for, tensor by tensor, in a few words; None where no types are searched for."""
        return None

    def shares(self, settings: Any, variant: Variant) -> tuple[SharedPart, ...]:
        """What an export is made from beside its run, which `share` makes first, and other exports of the run may be,
        too; each part may need those before it."""
        return ()

    def share(self, job: Any, part: SharedPart, folder: Path, advance: Advance) -> None:
        """Fill a folder with a part; exports find it in `job.shared`. It is kept until what it is made from changes:
        the run, its base, `inputs`, and the parts before it. Raises ReleaseError where it cannot be made."""
        raise NotImplementedError(f"{type(self).__name__} has nothing that exports share")

    def told(self, job: Any, part: SharedPart) -> tuple[str, ...]:
        """What people are told of a part that was made, in lines."""
        return ()

    def found(self, job: Any) -> FoundTypes | None:
        """Types that were found for the tensors of an export, by what is shared or told; None where none were searched
        for."""
        return None
