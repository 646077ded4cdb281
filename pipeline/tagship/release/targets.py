"""The exports of a release, with every name that they will get, checked before anything runs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tagship.formats.registry import format_names
from tagship.formats.shared_parts import FoundTypes
from tagship.naming.fields import FieldValue, PatternError
from tagship.naming.name_rules import FILES, HUB, PLUS_IN_REPO_NAMES, NameRules
from tagship.naming.names import make_name
from tagship.naming.tags import VersionTag
from tagship.naming.variant import Variant
from tagship.policy.config import Config
from tagship.policy.formats import FormatPolicy
from tagship.release.options import Options
from tagship.runs.run import Run
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.toml_reader import hint, nearest


class Target(Struct, frozen=True, kw_only=True):
    """One export of the release, with every name that it will get. `found` are types of its tensors that were found
    before, where it is made once more."""

    run: Run
    policy: FormatPolicy
    variant: Variant
    title: str
    export_dir: Path
    artifact: Path
    repo_id: str
    found: FoundTypes | None = None

    def __hash__(self) -> int:
        return hash((self.export_dir, self.repo_id))

    @property
    def name(self) -> str:
        """The format, and its quantization type where it has one: `ollama q4_k_m`."""
        return " ".join(filter(None, (self.policy.name, self.variant.quant)))

    @property
    def tensors(self) -> Mapping[str, str]:
        """Types that are chosen for tensors of it (`Format.tensors`)."""
        return self.policy.format.tensors(self.policy.settings, self.variant)

    @property
    def aim(self) -> str | None:
        """What types of its tensors are searched for (`Format.aim`)."""
        return self.policy.format.aim(self.policy.settings, self.variant)


def make_targets(
    config: Config,
    options: Options,
    tag: VersionTag | None,
    runs: Sequence[tuple[Run, Mapping[str, FieldValue | None]]],
) -> tuple[Target, ...]:
    """Every export of each run, whose names are made of the values beside it.

    Raises UsageError for options that do not fit the policy or each other and for names that the
    places they go to would refuse, ReleaseError for a name that cannot be made.
    """
    targets = [
        _target(config, options, policy, variant, run, values)
        for policy, variants in chosen_variants(config, options, tag)
        for run, values in runs
        for variant in variants
    ]
    if options.repo_name and len(targets) > 1 and not _share_a_repo(targets):
        raise UsageError("--repo-name names one repo, and there are several exports", remedy="add --format")
    _check_distinct(targets)
    return tuple(targets)


def chosen_variants(
    config: Config, options: Options, tag: VersionTag | None
) -> list[tuple[FormatPolicy, tuple[Variant, ...]]]:
    """What is exported of each run: the formats, each with its variants. Raises UsageError for options that do not fit
    the policy or the tag."""
    policies = _policies(config, options.formats, tag)
    quants = tuple(dict.fromkeys(quant.lower() for quant in options.quants))
    _check_quants(policies, quants)
    return [(policy, policy.format.variants(policy.settings, _quants_of(policy, quants))) for policy in policies]


def by_repo(targets: Iterable[Target]) -> dict[str, tuple[Target, ...]]:
    """Targets by the repo that they go to, in their order."""
    found: dict[str, tuple[Target, ...]] = {}
    for target in targets:
        found[target.repo_id] = (*found.get(target.repo_id, ()), target)
    return found


def _share_a_repo(targets: Sequence[Target]) -> bool:
    """Whether targets are variants of one export whose format's policy has them together."""
    return targets[0].policy.together and len({(target.policy.name, target.run.path) for target in targets}) == 1


def _check_distinct(targets: Sequence[Target]) -> None:
    alone = [repo_id for repo_id, sharing in by_repo(targets).items() for _ in _counted(sharing)]
    for meaning, names in (
        ("export folder", [str(target.export_dir) for target in targets]),
        ("artifact", [str(target.artifact) for target in targets]),
        ("repo", alone),
    ):
        if shared := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(
                f"two exports would have the same {meaning}, {shared}",
                remedy="put {kind}, {prefix} or {label} into that pattern of [naming]",
            )


def _counted(sharing: tuple[Target, ...]) -> tuple[Target, ...]:
    """Targets of one repo that may not be in the same one: of those that share it on purpose, one."""
    return sharing[:1] if _share_a_repo(sharing) else sharing


# What people call a format by.
_MEANT = {
    **dict.fromkeys(("gguf", "llama.cpp", "llamacpp"), "ollama"),
    **dict.fromkeys(("safetensors", "merged", "hf", "transformers"), "vllm"),
    **dict.fromkeys(("adapter", "peft"), "lora"),
}


def _policies(config: Config, wanted: tuple[str, ...], tag: VersionTag | None) -> Sequence[FormatPolicy]:
    by_name = {policy.name: policy for policy in config.formats}
    released = config.released_by(tag.stream if tag else None)
    for name in wanted:
        if name not in by_name:
            if name in format_names():
                raise UsageError(f"the policy does not release {name}", remedy=f"add [formats.{name}] to release.toml")
            meant = _MEANT.get(name.lower())
            likely = f": did you mean {meant!r}?" if meant in by_name else hint(name, list(by_name))
            raise UsageError(f"unknown format {name!r}{likely}")
        if tag and by_name[name] not in released:
            own = by_name[name].stream
            assert tag.stream is not None
            raise UsageError(
                f"the tag {tag.name} does not release {name}: "
                + (f"{name} has versions of its own" if own else f"it is of {tag.stream.format} alone"),
                remedy=f"tag {name} by {own.pattern.text}" if own else f"leave --format {name} out",
            )
    if tag and not released:
        raise UsageError(f"the tag {tag.name} releases nothing: each format has versions of its own")
    return [by_name[name] for name in dict.fromkeys(wanted)] or released


def _quants_of(policy: FormatPolicy, quants: Sequence[str]) -> tuple[str, ...]:
    """Those that a format has; where it has none of them, it is exported as its settings say."""
    known = policy.format.quants_of(policy.settings)
    return tuple(quant for quant in quants if quant in known)


def _check_quants(policies: Sequence[FormatPolicy], quants: Sequence[str]) -> None:
    known = list(dict.fromkeys(quant for policy in policies for quant in policy.format.quants_of(policy.settings)))
    if quants and not known:
        raise UsageError("--quant is given, but none of the formats has quantization types")
    for quant in quants:
        if quant not in known:
            of = " or ".join(policy.name for policy in policies if policy.format.quants)
            raise UsageError(
                f"unknown quantization type {quant!r} for {of}{nearest(quant, known)}",
                remedy=f"--quant takes: {', '.join(known)}"
                + "".join(
                    f"; or define it as {policy.format.own_quants.format(quant)} in release.toml"
                    for policy in policies
                    if policy.format.own_quants
                ),
            )


def _target(
    config: Config,
    options: Options,
    policy: FormatPolicy,
    variant: Variant,
    run: Run,
    values: Mapping[str, FieldValue | None],
) -> Target:
    version = values["version"]
    tagged = str(version) if version is not None else None
    named = {**values, "kind": variant.kind, "prefix": variant.prefix, "label": variant.label}
    names, of_repo = policy.names, policy.shared or variant
    in_repo = named | {"kind": of_repo.kind, "prefix": of_repo.prefix, "label": of_repo.label}
    try:
        export = make_name(names.export.at(tagged), named, "export")
        artifact = make_name(names.artifact.at(tagged), named, "artifact")
        repo = options.repo_name or make_name(names.repo.at(tagged), in_repo, "repo")
    except PatternError as error:
        raise ReleaseError(
            f"{policy.name}: {error}",
            remedy="record it in experiment_metadata.json, or change [naming]",
        ) from None
    repo_id = repo if "/" in repo else f"{config.namespace}/{repo}"
    title = str(values["run"]) if tagged is None else f"{values['run']}-v{tagged.replace('+', PLUS_IN_REPO_NAMES)}"
    _check_name(export, "export folder", FILES, "change [naming] export")
    _check_name(f"{artifact}.tar.gz", "artifact", FILES, "change [naming] artifact")
    for part in repo_id.split("/", 1):
        _check_name(part, "repo name", HUB, "change [naming] repo or --repo-name")
    for rules in policy.format.name_rules:
        _check_name(title, "model name", rules, "change [naming] run")
        _check_name(repo_id.rsplit("/", 1)[-1], "repo name", rules, "change [naming] repo or --repo-name")
    return Target(
        run=run,
        policy=policy,
        variant=variant,
        title=title,
        export_dir=(options.output or config.exports) / export,
        artifact=config.artifacts / f"{artifact}.tar.gz",
        repo_id=repo_id,
    )


def _check_name(name: str, what: str, place: NameRules, remedy: str) -> None:
    if complaint := place.complaint(name, what):
        raise UsageError(complaint, remedy=f"nearest valid name: {place.nearest(name)!r}; {remedy}")
