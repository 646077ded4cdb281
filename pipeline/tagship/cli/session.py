"""What every verb works with, opened from the options."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagship.hub.connection import Hub, open_hub
from tagship.policy.config import Config, load_config
from tagship.release.options import Options
from tagship.release.plan import Plan, endpoint_of, make_plan
from tagship.release.step import hub_root, templates_of
from tagship.system.console import Console
from tagship.system.errors import UsageError
from tagship.system.git import Repository
from tagship.system.templating import Templates

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a verb works with: the policy, the repository, the options, the clock, the console."""

    config: Config
    repository: Repository
    options: Options
    now: datetime
    console: Console

    def plan(self) -> Plan:
        return make_plan(self.config, self.options, self.repository, self.now)

    def hub(self) -> AbstractContextManager[Hub]:
        """The Hub that the options or the policy name."""
        return open_hub(endpoint_of(self.config, self.options), self.config.namespace, hub_root(self.config))

    @property
    def templates(self) -> Templates:
        return templates_of(self.config)


@contextmanager
def open_session(config_file: str | None, options: Options, console: Console) -> Iterator[Session]:
    """Read release.toml and open its repository. Raises UsageError, ReleaseError."""
    config = load_config(Path(config_file or "release.toml").absolute())
    with Repository(config.root) as repository:
        yield Session(config=config, repository=repository, options=options, now=_now(), console=console)


def _now(environment: Callable[[str], str | None] = os.environ.get) -> datetime:
    """The clock for names: SOURCE_DATE_EPOCH (reproducible-builds.org) where it is set, else now."""
    epoch = environment("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC)
    if not epoch.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {epoch!r}")
    return datetime.fromtimestamp(int(epoch), UTC)
