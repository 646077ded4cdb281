"""release.toml, parsed once into frozen values; all its mistakes are reported together."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli

from tagship.formats import registry
from tagship.formats.protocol import DTYPES, ExportPolicy, Format, Variant
from tagship.naming.name_rules import HUB
from tagship.naming.names import Names, NamingPolicy, check_general, read_names, read_naming
from tagship.naming.tags import Stream, read_format_stream, read_streams
from tagship.policy.versions import CheckPolicy, VersionPolicy, read_checks, read_versions
from tagship.runs.base import BaseModel
from tagship.system.errors import UsageError
from tagship.system.toml_reader import Reader, hint

EMBEDDED = "embedded"

_PROMPTS = ("Hello! Who are you?", "Write one sentence about the sea.", "Count from one to five.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatPolicy:
    """A `[formats.X]` table: the format, its own settings, and its names.

    `variants` are all that the format could export. `stream` is its own version tags, if it has
    any; of those, `paths` limits which changes count, and `changelog` is their file.
    """

    format: Format
    settings: Any
    names: Names
    variants: tuple[Variant, ...]
    stream: Stream | None
    paths: tuple[str, ...]
    changelog: str

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
    """What the model card says beyond what the run and the base tell; `notes` are its version's release notes."""

    language: tuple[str, ...]
    tags: tuple[str, ...]
    notes: bool


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
    naming: NamingPolicy
    versions: VersionPolicy
    checks: CheckPolicy
    migrate: Mapping[str, str]
    bases: Mapping[str, BaseModel]
    formats: tuple[FormatPolicy, ...]
    export: ExportPolicy
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

    def released_by(self, stream: Stream | None) -> tuple[FormatPolicy, ...]:
        """The formats that a tag of a stream releases: the stream's own, else all that have no stream
        of their own; without a stream it is all."""
        if stream is None:
            return self.formats
        own = stream if stream.format else None
        return tuple(policy for policy in self.formats if policy.stream == own)


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
    names = read_naming(naming)
    formats = _formats(reader, names)
    check_general(naming, names, {policy.name: policy.variants for policy in formats})
    config = Config(
        root=root,
        file=path,
        namespace=_namespace(project),
        runs=_folder(root, project.text("runs", "adapters")),
        exports=_folder(root, project.text("exports", "exports")),
        artifacts=_folder(root, project.text("artifacts", "dist")),
        endpoint=_overridden(hub.parsed("endpoint", EMBEDDED, parse_endpoint), environment),
        private=hub.flag("private", False),
        streams=_streams(reader, formats),
        naming=names,
        versions=read_versions(reader.table("versions")),
        checks=read_checks(reader.table("checks")),
        migrate=reader.table("migrate").entries(),
        formats=formats,
        bases=_bases(reader, root),
        export=_export(reader.table("export"), root),
        verify=_verify(reader, formats),
        card=_card(reader),
    )
    for table in (project, hub):
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
    if namespace and (problem := HUB.problem(namespace)):
        project.note("namespace", problem)
    return namespace


def _folder(root: Path, text: str) -> Path:
    # Not resolved: git knows a link in the tree by its own name.
    return Path(os.path.normpath(root / text))


def _streams(reader: Reader, formats: Sequence[FormatPolicy]) -> tuple[Stream, ...]:
    shared = read_streams(reader.table("tags"))
    streams = (*shared, *(policy.stream for policy in formats if policy.stream))
    for policy in formats:
        if policy.stream is None:
            continue
        table = reader.table("formats").table(policy.name)
        tag = policy.stream.tag_of("1.0.0")
        for earlier in streams[: streams.index(policy.stream)]:
            if earlier.name == policy.name:
                table.note("stream", f"has the name of another stream, {earlier.name!r}: rename that in [tags]")
            elif earlier.version_of(tag):
                table.note("stream", f"has tags of the stream {earlier.name!r}, {earlier.pattern.text}: {tag} is one")
    return streams


def _formats(reader: Reader, naming: NamingPolicy) -> tuple[FormatPolicy, ...]:
    policies = []
    known = registry.format_names()
    tables = reader.table("formats")
    for name, table in tables.tables():
        if name not in known:
            tables.note(name, f"is no format{hint(name, known)}")
            continue
        policies.append(_format(name, table, naming))
        table.close()
    if not tables.keys():
        reader.note("formats", f"is missing: add [formats.X] for each format to release ({', '.join(known)})")
    return tuple(policies)


def _format(name: str, table: Reader, naming: NamingPolicy) -> FormatPolicy:
    found = registry.find_format(name)
    settings = found.configure(table)
    variants = tuple(dict.fromkeys((*found.variants(settings, ()), *found.variants(settings, found.quants))))
    stream = read_format_stream(table, name)
    policy = FormatPolicy(
        format=found,
        settings=settings,
        names=read_names(table, naming, name, variants),
        variants=variants,
        stream=stream,
        paths=table.texts("paths", ()),
        changelog=table.text("changelog", f"CHANGELOG-{name}.md"),
    )
    for key in ("paths", "changelog"):
        if stream is None and table.has(key):
            table.note(key, f'needs versions of the format\'s own: add stream = "{name}-v{{version}}"')
    return policy


def _export(table: Reader, root: Path) -> ExportPolicy:
    dtype, imatrix = table.choice("dtype", "", ("", *DTYPES)), table.optional_text("imatrix")
    policy = ExportPolicy(
        dtype=DTYPES.get(dtype),
        max_shard=table.parsed("max_shard", "", _size),
        imatrix=_folder(root, imatrix) if imatrix else None,
    )
    table.close()
    return policy


def _size(text: str) -> int | None:
    """Bytes, as people write them: 5GB, 500 MB, 2GiB."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT])(i?)B", text)
    if found is None or not float(found[1]):
        raise ValueError(f"must be a size such as 5GB or 500MB, not {text!r}")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** ("kMGT".index(found[2]) + 1))


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
    policy = CardPolicy(
        language=card.texts("language", ()),
        tags=card.texts("tags", ()),
        notes=card.flag("notes", True),
    )
    card.close()
    return policy
