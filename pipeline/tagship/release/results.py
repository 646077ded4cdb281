"""What the steps of a release return, and how later steps select from it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from tagship.artifacts.archive import Archive
from tagship.artifacts.manifest import FileEntry, Manifest
from tagship.evaluation.results import Evaluation
from tagship.formats.protocol import Footprint
from tagship.hub.upload import Commit, Upload
from tagship.naming.tags import VersionTag
from tagship.release.targets import Target
from tagship.runs.base_folder import BaseFolder
from tagship.verify.comparison import Trial
from tagship.verify.evidence import Evidence, FourBit

T = TypeVar("T")


class Noted(Struct, frozen=True, kw_only=True):
    """The version's release notes, in Markdown, for the card; the version before it, whether the model is known to be
    that one's, and the formats whose repos it named otherwise."""

    text: str
    since: VersionTag | None = None
    same_model: bool = False
    named_otherwise: frozenset[str] = frozenset()


class Fetched(Struct, frozen=True, kw_only=True):
    """The base model, on this disk and whole."""

    base: BaseFolder


class Fitting(Struct, frozen=True, kw_only=True):
    """An export that can be made here, and what it will take. One that is made `by_file` is sent to the Hub file by
    file, as the disk has no room for the whole; its footprint is that of one file."""

    target: Target
    footprint: Footprint
    by_file: bool = False


class Shared(Struct, frozen=True, kw_only=True):
    """What the exports of a target's run share, in a folder, and whether it was made now; `what` it is in words."""

    target: Target
    folder: Path
    what: str
    new: bool


class Exported(Struct, frozen=True, kw_only=True):
    """An export under its final name, with its manifest."""

    target: Target
    folder: Path
    manifest: Manifest


class Answered(Struct, frozen=True, kw_only=True):
    """What base + adapter answers, which exports are held against."""

    trial: Trial
    four_bit: FourBit | None = None


class Evaluated(Struct, frozen=True, kw_only=True):
    """What base + adapter scores at the project's task, and the base alone, where it was asked."""

    base: Evaluation | None
    trained: Evaluation


class Verified(Struct, frozen=True, kw_only=True):
    """What was shown of an export: that it answers like base + adapter, unless the policy lets others pass."""

    target: Target
    evidence: Evidence


class Sent(Struct, frozen=True, kw_only=True):
    """The files of an export that the Hub has ahead of the commit, by their paths; they are here no longer."""

    target: Target
    paths: frozenset[str]


class Packaged(Struct, frozen=True, kw_only=True):
    """An export's archive."""

    target: Target
    archive: Archive


class Sized(Struct, frozen=True, kw_only=True):
    """About how large the weights of the release's exports are, by their names, in bytes: by headers that are not here,
    as those say who had them."""

    sizes: Mapping[str, int]


class Laid(Struct, frozen=True, kw_only=True):
    """What a repo gets of the release: the exports of `targets`. `files` are what it will have, with `manifest` as its
    release.json; each is below `folder` but for those that are `elsewhere`. `parts` are the manifests of the exports,
    with their files as the repo calls them."""

    repo_id: str
    targets: tuple[Target, ...]
    folder: Path
    files: tuple[FileEntry, ...]
    parts: tuple[Manifest, ...]
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(entry.size for entry in self.files)


class Sealed(Struct, frozen=True, kw_only=True):
    """What a repo gets beside the files that its release.json lists, and that one itself."""

    repo_id: str
    files: tuple[FileEntry, ...]


class Committed(Struct, frozen=True, kw_only=True):
    """A repo that the Hub took, not yet compared with what was sent."""

    repo_id: str
    upload: Upload
    commit: Commit


class Published(Struct, frozen=True, kw_only=True):
    """An export that is on the Hub, or is `proposed` there in a pull request: the commit that holds it, and its files
    as they are there."""

    target: Target
    url: str
    commit: str
    files: tuple[FileEntry, ...]
    proposed: bool = False


class Pushed(Struct, frozen=True, kw_only=True):
    """What a registry has of a repo: the reference by its tag, and the digest of the artifact (`sha256:…`)."""

    repo_id: str
    reference: str
    digest: str


class Announced(Struct, frozen=True, kw_only=True):
    """A place that was to be told of the release: where that is seen and whether it was told before, or why it was
    not."""

    place: str
    url: str | None = None
    before: bool = False
    error: str | None = None
    remedy: str | None = None


class Results:
    """All that was returned so far, in order. It is never changed: `plus` makes a longer one."""

    def __init__(self, items: Iterable[object] = ()) -> None:
        self._items = tuple(items)

    def plus(self, items: Iterable[object]) -> "Results":
        return Results((*self._items, *items))

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """Everything of one kind."""
        return tuple(item for item in self._items if isinstance(item, kind))

    def one(self, kind: type[T]) -> T:
        """The newest of a kind. Raises LookupError when a step that makes it has not run."""
        return self.of(kind)[-1]

    def for_repo(self, kind: type[T], repo_id: str) -> T:
        """The newest of a kind for one repo. Raises LookupError when a step that makes it has not run for it."""
        found = [item for item in self.of(kind) if getattr(item, "repo_id", None) == repo_id]
        if not found:
            raise LookupError(f"no {kind.__name__} for {repo_id}")
        return found[-1]

    def find(self, kind: type[T], target: Target) -> T | None:
        """The newest of a kind for one target, or None."""
        found = [item for item in self.of(kind) if getattr(item, "target", None) == target]
        return found[-1] if found else None

    def for_target(self, kind: type[T], target: Target) -> T:
        """As `find`. Raises LookupError when a step that makes it has not run for the target."""
        found = self.find(kind, target)
        if found is None:
            raise LookupError(f"no {kind.__name__} for {target.name}")
        return found
