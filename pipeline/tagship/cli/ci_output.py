"""What a task tells the workflow of GitHub Actions that it is a step of: outputs for the steps after it, a table on the
run's page, mistakes beside their lines. Elsewhere it tells nothing; --json-file has the same for any service."""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagship.policy.file import PolicyError
from tagship.system.actions import command, in_actions, masks, write_outputs, write_summary
from tagship.system.errors import ReleaseError
from tagship.system.files import files_below
from tagship.system.shown import shown
from tagship.system.templating import figure, human_size, plain
from tagship.system.toml_lines import line_of

_CACHED_AT_MOST = 4_000_000_000
# As tomli says where a document ends to be one.
_AT_LINE = re.compile(r"\(at line (\d+)")


def mask_tokens() -> None:
    """Have the runner hide this process's tokens, before anything is written to the log."""
    _say(masks(os.environ))


def tell(task: str, document: object) -> None:
    """Give what a task returned to the steps after it, and put its table on the run's page."""
    if not (in_actions() and isinstance(document, Mapping)):
        return
    outputs = outputs_of(document)
    if task == "work":
        from huggingface_hub.constants import HF_HUB_CACHE

        outputs["cache_base"] = str(is_worth_caching(Path(HF_HUB_CACHE))).lower()
    if outputs:
        write_outputs(outputs)
    if document.get("formats"):
        write_summary(summary_of(task, document))


def tell_failure(task: str, error: ReleaseError) -> None:
    """Put a failure beside the line that it is about, and on the run's page."""
    if in_actions():
        write_summary(f"### {task} failed\n\n{plain(shown(str(error)))}\n\n{plain(shown(error.remedy or ''))}\n")
        _say(annotations(error))


def outputs_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The outputs of a step, by their names; what is several has a line for each."""
    outputs = {"version": str(document["version"] or "")} if "version" in document else {}
    if "formats" in document:
        entries: Sequence[Mapping[str, Any]] = document["formats"]
        publishes = "publish" in document.get("does", ())
        outputs["repos"] = "\n".join(dict.fromkeys(entry["repo_id"] for entry in entries if publishes))
        outputs["artifacts"] = "\n".join(entry["artifact"] for entry in entries)
        outputs["units"] = str(len(entries))
    if "base_model" in document:
        outputs["base"] = document["base_model"]
    return outputs


def summary_of(task: str, document: Mapping[str, Any]) -> str:
    """A plan, or what was made of it, as a table in Markdown."""
    title = f"{task} {document.get('tag') or 'without a version tag'}"
    publishes = "publish" in document.get("does", ())
    rows = [list(_cells(entry, publishes)) for entry in document["formats"]]
    header = ["format", "size", "archive", "repo", "compared with base + adapter"]
    lines = [header, ["---"] * len(header), *rows]
    return f"### {plain(title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n"


def is_worth_caching(cache: Path) -> bool:
    """Whether a workflow should keep the base models in the Hub's cache for its next run: there are any, and they are
    small. A repository has 10 GB for all of its caches, and packing one takes its size on the disk once more."""
    size = sum(path.stat().st_size for path in files_below(cache) if not path.is_symlink()) if cache.is_dir() else 0
    return 0 < size <= _CACHED_AT_MOST


def annotations(error: ReleaseError) -> Iterator[str]:
    """The commands that show a failure: of a policy a line for each mistake, in its file."""
    if not isinstance(error, PolicyError):
        yield command("error", shown(f"{error} ({error.remedy})" if error.remedy else str(error)))
        return
    text = error.file.read_text(encoding="utf-8", errors="replace")
    for problem in error.problems:
        found = _AT_LINE.search(problem)
        line = int(found[1]) if found else line_of(text, problem)
        yield command("error", shown(problem), file=_below_checkout(error.file), line=line)


def _cells(entry: Mapping[str, Any], publishes: bool) -> Iterator[str]:
    yield plain(" ".join(filter(None, (entry["format"], entry.get("quant")))))
    yield human_size(sum(file["size"] for file in entry["files"])) if "files" in entry else "-"
    yield plain(entry["artifact"])
    repo = plain(entry["repo_id"])
    yield f"[{repo}]({entry['url']})" if "url" in entry else repo if publishes else "not published"
    yield _compared(entry.get("verified"))


def _compared(verified: Mapping[str, Any] | None) -> str:
    if verified is None:
        return "-"
    if verified["same_answers"] is None:
        return "a copy of the run"
    kl = verified["mean_kl"]
    same = f"{verified['same_answers']} of {verified['prompts']} answers alike"
    return same + (f", mean KL {figure(kl)} nats" if kl is not None else "")


def _below_checkout(file: Path) -> str:
    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or ".").resolve()
    file = file.resolve()
    return (file.relative_to(workspace) if file.is_relative_to(workspace) else file).as_posix()


def _say(commands: Iterator[str]) -> None:
    for line in commands if in_actions() else ():
        print(line, file=sys.stderr, flush=True)
