"""The plan: everything that can be known before a byte is written. `invoke plan` prints it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import EMBEDDED, Config, FormatPolicy, parse_endpoint
from pipeline.errors import ReleaseError, UsageError
from pipeline.formats.protocol import Variant
from pipeline.git import Commit, Repository, Tag
from pipeline.naming.names import make_name, nearest_repo_name, repo_name_problem, short_base_name
from pipeline.naming.pattern import FieldValue, PatternError
from pipeline.naming.tag import EXPORT, PUBLISH, VersionTag, first_version_tag, read_tag
from pipeline.runs.base import BaseModel, resolve_base
from pipeline.runs.run import Run, choose_run, read_run
from pipeline.toml_reader import hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says beyond the policy; None and empty mean "as the policy says"."""

    tag: str | None = None
    run: str | None = None
    base: str | None = None
    formats: tuple[str, ...] = ()
    quants: tuple[str, ...] = ()
    hub: str | None = None
    at: datetime | None = None
    output: Path | None = None
    repo_name: str | None = None
    private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One export of the release, with every name that it will get."""

    policy: FormatPolicy
    variant: Variant
    title: str
    export_dir: Path
    artifact: Path
    repo_id: str

    @property
    def name(self) -> str:
        """The format, and its quantization type where it has one: `ollama q4_k_m`."""
        return " ".join(filter(None, (self.policy.name, self.variant.quant)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A release, decided. `moment` is the time in its names and archives (UTC); `does` is what
    its tag triggers."""

    config: Config
    commit: Commit
    tag: Tag | None
    version_tag: VersionTag | None
    does: tuple[str, ...]
    moment: datetime
    run: Run
    base: BaseModel
    targets: tuple[Target, ...]
    endpoint: str
    private: bool

    @property
    def version(self) -> str | None:
        return self.version_tag.version if self.version_tag else None

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
            "stream": self.version_tag.stream if self.version_tag else None,
            "commit": self.commit.sha,
            "run": self.run.name,
            "base_model": self.base.id,
            "at": self.moment.strftime("%Y%m%d-%H%M%S"),
            "hub": self.endpoint,
            "private": self.private,
            "does": list(self.does),
            "formats": [
                {
                    "format": target.policy.name,
                    "quant": target.variant.quant,
                    "export_dir": self._shown(target.export_dir),
                    "artifact": self._shown(target.artifact),
                    "repo_id": target.repo_id,
                }
                for target in self.targets
            ],
        }

    def _shown(self, path: Path) -> str:
        root = self.config.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def make_plan(config: Config, options: Options, repository: Repository, now: datetime) -> Plan:
    """Decide a release. Reads the repository and the run, writes nothing, asks no network.

    Raises UsageError for mistakes in the options, ReleaseError when there is nothing to release
    or a name cannot be made.
    """
    commit = repository.head()
    tag, version_tag = _choose_tag(config, options, repository, commit)
    run = read_run(choose_run(config.runs, config.run_pattern, options.run), config.run_pattern)
    reference = options.base or run.adapter.base_model
    revision = None if options.base else run.adapter.revision
    base = resolve_base(reference, revision, config.bases, config.root)
    # A tag's own time makes its release the same whenever it is made.
    moment = options.at or (tag.commit.time if tag else now.astimezone(UTC).replace(microsecond=0))
    values: dict[str, FieldValue | None] = {
        **run.fields,
        "base": run.fields.get("base") or short_base_name(base.id, config.short_names),
        "run": run.name,
        "version": version_tag.version if version_tag else None,
        "exported": moment,
    }
    return Plan(
        config=config,
        commit=commit,
        tag=tag,
        version_tag=version_tag,
        does=version_tag.does if version_tag else (EXPORT, PUBLISH),
        moment=moment,
        run=run,
        base=base,
        targets=_targets(config, options, values),
        endpoint=_endpoint(options.hub) or config.endpoint,
        private=options.private or config.private,
    )


def _choose_tag(
    config: Config, options: Options, repository: Repository, commit: Commit
) -> tuple[Tag | None, VersionTag | None]:
    if options.tag is None:
        found = first_version_tag(repository.tags_at(commit), config.streams)
        return (repository.tag(found.name), found) if found else (None, None)
    tag = repository.tag(options.tag)
    return tag, read_tag(tag.name, config.streams)


def _targets(config: Config, options: Options, values: Mapping[str, FieldValue | None]) -> tuple[Target, ...]:
    targets = []
    for policy in _policies(config, options.formats):
        wanted = options.quants if policy.format.quants else ()
        quants = tuple(dict.fromkeys(quant.lower() for quant in wanted))
        _check_quants(policy, quants)
        for variant in policy.format.variants(policy.settings, quants):
            targets.append(_target(config, options, policy, variant, values))
    if options.quants and not any(target.variant.quant for target in targets):
        raise UsageError("--quant is given, but none of the formats has quantization types")
    if options.repo_name and len(targets) > 1:
        raise UsageError("--repo-name names one repo, and there are several exports", remedy="add --format")
    _check_distinct(targets)
    return tuple(targets)


def _check_distinct(targets: Sequence[Target]) -> None:
    for meaning, names in (
        ("export folder", [str(target.export_dir) for target in targets]),
        ("artifact", [str(target.artifact) for target in targets]),
        ("repo", [target.repo_id for target in targets]),
    ):
        if shared := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(
                f"two exports would have the same {meaning}, {shared}",
                remedy="put {kind}, {prefix} or {label} into that pattern of [naming]",
            )


def _policies(config: Config, wanted: tuple[str, ...]) -> list[FormatPolicy]:
    by_name = {policy.name: policy for policy in config.formats}
    for name in wanted:
        if name not in by_name:
            raise UsageError(f"unknown format {name!r}{hint(name, list(by_name))}")
    return [by_name[name] for name in dict.fromkeys(wanted)] or list(config.formats)


def _check_quants(policy: FormatPolicy, quants: tuple[str, ...]) -> None:
    for quant in quants:
        if quant not in policy.format.quants:
            raise UsageError(
                f"unknown quantization type {quant!r} for {policy.name}{hint(quant, policy.format.quants)}",
                remedy=f"known: {', '.join(policy.format.quants)}",
            )


def _target(
    config: Config,
    options: Options,
    policy: FormatPolicy,
    variant: Variant,
    values: Mapping[str, FieldValue | None],
) -> Target:
    version = values["version"]
    tagged = str(version) if version is not None else None
    named = {**values, "kind": variant.kind, "prefix": variant.prefix, "label": variant.label}
    names = policy.names
    try:
        export = make_name(names.export.at(tagged), named, "export")
        artifact = make_name(names.artifact.at(tagged), named, "artifact")
        repo = options.repo_name or make_name(names.repo.at(tagged), named, "repo")
    except PatternError as error:
        raise ReleaseError(
            f"{policy.name}: {error}",
            remedy="name the run as [naming] run says, record it in experiment_metadata.json, or change [naming]",
        ) from None
    repo_id = repo if "/" in repo else f"{config.namespace}/{repo}"
    _check_repo_id(repo_id)
    title = str(values["run"]) if tagged is None else f"{values['run']}-v{tagged}"
    return Target(
        policy=policy,
        variant=variant,
        title=title,
        export_dir=(options.output or config.exports) / export,
        artifact=config.artifacts / f"{artifact}.tar.gz",
        repo_id=repo_id,
    )


def _check_repo_id(repo_id: str) -> None:
    for part in repo_id.split("/", 1):
        if problem := repo_name_problem(part):
            raise UsageError(
                f"the Hub would refuse the repo name {part!r}: it {problem}",
                remedy=f"nearest valid name: {nearest_repo_name(part)!r}; change [naming] repo or --repo-name",
            )


def _endpoint(text: str | None) -> str | None:
    try:
        return None if text is None else parse_endpoint(text)
    except ValueError as error:
        raise UsageError(f"--hub {error}") from None
