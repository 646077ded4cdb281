"""What all exports of a run share, as an importance matrix: made once before them, and kept by what it is made from."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import to_builtins

from tagship.artifacts.manifest import list_files
from tagship.formats.protocol import ExportJob, Footprint
from tagship.formats.shared_parts import SharedPart
from tagship.release.jobs import SHARED, job_to_export, parts_of
from tagship.release.plan import Plan
from tagship.release.results import Fetched, Fitting, Results, Shared
from tagship.release.step import Tools
from tagship.release.targets import Target
from tagship.system.errors import ReleaseError
from tagship.system.files import new_folder, write_json
from tagship.system.pool import cores
from tagship.system.templating import human_size, human_time


def unless_shared_parts(plan: Plan) -> str | None:
    """Why a plan has nothing that exports share."""
    if any(map(parts_of, plan.targets)):
        return None
    return "each export is made from run and base alone"


def share_parts(plan: Plan, done: Results, tools: Tools) -> Iterator[object]:
    """Make what exports share, where it is not there."""
    for shared in shared_parts(plan.targets, plan, done, tools):
        if not shared.new:
            tools.console.note(f"{shared.what} of {shared.target.run.name}: made before, of the same")
        yield shared


def shared_parts(targets: Sequence[Target], plan: Plan, done: Results, tools: Tools) -> Iterator[Shared]:
    """What the exports of these targets share, each once; what is not there is made."""
    known: set[Path] = set()
    for target in targets:
        parts = parts_of(target)
        job = job_to_export(plan, target, done.one(Fetched).base, tools.templates) if parts else None
        for part in parts:
            assert job is not None
            folder = job.shared[part.what]
            if folder in known:
                continue
            known.add(folder)
            new = not _is_there(folder, part.what, tools)
            if new:
                _make(target, job, done, tools, part)
            yield Shared(target=target, folder=folder, what=part.what, new=new)


def predicted_parts(footprints: Sequence[tuple[Target, Footprint]]) -> str | None:
    """About how long it takes to make what exports share, in a line; None where there is nothing, or nobody knows."""
    parts = {
        (target.policy.name, target.run.path, what): part
        for target, needs in footprints
        for what, part in needs.shared.items()
    }
    known = {key: part.seconds for key, part in parts.items() if part.seconds}
    if not known:
        return None
    what = ", ".join(dict.fromkeys(what for *_, what in known))
    runs = len({path for _, path, _ in known})
    of = f", for each of {runs} runs" if runs > 1 else ""
    scale = 2 / cores()
    least, most = (scale * sum(seconds[at] for seconds in known.values()) for at in (0, 1))
    return f"making the {what}{of}, where it was not made before: {human_time(least, most)}"


def shared_folders(state: Path) -> list[Path]:
    """What was made for exports to share, of any plan, in the folder of tagship's own state."""
    folder = state / SHARED
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _make(target: Target, job: ExportJob, done: Results, tools: Tools, part: SharedPart) -> None:
    needs = done.for_target(Fitting, target).footprint.shared.get(part.what)
    what, into = part.what, job.shared[part.what]
    try:
        with (
            tools.console.bytes(f"{what} of {job.run.name}", needs.work if needs else 0) as advance,
            new_folder(into) as folder,
        ):
            target.policy.format.share(job, part, folder, advance)
            write_json(record_of(into), _listed(folder))
    except OSError as error:
        raise ReleaseError(f"the {what} could not be written: {error}") from error
    for line in target.policy.format.told(job, part):
        tools.console.note(line)
    if part.finds:  # of what is not in these files
        tools.console.note(f"{what} of {job.run.name} found")
        return
    size = human_size(sum(path.stat().st_size for path in into.iterdir()))
    tools.console.note(f"{what} of {job.run.name}: {size}")


def _is_there(folder: Path, what: str, tools: Tools) -> bool:
    try:
        recorded = json.loads(record_of(folder).read_text(encoding="utf-8"))
        listed = _listed(folder)
    except (OSError, ValueError):
        return False
    if not folder.is_dir() or recorded != listed:
        if folder.is_dir():
            tools.console.warn(f"the {what} in {folder} is not as it was made", "it is made anew")
        return False
    return True


def _listed(folder: Path) -> list[dict[str, object]]:
    return [to_builtins(entry) for entry in list_files(folder)]


def record_of(folder: Path) -> Path:
    """The file that says what a folder of what exports share had when it was made."""
    return folder.with_name(f"{folder.name}.json")
