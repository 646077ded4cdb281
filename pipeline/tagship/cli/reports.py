"""What a release did, for programs (`--json`) and for people (the table at the end)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from tagship.artifacts.manifest import FileEntry
from tagship.release.plan import Plan
from tagship.release.results import Exported, Packaged, Published, Verified
from tagship.release.runner import Finished
from tagship.system.templating import human_size
from tagship.verify.evidence import Evidence


def release_document(plan: Plan, finished: Finished) -> dict[str, Any]:
    """The plan, and for each format what was made of it."""
    document = plan.document()
    results = finished.results
    for entry, target in zip(document["formats"], plan.targets, strict=True):
        if exported := results.find(Exported, target):
            entry["files"] = _files(exported.manifest.files)
        if verified := results.find(Verified, target):
            entry["verified"] = _verified(verified.evidence)
        if packaged := results.find(Packaged, target):
            entry["archive"] = {"size": packaged.archive.size, "sha256": packaged.archive.sha256}
        if published := results.find(Published, target):
            entry |= {"url": published.url, "commit": published.commit, "files": _files(published.files)}
            entry["proposed"] = published.proposed
        entry["seconds"] = finished.target_seconds.get(target.export_dir, {})
    return document | {"seconds": finished.seconds, "skipped": finished.skipped}


def _verified(evidence: Evidence) -> dict[str, Any]:
    """What was shown, the main figures first; those of the answers are None where an export is a copy of the run."""
    answers, limits = evidence.answers, evidence.limits
    return {
        "prompts": evidence.prompts,
        "same_answers": None if evidence.copied else evidence.same,
        "tokens": answers.tokens if answers else None,
        "mean_kl": answers.kl if answers else None,
        "kl_limit": limits.kl if limits else None,
        "other_prompts": list(evidence.unlike),
        **evidence.document(),
    }


def release_table(plan: Plan, finished: Finished, use_lines: Mapping[Path, str]) -> Table:
    """A row for each export; under its repo the line that uses it, by the export's folder."""
    where = "repo, and the line that uses it" if finished.results.of(Published) else "folder"
    table = _table("format", "size", "seconds", where)
    for target in plan.targets:
        exported = finished.results.for_target(Exported, target)
        published = finished.results.find(Published, target)
        table.add_row(
            target.name,
            human_size(sum(entry.size for entry in exported.manifest.files)),
            f"{sum(finished.target_seconds[target.export_dir].values()):.1f}",
            f"{target.repo_id}\n  {use_lines[target.export_dir]}" if published else str(target.export_dir),
        )
    return table


def plan_table(plan: Plan) -> Table:
    """A plan as people read it."""
    table = _table("format", "names")
    for target, entry in zip(plan.targets, plan.document()["formats"], strict=True):
        repo = target.repo_id if plan.publishes else "not published"
        table.add_row(target.name, f"{entry['export_dir']}\n{entry['artifact']}\n{repo}")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in ("size", "seconds") else "left")
    return table


def _files(files: tuple[FileEntry, ...]) -> list[dict[str, Any]]:
    return [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files]
