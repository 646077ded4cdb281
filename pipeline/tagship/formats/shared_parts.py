"""What an export is made from beside run and base, which takes long to make: made before it, once, and kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPart:
    """A part that exports of a run share: `what` it is, in a few words, and of the format's settings what it is made
    by. `finds` is whether it is there to find types of tensors: where those are known, it is not needed."""

    what: str
    made_by: str = ""
    finds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTypes:
    """Types that were found for the tensors of an export, by patterns of their names, and how: what `release.json` says
    of it, which is all that making the same once more takes."""

    tensors: Mapping[str, str]
    record: Mapping[str, Any]
