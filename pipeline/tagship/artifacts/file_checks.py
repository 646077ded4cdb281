"""Whether the files of an export are what its manifest says."""

from pathlib import Path

from tagship.artifacts.manifest import MANIFEST_FILE, SEALS, Manifest
from tagship.system.errors import ReleaseError
from tagship.system.files import sha256_of
from tagship.system.pool import in_order
from tagship.system.progress import Advance, silent


def check_files(folder: Path, manifest: Manifest, *, hashes: bool = True, advance: Advance = silent) -> None:
    """Raise ReleaseError that names every file that is missing, extra or changed since the manifest.

    Without `hashes` only sizes are compared, which is quick. `advance` counts the bytes that are hashed.
    """
    listed = {entry.path: entry for entry in manifest.files}
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    found = {name: path for name, path in there.items() if path.is_file()}
    others = {name for name in there.keys() - found.keys() if name in listed or not there[name].is_dir()}
    for name in (MANIFEST_FILE, *SEALS):
        found.pop(name, None)
    problems = [f"{name} is missing" for name in sorted(listed.keys() - found.keys() - others)]
    problems += [f"{name} is not in {MANIFEST_FILE}" for name in sorted(found.keys() - listed.keys())]
    problems += [f"{name} is no file" for name in sorted(others)]
    both = sorted(listed.keys() & found.keys())
    resized = {name for name in both if found[name].stat().st_size != listed[name].size}
    hashed = [name for name in both if hashes and name not in resized]
    digests = zip(hashed, in_order(lambda name: sha256_of(found[name], advance), hashed), strict=True)
    changed = resized | {name for name, digest in digests if digest != listed[name].sha256}
    problems += [f"{name} was changed" for name in sorted(changed)]
    if problems:
        raise ReleaseError(
            f"{folder} is not what was exported: {'; '.join(problems)}",
            remedy="export it again, which makes it anew; nothing of it is published",
        )
