"""The policy, parsed once into frozen values; all its mistakes are reported together."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from tagship.formats.protocol import ExportPolicy
from tagship.naming.name_rules import HUB
from tagship.naming.names import NamingPolicy
from tagship.naming.tags import Stream
from tagship.policy.announce import AnnouncePolicy, read_announce
from tagship.policy.bases import read_bases
from tagship.policy.card import CardPolicy, read_card
from tagship.policy.evaluate import EvaluatePolicy, read_evaluate
from tagship.policy.export import read_export
from tagship.policy.file import PolicyError, policy_table, policy_text
from tagship.policy.fleet import FleetPolicy, read_fleet
from tagship.policy.formats import FormatPolicy, check_streams, mistaken_formats, read_formats
from tagship.policy.hub import PER_MODEL, read_layout
from tagship.policy.naming import check_general, read_naming
from tagship.policy.publish import PublishPolicy, read_publish
from tagship.policy.release import ReleasePolicy, read_release
from tagship.policy.sign import SignPolicy, read_sign
from tagship.policy.tags import read_streams
from tagship.policy.verify import VerifyPolicy, read_verify
from tagship.policy.versions import CheckPolicy, VersionPolicy, read_checks, read_versions
from tagship.runs.base import BaseModel
from tagship.runs.places import RunPlaces
from tagship.system.errors import UsageError
from tagship.system.shown import masked
from tagship.system.toml_reader import Reader

EMBEDDED = "embedded"
# Where units leave what they made, unless they are told another folder; what is in it.
RESULTS_FOLDER, UNITS_FOLDER, FAILURES_FOLDER = "results", "units", "failures"


class Config(Struct, frozen=True, kw_only=True):
    """The whole policy. Paths are absolute; `root` is the folder that release.toml is in. `set_apart` are files and
    folders that the command line names for what a release itself writes."""

    root: Path
    file: Path
    namespace: str
    runs: RunPlaces
    exports: Path
    artifacts: Path
    endpoint: str
    private: bool
    layout: str
    collects: bool
    streams: tuple[Stream, ...]
    naming: NamingPolicy
    versions: VersionPolicy
    checks: CheckPolicy
    migrate: Mapping[str, str]
    bases: Mapping[str, BaseModel]
    formats: tuple[FormatPolicy, ...]
    export: ExportPolicy
    verify: VerifyPolicy
    evaluate: EvaluatePolicy | None
    card: CardPolicy
    release: ReleasePolicy
    sign: SignPolicy
    publish: PublishPolicy
    announce: AnnouncePolicy
    fleet: FleetPolicy
    set_apart: tuple[Path, ...] = ()

    @property
    def state(self) -> Path:
        """Where resuming and the embedded Hub keep their files; deleting it loses no release."""
        return self.root / ".tagship"

    @property
    def tags_versions(self) -> bool:
        """Whether a repo has all versions of a model, each under its tag."""
        return self.layout == PER_MODEL

    @property
    def policy_paths(self) -> tuple[Path, ...]:
        """Where what decides how a run is released stands: release.toml, and the project's own templates."""
        return (self.file, self.root / "templates")

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """What a release itself writes, units' results among it: it makes no tree dirty."""
        results = [self.root / RESULTS_FOLDER / name for name in (UNITS_FOLDER, FAILURES_FOLDER)]
        return (self.exports, self.artifacts, self.state, *results, *self.set_apart)

    def released_by(self, stream: Stream | None) -> tuple[FormatPolicy, ...]:
        """The formats that a tag of a stream releases: the stream's own, else all that have no stream
        of their own; without a stream it is all."""
        if stream is None:
            return self.formats
        own = stream if stream.format else None
        return tuple(policy for policy in self.formats if policy.stream == own)


def load_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the policy in a file. Raises PolicyError that lists every mistake with its dotted key, UsageError where
    there is none or it cannot be read."""
    return parse_config(policy_text(path), path.resolve(), environment)


def parse_config(text: str, path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """The policy that a text is, as that of a file which need not be there yet. Raises PolicyError."""
    document, where = policy_table(text, path)
    problems: list[str] = []
    reader = Reader(document, where, problems, folder=path.parent)
    config = config_of(reader, path, environment)
    reader.close()
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        mistakes = "mistake" if len(problems) == 1 else "mistakes"
        raise PolicyError(f"{path.name} has {len(problems)} {mistakes}:\n{listed}", file=path, problems=problems)
    return config


def config_of(reader: Reader, path: Path, environment: Mapping[str, str]) -> Config:
    project, hub = reader.table("project"), reader.table("hub")
    naming, export = reader.table("naming"), reader.table("export")
    layout = read_layout(hub)
    names, exporting = read_naming(naming, tags_versions=layout == PER_MODEL), read_export(export)
    formats = read_formats(reader, names, export, together=layout == PER_MODEL)
    shared = [policy.shared for policy in formats if policy.shared]
    check_general(naming, names, {policy.name: policy.variants for policy in formats}, shared)
    sign = read_sign(reader.table("sign"), path.parent)
    streams = (*read_streams(reader.table("tags")), *(policy.stream for policy in formats if policy.stream))
    check_streams(reader, streams, formats)
    quants = [quant for policy in formats for quant in policy.format.quants_of(policy.settings)]
    config = Config(
        root=path.parent,
        file=path,
        namespace=_namespace(project),
        runs=_runs(project, path.parent),
        exports=project.path("exports", "exports"),
        artifacts=project.path("artifacts", "dist"),
        endpoint=_overridden(hub.parsed("endpoint", EMBEDDED, parse_endpoint), environment),
        private=hub.flag("private", False),
        layout=layout,
        collects=hub.flag("collection", False),
        streams=streams,
        naming=names,
        versions=read_versions(reader.table("versions")),
        checks=read_checks(reader.table("checks")),
        migrate=reader.table("migrate").entries(),
        formats=formats,
        bases=read_bases(reader.table("bases")),
        export=exporting,
        verify=read_verify(reader.table("verify"), list(dict.fromkeys(quants)), mistaken_formats(reader)),
        evaluate=_evaluate(reader, path.parent),
        card=read_card(reader.table("card")),
        release=read_release(reader.table("release")),
        sign=sign,
        publish=read_publish(reader.table("publish"), signs=sign.signs),
        announce=read_announce(reader.table("announce")),
        fleet=read_fleet(reader.table("fleet")),
    )
    for table in (project, hub, export):
        table.close()
    return config


def _evaluate(reader: Reader, folder: Path) -> EvaluatePolicy | None:
    table = reader.table("evaluate")  # asked for in any case: a table of a similar name is told of it
    return read_evaluate(table, folder) if reader.has("evaluate") else None


def parse_endpoint(text: str) -> str:
    """The Hub that `text` names. Raises ValueError for what is neither `embedded` nor a URL."""
    url = urlsplit(text)
    if url.query or url.fragment:
        raise ValueError(f"must be an address without ? and #, not {masked(text)!r}; a token goes into HF_TOKEN")
    if text == EMBEDDED or (url.scheme in ("http", "https") and url.hostname):
        return text.rstrip("/")
    raise ValueError(f"must be {EMBEDDED!r} or a URL such as https://huggingface.co, not {masked(text)!r}")


def _overridden(said: str, environment: Mapping[str, str]) -> str:
    try:
        return parse_endpoint(environment.get("HF_ENDPOINT") or said)
    except ValueError as error:
        raise UsageError(f"HF_ENDPOINT {error}") from None


def _runs(project: Reader, folder: Path) -> RunPlaces:
    try:
        return RunPlaces.of(project.path("runs", "adapters"))
    except ValueError as error:
        project.note("runs", str(error))
        return RunPlaces(root=folder, parts=("*",))


def _namespace(project: Reader) -> str:
    namespace = project.required("namespace", "your user or organisation on the Hub")
    if namespace and (problem := HUB.problem(namespace)):
        project.note("namespace", problem)
    return namespace
