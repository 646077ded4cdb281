"""The plan: everything that can be known before a byte is written. `invoke plan` prints it."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.formats.options import find_option
from tagship.history.web_links import web_address
from tagship.naming.fields import FieldValue, PatternError
from tagship.naming.names import make_name
from tagship.naming.tag_hints import probably_meant
from tagship.naming.tags import EXPORT, PUBLISH, Stream, VersionTag, read_tag, version_tags
from tagship.policy.bases import check_license
from tagship.policy.config import EMBEDDED, Config, parse_endpoint
from tagship.policy.verify import USUAL
from tagship.release.options import Options
from tagship.release.targets import Target, make_targets
from tagship.runs.base import BaseModel, resolve_base
from tagship.runs.quantized import quantized_by
from tagship.runs.run import Run, UnknownRun, choose_run, find_runs, read_run
from tagship.system.called import called
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.git import Repository
from tagship.system.git_objects import Commit, Tag
from tagship.system.shown import masked


class Plan(Struct, frozen=True, kw_only=True):
    """A release, decided. `moment` is the time in its names and archives (UTC); `does` is what its tag triggers;
    `passed_over` are the version tags on the same commit that did not decide. The targets of a plan may be of several
    runs of one base, of which `run` is the first. `family` are all targets that its tag releases, of which `targets`
    may be a part; without a tag they are those. `source` is the page of the repository, where its remote has one.
    `extent` is how much is compared when it is verified; `proposes` whether pull requests are made in place of commits;
    `missing` are the names of what a partial release lacks."""

    config: Config
    commit: Commit
    tag: Tag | None
    version_tag: VersionTag | None
    passed_over: tuple[VersionTag, ...]
    does: tuple[str, ...]
    moment: datetime
    run: Run
    base: BaseModel
    targets: tuple[Target, ...]
    family: tuple[Target, ...]
    endpoint: str
    private: bool
    source: str | None = None
    extent: str = USUAL
    proposes: bool = False
    missing: tuple[str, ...] = ()

    @property
    def version(self) -> str | None:
        return self.version_tag.version if self.version_tag else None

    @property
    def stream(self) -> Stream | None:
        return self.version_tag.stream if self.version_tag else None

    @property
    def embedded(self) -> bool:
        return self.endpoint == EMBEDDED

    @property
    def publishes(self) -> bool:
        return PUBLISH in self.does

    def document(self) -> dict[str, Any]:
        """The plan as `--json` prints it."""
        return {
            "tag": self.version_tag.name if self.version_tag else None,
            "version": self.version,
            "stream": self.stream.name if self.stream else None,
            "commit": self.commit.sha,
            "run": self.run.name,
            "base_model": self.base.id,
            "at": self.moment.strftime("%Y%m%d-%H%M%S"),
            "hub": masked(self.endpoint),
            "private": self.private,
            "does": list(self.does),
            "formats": [
                {
                    "run": target.run.name,
                    "format": target.policy.name,
                    "quant": target.variant.quant,
                    "export_dir": self._shown(target.export_dir),
                    "artifact": self._shown(target.artifact),
                    "repo_id": target.repo_id,
                    **({"tensors": dict(target.tensors)} if target.tensors else {}),
                    **({"aim": target.aim} if target.aim else {}),
                }
                for target in self.targets
            ],
        }

    def _shown(self, path: Path) -> str:
        root = self.config.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def make_plan(
    config: Config, options: Options, repository: Repository, now: datetime, *, coming: VersionTag | None = None
) -> Plan:
    """Decide a release, of `coming` where that tag is yet to be made on HEAD. Reads the repository and the run, writes
    nothing, asks no network.

    Raises UsageError for mistakes in the options, ReleaseError when there is nothing to release
    or a name cannot be made.
    """
    _check_options(config, options)
    config = replace(config, formats=tuple(policy.with_options(options.of_formats) for policy in config.formats))
    commit = repository.head()
    tag, version_tag, passed_over = (None, coming, ()) if coming else _choose_tag(config, options, repository, commit)
    (run, base), *more = [choose_named_run(config, options, wanted) for wanted in (options.run, *options.more_runs)]
    for other, its_base in more:
        if its_base != base:
            raise UsageError(
                f"{run.name} is of the base model {base.id}, and {other.name} of {its_base.id}",
                remedy="export runs of different base models one after another",
            )
    check_license(base)
    # A tag's own time makes its release the same whenever it is made.
    moment = options.at or (tag.commit.time if tag else now.astimezone(UTC).replace(microsecond=0))
    runs = {each.path: each for each in (run, *(other for other, _ in more))}.values()
    named = [(each, _values(each, version_tag, moment)) for each in runs]
    targets = make_targets(config, options, version_tag, named)
    return Plan(
        config=config,
        commit=commit,
        tag=tag,
        version_tag=version_tag,
        passed_over=passed_over,
        does=version_tag.does if version_tag else (EXPORT, PUBLISH),
        moment=moment,
        run=run,
        base=base,
        targets=targets,
        family=_family(config, options, version_tag, named) or targets,
        endpoint=endpoint_of(config, options),
        private=options.private or config.private,
        source=repository_page(config, repository),
        extent=options.extent,
        proposes=options.proposes,
    )


def _family(
    config: Config, options: Options, version_tag: VersionTag | None, named: Sequence[tuple[Run, dict[str, Any]]]
) -> tuple[Target, ...]:
    """What a tag releases, whichever formats are asked for now; nothing without one, as names have their time then, nor
    where other formats could not be named."""
    if version_tag is None or options.repo_name:
        return ()
    with suppress(ReleaseError):
        return make_targets(config, replace(options, formats=(), quants=()), version_tag, named)
    return ()


def _check_options(config: Config, options: Options) -> None:
    for name in options.of_formats:
        form = find_option(name).format
        if form not in [policy.name for policy in config.formats]:
            raise UsageError(
                f"--{name} is of the format {form}, which {config.file.name} does not release",
                remedy=f"add [formats.{form}] to it, or leave --{name} out",
            )


def _values(run: Run, version_tag: VersionTag | None, moment: datetime) -> dict[str, FieldValue | None]:
    """What the names of a run's exports are made of."""
    return {
        **run.fields,
        "run": run.name,
        "version": version_tag.version if version_tag else None,
        "exported": moment,
    }


def _choose_tag(
    config: Config, options: Options, repository: Repository, commit: Commit
) -> tuple[Tag | None, VersionTag | None, tuple[VersionTag, ...]]:
    """The tag that is released, its version, and the other version tags that are on HEAD."""
    if options.tag is not None:
        tag = repository.tag(options.tag, meant=probably_meant(options.tag, config.streams))
        return tag, read_tag(tag.name, config.streams), ()
    if options.untagged:
        return None, None, ()
    found = version_tags(repository.tags_at(commit), config.streams)
    chosen = next((tag for tag in found if _releases(config, tag, options.formats)), None)
    passed_over = tuple(tag for tag in found if tag != chosen)
    return (repository.tag(chosen.name) if chosen else None), chosen, passed_over


def _releases(config: Config, tag: VersionTag, formats: Sequence[str]) -> bool:
    """Whether a tag releases the formats that were asked for, or any where none was."""
    released = {policy.name for policy in config.released_by(tag.stream)}
    return bool(released) and released.issuperset(formats)


def choose_named_run(config: Config, options: Options, wanted: str | None) -> tuple[Run, BaseModel]:
    """The run that is released, by the name that the policy gives it, and its base model."""
    try:
        return named_run(config, options, choose_run(config.runs, config.naming, wanted))
    except UnknownRun:
        # Exports know a run by its name, which is its folder's unless that does not follow the policy.
        for path in find_runs(config.runs, config.naming):
            with suppress(ReleaseError):
                run, base = named_run(config, options, path)
                if run.name == wanted:
                    return run, base
        raise


def named_run(config: Config, options: Options, path: Path) -> tuple[Run, BaseModel]:
    """A run by the name that the policy gives it, and its base model. Raises ReleaseError."""
    run = read_run(path, config.naming)
    reference = options.base or run.adapter.base_model
    revision = None if options.base else run.adapter.revision
    base = resolve_base(reference, revision, config.bases, config.root)
    fields = {"base": config.naming.short_base_name(base.id), **run.fields}
    name = run.name
    if config.naming.run.parse(name) is None:
        try:
            name = make_name(config.naming.run, fields, "run")
        except PatternError as error:
            raise ReleaseError(
                f"{path}: its folder is not named as [naming] run says, and what it recorded gives {error}",
                remedy=f"{called()} name --new makes a name for the folder; or record what is missing in "
                "experiment_metadata.json, or change [naming] run",
            ) from None
    quantized = quantized_by(run.path, run.recorded, run.adapter.base_model, base)
    return replace(run, name=name, fields=fields, quantized=quantized), base


def repository_page(config: Config, repository: Repository) -> str | None:
    """The web page of the repository, by the remote that the policy names, where it has one."""
    url = repository.remote_url(config.versions.remote)
    return web_address(url) if url else None


def endpoint_of(config: Config, options: Options) -> str:
    """The Hub that the options name, else the policy's. Raises UsageError."""
    if options.hub is None:
        return config.endpoint
    try:
        return parse_endpoint(options.hub)
    except ValueError as error:
        raise UsageError(f"--hub {error}") from None
