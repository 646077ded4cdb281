"""The plan that a published release was made by, made again: of its commit, its policy, its run and its base.

A manifest is anybody's to write. What it says becomes a path, an argument of git or an address where that is checked.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.manifest import Manifest
from tagship.history.model import ModelState, changes
from tagship.history.model_lookup import disk_state
from tagship.naming.tags import EXPORT
from tagship.policy.config import Config, load_config
from tagship.policy.file import policy_file
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.targets import Target
from tagship.runs.base import BaseModel
from tagship.runs.folder import DiskFolder
from tagship.runs.places import checkpoint_step
from tagship.runs.run import choose_run
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of
from tagship.system.git import Repository
from tagship.system.git_clone import clone_at, tag_as
from tagship.system.git_lfs import is_pointer
from tagship.weights.adapter_config import WEIGHTS_FILE

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Here(Struct, frozen=True, kw_only=True):
    """Where a release is made again: the repository and the policy of who asks, the run that they name, and how they
    are told of what is not as it was."""

    repository: Repository
    config: Config
    run: Path | None
    warn: Callable[[str], None]


def check_manifest(manifest: Manifest) -> None:
    """Raise ReleaseError for a manifest whose commit or run could not be ones of tagship."""
    if not _COMMIT.fullmatch(manifest.commit):
        raise ReleaseError(f"release.json names no commit: {manifest.commit!r:.60}")
    if Path(manifest.run).name != manifest.run or manifest.run in ("", ".", ".."):
        raise ReleaseError(f"release.json names no run: {manifest.run!r:.60}")


def policy_then(manifest: Manifest, folder: Path, here: Here) -> Config:
    """The policy of the commit that a release is of, which is checked out in a new `folder`. A base that the commit
    does not have is the one that is in the same place here. Raises ReleaseError, UsageError."""
    clone_at(manifest.commit, folder, here=here.repository, elsewhere=manifest.source)
    if manifest.tag:
        before = tag_as(folder, manifest.tag, manifest.commit)
        if before not in (None, manifest.commit):
            here.warn(f"{manifest.tag} is on {before:.10} by now, and was released on {manifest.commit:.10}")
    config = load_config(_policy_file(manifest, folder, here))
    clone, top = folder.resolve(), here.repository.folder.resolve()
    for base in config.bases.values():
        if base.path is not None and base.path.is_relative_to(clone) and not _has_weights(base.path):
            _link_files(top / base.path.relative_to(clone), base.path)
    return config


def _has_weights(folder: Path) -> bool:
    """Whether a folder has weights, and not git LFS's pointers to them."""
    files = list(folder.glob("*.safetensors"))
    return bool(files) and not any(map(is_pointer, files))


def _policy_file(manifest: Manifest, folder: Path, here: Here) -> Path:
    """The file of the policy that a release was made by, by its digest: first in the place that it has here."""
    top = here.repository.folder.resolve()
    file = here.config.file.resolve()
    same = folder / (file.relative_to(top) if file.is_relative_to(top) else file.name)
    if manifest.policy is None:  # by a tagship that did not say it
        return same if same.is_file() else policy_file(folder)
    for path in (same, *sorted(folder.rglob("*.toml"))):
        if path.is_file() and sha256_of(path) == manifest.policy:
            return path
    raise ReleaseError(
        f"no file of the commit {manifest.commit:.10} is the policy that the release was made by "
        f"(SHA-256 {manifest.policy:.12}…): it was changed without being committed",
        remedy="none: what the release was made by is lost, unless somebody has that release.toml",
    )


def original_plan(manifest: Manifest, config: Config, scratch: Path, here: Here) -> Plan:
    """The plan that a release was made by, of what is in `config`'s repository; exports go below `scratch`. Raises
    ReleaseError where the run is not the one that was released, or the policy does not make such an export."""
    run = _run(manifest, config, scratch, here)
    with Repository(config.root) as repository:
        options = Options(
            tag=manifest.tag,
            untagged=manifest.tag is None,
            run=str(run),
            at=manifest.exported,
            output=scratch / "exports",
        )
        made = make_plan(config, options, repository, manifest.exported)
        if made.base.id != manifest.base_model:
            options = replace(options, base=manifest.base_model)
            made = make_plan(config, options, repository, manifest.exported)
        targets = _targets(manifest, made)
        if targets is None:  # by options, as release.toml does not have them
            options = replace(options, formats=(manifest.format,), quants=manifest.quants)
            made = make_plan(config, options, repository, manifest.exported)
            targets = _targets(manifest, made)
    if targets is None:
        raise ReleaseError(f"release.toml of {manifest.commit:.10} makes no {manifest.format} as was released")
    family = [_as_was(other, manifest) if other in targets else other for other in made.family]
    made = replace(
        made,
        base=_pinned(made.base, manifest),
        run=targets[0].run,
        targets=tuple(_as_was(target, manifest) for target in targets),
        # What was released with it then, which options may have said.
        family=tuple(other for other in family if other.repo_id in (manifest.repo_id, *manifest.siblings)),
        does=(EXPORT,),
        source=manifest.source,
        missing=manifest.missing,
    )
    _check_model(manifest, made)
    return made


def _targets(manifest: Manifest, plan: Plan) -> tuple[Target, ...] | None:
    wanted = [(manifest.format, quant) for quant in manifest.quants or (None,)]
    found = {(target.policy.name, target.variant.quant): target for target in plan.targets}
    return tuple(found[each] for each in wanted) if found.keys() >= set(wanted) else None


def _as_was(target: Target, manifest: Manifest) -> Target:
    """A target with the repo that it went to, and with what was searched for then, which is not searched for again."""
    found = next((each.found for each in manifest.each() if each.quant == target.variant.quant), None)
    return replace(target, repo_id=manifest.repo_id, found=found)


def _pinned(base: BaseModel, manifest: Manifest) -> BaseModel:
    """A base at the revision that was released, where it comes from a Hub."""
    return base if base.path else replace(base, revision=manifest.base_revision or base.revision)


def _check_model(manifest: Manifest, plan: Plan) -> None:
    """Raise ReleaseError, which names what differs, for a plan of another model than was released."""
    was = ModelState.from_manifest(manifest.model)
    if plan.run.name != manifest.run:
        raise ReleaseError(f"the run is called {plan.run.name} by its policy, and was released as {manifest.run}")
    is_now = disk_state(plan.config, plan.run.path)
    if was and (told := [f"{each.what} ({each.file})" for each in changes(was, is_now)]):
        raise ReleaseError(
            f"this is not the model that was released: {'; '.join(told)}",
            remedy="name the run with --run; a base that is in a folder has to be in the place that release.toml names",
        )


# The run


def _run(manifest: Manifest, config: Config, scratch: Path, here: Here) -> Path:
    """The run that was released, by the SHA-256 of its weights: the one that is named, or that of the commit, or of the
    same name here."""
    recorded = ModelState.from_manifest(manifest.model)
    weights = recorded.weights if recorded else None
    tried: list[str] = []
    for path in _candidates(manifest, config, here):
        folder = DiskFolder(path=path)
        if WEIGHTS_FILE not in folder.names():
            tried.append(f"{path} has no {WEIGHTS_FILE}")
        elif weights not in (None, folder.digest(WEIGHTS_FILE)):
            tried.append(f"{path / WEIGHTS_FILE} is another, or a pointer of git LFS")
        else:
            return path if path.is_relative_to(config.root.resolve()) else _linked(path, manifest, scratch)
    raise ReleaseError(
        f"the run {manifest.run} that was released is not here: {'; '.join(tried) or 'nothing of that name is'}",
        remedy="name its folder with --run; it has to have the weights that release.json names",
    )


def _candidates(manifest: Manifest, config: Config, here: Here) -> Iterator[Path]:
    if here.run is not None:
        yield here.run.absolute()
        return
    for of in (config, here.config):
        try:
            yield choose_run(of.runs, of.naming, manifest.run)
        except ReleaseError:
            continue


def _linked(path: Path, manifest: Manifest, scratch: Path) -> Path:
    """A run under the name that it was released by: names are made from its folder's."""
    folder = scratch / "runs" / manifest.run
    if checkpoint_step(path.name) is not None and path.name != manifest.run:
        _link_files(path.parent, folder)  # which has the record
        folder /= path.name
    _link_files(path, folder)
    return folder


def _link_files(source: Path, folder: Path) -> None:
    """Have a folder hold the files of another one that it does not have, or has only git LFS's pointers to."""
    for path in source.iterdir() if source.is_dir() else ():
        target = folder / path.name
        if target.is_file() and is_pointer(target):
            target.unlink()
        if path.is_file() and not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
