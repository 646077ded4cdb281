"""The step that has a release say what it was made of, and signs it: bill of materials, provenance, signature.

Everything is made of digests that are known, so that it costs no reading of large files, and is the same where they are
on the Hub already. An export and the repo that it shares with others each get their own, as archive and repo each have
a release.json of their own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from tagship.artifacts.manifest import (
    BILL_FILE,
    MANIFEST_FILE,
    PROVENANCE_FILE,
    SIGNATURE_FILE,
    FileEntry,
    Manifest,
    file_entry,
    read_manifest,
    with_file,
    write_manifest,
)
from tagship.artifacts.trust import signature
from tagship.artifacts.trust.bill import BillSources, bill_of_materials
from tagship.artifacts.trust.provenance import Materials, statement
from tagship.history.model_lookup import known_digests
from tagship.policy.config import Config
from tagship.release.plan import Plan
from tagship.release.publishing import unless_published
from tagship.release.results import Exported, Fetched, Laid, Results, Sealed
from tagship.release.seal_checks import asks_for_seals, is_signed, signing_key
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.release.units import inputs_of
from tagship.runs.base_folder import BaseFolder
from tagship.runs.model_files import model_files
from tagship.runs.run import METADATA_FILE, TRAINER_FILE, Run
from tagship.system.ci import running_in
from tagship.system.files import write_json, write_text
from tagship.weights.adapter_config import CONFIG_FILE, WEIGHTS_FILE


def unless_sealed(plan: Plan) -> str | None:
    """Why a release has no seals, if it has none."""
    return unless_published(plan) or (None if asks_for_seals(plan.config) else "[sign] and [publish] ask for nothing")


def seal(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
    """Seal what one repo gets, and each of its exports where it has several."""
    sealer = _Sealer(plan, done)
    for target in targets:
        exported = done.for_target(Exported, target)
        manifest, files = sealer.seal(exported.folder, exported.manifest)
        yield replace(exported, manifest=manifest)
    repo_id = targets[0].repo_id
    if len(targets) > 1:
        together = done.for_repo(Laid, repo_id)
        manifest, files = sealer.seal(together.folder, read_manifest(together.folder))
        yield replace(together, files=(*manifest.files, file_entry(together.folder, MANIFEST_FILE)))
    yield Sealed(repo_id=repo_id, files=files)
    tools.console.note(f"{repo_id}: {', '.join(sealer.told)}")


class _Sealer:
    """Seals folders of one run and its base."""

    def __init__(self, plan: Plan, done: Results) -> None:
        self._config = plan.config
        self._base = done.one(Fetched).base
        self._key, self._is_signed = signing_key(plan.config), is_signed(plan)
        self._materials = Materials(
            run_files=_run_files(plan.config, plan.run, self._base),
            inputs=inputs_of(plan),
            policy=plan.config.file.name,
            ci=running_in(),
        )

    @property
    def told(self) -> Iterator[str]:
        """What repos get, for people."""
        if self._config.publish.sbom:
            yield BILL_FILE
        if self._config.publish.provenance:
            yield PROVENANCE_FILE
        if self._is_signed:
            yield f"signed by {f'the key {self._key.public.id[:12]}…' if self._key else 'this job, through Sigstore'}"

    def seal(self, folder: Path, manifest: Manifest) -> tuple[Manifest, tuple[FileEntry, ...]]:
        """Put into a folder what the policy asks for. Returns its manifest, with the bill of materials, and the seals
        that it cannot list."""
        if self._config.publish.sbom:
            write_text(folder / BILL_FILE, bill_of_materials(self._sources(manifest)))
            manifest = with_file(manifest, folder, BILL_FILE)
            write_manifest(folder, manifest)
        files = (*manifest.files, file_entry(folder, MANIFEST_FILE))
        seals: tuple[FileEntry, ...] = ()
        if self._config.publish.provenance:
            write_json(folder / PROVENANCE_FILE, statement(manifest, files, self._materials))
            seals += (file_entry(folder, PROVENANCE_FILE),)
        if self._is_signed:
            write_text(folder / SIGNATURE_FILE, self._signature(manifest, (*files, *seals)))
            seals += (file_entry(folder, SIGNATURE_FILE),)
        return manifest, seals

    def _signature(self, manifest: Manifest, files: Sequence[FileEntry]) -> str:
        name = manifest.repo_id.rpartition("/")[2]
        digests = {entry.path: entry.sha256 for entry in files}
        if self._key:
            return signature.sign(name, digests, self._key)
        return signature.sign_keyless(name, digests, signature.identity_token())

    def _sources(self, manifest: Manifest) -> BillSources:
        dataset = manifest.fields.get("dataset")
        return BillSources(
            manifest=manifest,
            base=self._base,
            card=self._config.card,
            materials=self._materials,
            recorded_datasets=(str(dataset),) if dataset else (),
        )


def _run_files(config: Config, run: Run, base: BaseFolder) -> dict[str, str]:
    """The SHA-256 of what of a run goes into a release, by path below it: of large files as it is remembered."""
    used = {path for path in model_files(base, run.path).sources.values() if path.is_relative_to(run.path)}
    used |= {run.path / name for name in (CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE, TRAINER_FILE)}
    digest = known_digests(config).of
    return {path.relative_to(run.path).as_posix(): digest(path) for path in sorted(used) if path.is_file()}
