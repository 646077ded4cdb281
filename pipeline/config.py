"""release.toml, parsed once into frozen values; all its mistakes are reported together."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli

from pipeline.errors import UsageError
from pipeline.formats import registry
from pipeline.formats.protocol import Format
from pipeline.naming.names import repo_name_problem
from pipeline.naming.pattern import Pattern
from pipeline.naming.tag import ACTIONS, EXPORT, PUBLISH, Stream
from pipeline.runs.base import BaseModel
from pipeline.toml_reader import Reader, hint

EMBEDDED = "embedded"

_RUN = "{base}-{dataset}-r{rank}-a{alpha}-e{epochs}-{trained:%Y%m%d-%H%M%S}"
_NAMES = {
    "export": ("{run}-{kind}-v{version}", "{run}-{kind}-{exported:%Y%m%d-%H%M%S}"),
    "artifact": ("{prefix}-{run}-v{version}", "{prefix}-{run}"),
    "repo": ("{base}-{dataset}-{label}-v{version}", "{run}-{label}-{exported:%Y%m%d-%H%M%S}"),
}
_STREAMS = {
    "semantic": ("v{version}", (EXPORT, PUBLISH)),
    "model": ("model-v{version}", (EXPORT, PUBLISH)),
    "export": ("export-v{version}", (EXPORT,)),
}
_PROMPTS = ("Hello! Who are you?", "Write one sentence about the sea.", "Count from one to five.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePair:
    """How one kind of name is made: with a version tag, and without."""

    tagged: Pattern
    untagged: Pattern

    def at(self, version: str | None) -> Pattern:
        return self.untagged if version is None else self.tagged


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names that one format's releases get."""

    export: NamePair
    artifact: NamePair
    repo: NamePair


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatPolicy:
    """A `[formats.X]` table: the format, its own settings, and its names."""

    format: Format
    settings: Any
    names: Names

    @property
    def name(self) -> str:
        return self.format.name


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPolicy:
    """How an export is held against base + adapter; `kl` is in nats, by quantization type."""

    prompts: tuple[str, ...]
    max_tokens: int
    kl: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPolicy:
    """What the model card says beyond what the run and the base tell."""

    language: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole policy. Paths are absolute; `root` is the folder that release.toml is in."""

    root: Path
    file: Path
    namespace: str
    runs: Path
    exports: Path
    artifacts: Path
    endpoint: str
    private: bool
    streams: tuple[Stream, ...]
    run_pattern: Pattern
    short_names: Mapping[str, str]
    bases: Mapping[str, BaseModel]
    formats: tuple[FormatPolicy, ...]
    verify: VerifyPolicy
    card: CardPolicy

    @property
    def state(self) -> Path:
        """Where resuming and the embedded Hub keep their files; deleting it loses no release."""
        return self.root / ".tagship"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """What a release itself writes: it makes no tree dirty."""
        return (self.exports, self.artifacts, self.state)


def load_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read release.toml. Raises UsageError that lists every mistake with its dotted key."""
    try:
        document = tomli.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"no {path.name} in {path.parent}",
            remedy="run the task in the folder that has one, or name it with --config FILE",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not valid TOML: {error}") from None
    problems: list[str] = []
    reader = Reader(document, "", problems)
    config = _config(reader, path.resolve(), environment)
    reader.close()
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        mistakes = "mistake" if len(problems) == 1 else "mistakes"
        raise UsageError(f"{path.name} has {len(problems)} {mistakes}:\n{listed}")
    return config


def _config(reader: Reader, path: Path, environment: Mapping[str, str]) -> Config:
    root = path.parent
    project = reader.table("project")
    hub = reader.table("hub")
    naming = reader.table("naming")
    formats = _formats(reader, naming)
    config = Config(
        root=root,
        file=path,
        namespace=_namespace(project),
        runs=_folder(root, project.text("runs", "adapters")),
        exports=_folder(root, project.text("exports", "exports")),
        artifacts=_folder(root, project.text("artifacts", "dist")),
        endpoint=_overridden(hub.parsed("endpoint", EMBEDDED, parse_endpoint), environment),
        private=hub.flag("private", False),
        streams=_streams(reader),
        run_pattern=naming.parsed("run", _RUN, Pattern),
        short_names=_short_names(naming),
        formats=formats,
        bases=_bases(reader, root),
        verify=_verify(reader, formats),
        card=_card(reader),
    )
    for table in (project, hub, naming):
        table.close()
    return config


def parse_endpoint(text: str) -> str:
    """The Hub that `text` names. Raises ValueError for what is neither `embedded` nor a URL."""
    url = urlsplit(text)
    if text == EMBEDDED or (url.scheme in ("http", "https") and url.hostname):
        return text.rstrip("/")
    raise ValueError(f"must be {EMBEDDED!r} or a URL such as https://huggingface.co, not {text!r}")


def _overridden(said: str, environment: Mapping[str, str]) -> str:
    try:
        return parse_endpoint(environment.get("HF_ENDPOINT") or said)
    except ValueError as error:
        raise UsageError(f"HF_ENDPOINT {error}") from None


def _namespace(project: Reader) -> str:
    namespace = project.required("namespace", "your user or organisation on the Hub")
    if namespace and (problem := repo_name_problem(namespace)):
        project.note("namespace", problem)
    return namespace


def _folder(root: Path, text: str) -> Path:
    # Not resolved: git knows a link in the tree by its own name.
    return Path(os.path.normpath(root / text))


def _streams(reader: Reader) -> tuple[Stream, ...]:
    tags = reader.table("tags")
    if not tags.keys():
        return tuple(
            Stream(name=name, pattern=Pattern(pattern), does=does) for name, (pattern, does) in _STREAMS.items()
        )
    return tuple(_stream(name, table) for name, table in tags.tables())


def _stream(name: str, table: Reader) -> Stream:
    default, does = _STREAMS.get(name, ("v{version}", (EXPORT, PUBLISH)))
    stream = Stream(
        name=name,
        pattern=table.parsed("pattern", default, Pattern),
        does=table.choices("does", does, ACTIONS),
    )
    if EXPORT not in stream.does:
        table.note("does", f"must name {EXPORT!r}: there is nothing to publish without it")
    if name not in _STREAMS and not table.has("pattern"):
        table.note("pattern", f'is missing: the tags of this stream, such as "{name}-v{{version}}"')
    if stream.pattern.fields != {"version"}:
        table.note("pattern", "must have {version} and no other field")
    table.close()
    return stream


def _short_names(naming: Reader) -> dict[str, str]:
    table = naming.table("bases")
    names = table.entries()
    for base, name in names.items():
        if name and not Pattern("{base}").parse(name):
            table.note(base, f"may only have letters, digits, '.' and '_', not {name!r}: '-' separates fields")
    return names


def _formats(reader: Reader, naming: Reader) -> tuple[FormatPolicy, ...]:
    general = {kind: _pair(naming.table(kind), tagged, untagged) for kind, (tagged, untagged) in _NAMES.items()}
    policies = []
    known = registry.format_names()
    tables = reader.table("formats")
    for name, table in tables.tables():
        if name not in known:
            tables.note(name, f"is no format{hint(name, known)}")
            continue
        found = registry.find_format(name)
        names = Names(**{kind: _override(table, kind, pair) for kind, pair in general.items()})
        policies.append(FormatPolicy(format=found, settings=found.configure(table), names=names))
        table.close()
    if not tables.keys():
        reader.note("formats", f"is missing: add [formats.X] for each format to release ({', '.join(known)})")
    return tuple(policies)


def _override(table: Reader, kind: str, general: NamePair) -> NamePair:
    return _pair(table.table(kind), general.tagged.text, general.untagged.text)


def _pair(table: Reader, tagged: str, untagged: str) -> NamePair:
    pair = NamePair(
        tagged=table.parsed("tagged", tagged, Pattern),
        untagged=table.parsed("untagged", untagged, Pattern),
    )
    table.close()
    return pair


def _bases(reader: Reader, root: Path) -> dict[str, BaseModel]:
    bases = {}
    for identifier, table in reader.table("bases").tables():
        path = table.optional_text("path")
        bases[identifier] = BaseModel(
            id=identifier,
            path=(root / path).resolve() if path else None,
            revision=table.optional_text("revision"),
            license=table.optional_text("license"),
            publish=table.flag("publish", False),
        )
        table.close()
    return bases


def _verify(reader: Reader, formats: Sequence[FormatPolicy]) -> VerifyPolicy:
    verify = reader.table("verify")
    limits = verify.table("kl")
    kl = {quant: limits.number(quant) for policy in formats for quant in policy.format.quants}
    limits.close()
    policy = VerifyPolicy(
        prompts=verify.texts("prompts", _PROMPTS),
        max_tokens=verify.count("max_tokens", 64),
        kl={quant: limit for quant, limit in kl.items() if limit is not None},
    )
    if not policy.prompts:
        verify.note("prompts", "is empty: give at least one, or the exports would go out untried")
    verify.close()
    return policy


def _card(reader: Reader) -> CardPolicy:
    card = reader.table("card")
    policy = CardPolicy(language=card.texts("language", ()), tags=card.texts("tags", ()))
    card.close()
    return policy
