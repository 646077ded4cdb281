"""What may be asked of a release beyond release.toml."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec import Struct, field

from tagship.policy.verify import USUAL


class Options(Struct, frozen=True, kw_only=True):
    """What the command line says beyond the policy; None and empty mean "as the policy says".

    `untagged` has names by time, whatever tags are at HEAD. `more_runs` are those after the first one, of the tasks
    that take several; `of_formats` are the options that belong to formats, by their names. `extent` is how much is
    compared: `--quick`, as usual, `--thorough`. With `proposes` what would be committed to the Hub goes into pull
    requests.
    """

    tag: str | None = None
    untagged: bool = False
    run: str | None = None
    more_runs: tuple[str, ...] = ()
    base: str | None = None
    formats: tuple[str, ...] = ()
    quants: tuple[str, ...] = ()
    of_formats: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None
    at: datetime | None = None
    output: Path | None = None
    repo_name: str | None = None
    private: bool = False
    extent: str = USUAL
    proposes: bool = False
