"""What every verb works with, opened from the options."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.hub.connection import Hub, open_hub
from tagship.naming.tag_hints import probably_meant, why_no_stream
from tagship.naming.tags import read_tag
from tagship.policy.config import Config, load_config
from tagship.policy.file import policy_file
from tagship.release.options import Options
from tagship.release.plan import Plan, endpoint_of, make_plan
from tagship.release.step import hub_root, templates_of
from tagship.system.ci import triggering_tag
from tagship.system.console import Console
from tagship.system.errors import NothingToDo, ReleaseError, ToolError, UsageError
from tagship.system.git import Repository
from tagship.system.git_objects import Tag
from tagship.system.templating import Templates

Document = dict[str, Any]


class Session(Struct, frozen=True, kw_only=True):
    """What a verb works with: the policy, the repository, the options, the clock, the console; `triggered` is the tag
    whose push started this run of CI."""

    config: Config
    repository: Repository
    options: Options
    now: datetime
    console: Console
    triggered: str | None = None

    def plan(self) -> Plan:
        """What a release would do. In CI the tag that triggered the run decides, unless options say otherwise. Raises
        NothingToDo for one that is no version."""
        options = self.options
        if self.triggered is None or options.tag is not None or options.untagged:
            return make_plan(self.config, options, self.repository, self.now)
        self._check_trigger(self.triggered)
        return self.planned(replace(options, tag=self.triggered))

    def plans(self) -> list[Plan]:
        """As `plan`, for each of the runs that the options name, one after the other."""
        options = self.options
        runs = (options.run, *options.more_runs)
        each = (replace(self, options=replace(options, run=run, more_runs=())) for run in runs)
        plans = [session.plan() for session in each]
        return list({plan.run.path: plan for plan in plans}.values())

    def planned(self, options: Options) -> Plan:
        """What a release by these options would do, of a tag that triggered this run of CI with the message that it has
        on the remote."""
        made = make_plan(self.config, options, self.repository, self.now)
        return replace(made, tag=self._annotated(made.tag)) if made.tag and made.tag.name == self.triggered else made

    def _check_trigger(self, tag: str) -> None:
        streams = self.config.streams
        if read_tag(tag, streams).stream is None:
            why = f"the tag {tag} triggers nothing: {why_no_stream(tag, streams)}"
            meant = probably_meant(tag, streams)
            raise NothingToDo(
                f"{why}; did you mean {meant}?" if meant else why,
                {"tag": tag, "version": None, "does": [], "formats": [], "meant": meant, "why": why},
            )
        if not self.repository.has_tag(tag):
            raise ReleaseError(
                f"CI runs for the tag {tag}, which this checkout does not have",
                remedy="fetch the tags: actions/checkout with fetch-depth: 0, or git fetch --tags",
            )

    def _annotated(self, tag: Tag) -> Tag:
        """A tag with the message that it has on the remote: a checkout for CI may have lost it."""
        remote = self.config.versions.remote
        if tag.annotated or self.repository.remote_url(remote) is None:
            return tag
        try:
            return replace(tag, message=self.repository.annotation_on(remote, tag.name))
        except ToolError as error:
            self.console.warn(f"{remote} did not say what the message of {tag.name} is: {error}", None)
            return tag

    @contextmanager
    def hub(self) -> Iterator[Hub]:
        """The Hub that the options or the policy name."""
        endpoint = endpoint_of(self.config, self.options)
        with (
            self.console.working("waiting for the Hub"),
            open_hub(endpoint, self.config.namespace, hub_root(self.config), self.console.note) as hub,
        ):
            yield hub

    @property
    def templates(self) -> Templates:
        return templates_of(self.config)


@contextmanager
def open_session(config_file: str | None, options: Options, console: Console) -> Iterator[Session]:
    """Read release.toml and open its repository. Raises UsageError, ReleaseError."""
    config = load_config(Path(config_file).absolute() if config_file else policy_file(Path.cwd()))
    with Repository(config.root) as repository:
        yield Session(
            config=config,
            repository=repository,
            options=options,
            now=_now(),
            console=console,
            triggered=triggering_tag(),
        )


def _now(environment: Callable[[str], str | None] = os.environ.get) -> datetime:
    """The clock for names: SOURCE_DATE_EPOCH (reproducible-builds.org) where it is set, else now."""
    epoch = environment("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.now(UTC)
    if not (epoch.isascii() and epoch.isdecimal()):
        raise UsageError(
            f"SOURCE_DATE_EPOCH must be seconds since 1970, not {epoch!r}", remedy="unset SOURCE_DATE_EPOCH"
        )
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is after the year 9999: {epoch:.40}", remedy="unset SOURCE_DATE_EPOCH"
        ) from None
