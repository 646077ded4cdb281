"""What a release did, for programs (`--json`) and for people (the table at the end)."""

from collections.abc import Iterator
from typing import Any

from msgspec import to_builtins

from tagship.artifacts.manifest import FileEntry
from tagship.cli.shell import Refusal
from tagship.release.plan import Plan
from tagship.release.results import Announced, Exported, Packaged, Published, Pushed, Verified
from tagship.release.runner import Finished
from tagship.system.templating import human_size
from tagship.verify.evidence import Evidence


def release_document(plan: Plan, finished: Finished) -> dict[str, Any]:
    """The plan, and for each format what was made of it. It says no where a place could not be told of the release."""
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
        if pushed := [each for each in results.of(Pushed) if each.repo_id == target.repo_id]:
            entry["oci"] = {"reference": pushed[-1].reference, "digest": pushed[-1].digest}
        entry["seconds"] = finished.target_seconds.get(target.export_dir, {})
    document |= {"seconds": finished.seconds, "skipped": finished.skipped}
    told = results.of(Announced)
    if told:
        document["announced"] = [to_builtins(each) for each in told]
    if untold := [each for each in told if each.error]:
        names = " and ".join(each.place for each in untold)
        error = f"it is released, but {names} was not told: {untold[0].error}"
        remedy = f"{untold[0].remedy}; " * bool(untold[0].remedy) + "the same command tells what is left"
        return Refusal(document | {"error": error, "remedy": remedy})
    return document


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


def release_rows(plan: Plan, finished: Finished) -> list[tuple[str, ...]]:
    """A row for each export: its format, size and seconds, and its repo, or else its folder."""
    return [
        (
            target.name,
            human_size(sum(entry.size for entry in finished.results.for_target(Exported, target).manifest.files)),
            f"{sum(finished.target_seconds[target.export_dir].values()):.1f} s",
            target.repo_id if finished.results.find(Published, target) else str(target.export_dir),
        )
        for target in plan.targets
    ]


def plan_lines(plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The exports of a plan by their formats, each with the names that it will get, and what is chosen of its
    tensors."""
    for target in plan.targets:
        repo = target.repo_id if plan.publishes else "not published"
        chosen = ", ".join(f"{pattern} = {kind}" for pattern, kind in target.tensors.items())
        tensors = [f"tensors: {chosen}"] if chosen else []
        tensors += [f"tensors: found for {target.aim}"] if target.aim else []
        yield target.name, (str(target.export_dir), str(target.artifact), repo, *tensors)


def _files(files: tuple[FileEntry, ...]) -> list[dict[str, Any]]:
    return [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files]
