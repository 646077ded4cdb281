"""What the command line says beyond release.toml. Cheap to import: `invoke --list` needs the table."""

import re
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from tagship.formats.options import GROUP, find_option
from tagship.hub.served import PORT
from tagship.naming.clock import parse_moment
from tagship.policy.verify import QUICK, THOROUGH
from tagship.release.options import Options
from tagship.system.entry_points import found, names_of, package_of
from tagship.system.errors import ReleaseError, UsageError

# What options mean, everywhere: name -> (default, help). A list is an option that may be repeated.
OPTIONS: dict[str, tuple[Any, str]] = {
    "tag": (None, "the version tag to release; default: the one at HEAD, if there is one"),
    "untagged": (False, "have times in the names, also where HEAD has a version tag"),
    "run": (None, "the training run: a name below [project] runs, or a path; default: the newest"),
    "base": (None, "the base model in place of the run's own: a Hub id or a folder"),
    "format": ([], "a format to release; may be repeated; default: all of release.toml"),
    "quant": ([], "a quantization type, such as q4_k_m; may be repeated"),
    "hub": (None, "the Hub: a URL, or 'embedded'"),
    "at": (None, "the time for names as YYYYMMDD-HHMMSS in UTC; default: SOURCE_DATE_EPOCH, else now"),
    "config": (None, "the policy file; default: release.toml, or a pyproject.toml with [tool.tagship]"),
    "output": (None, "the folder that exports go to"),
    "path": (None, "the folder of one export"),
    "repo-name": (None, "the repo's name in place of the policy's"),
    "private": (False, "make the repo private"),
    "quick": (
        False,
        "compare fewer tokens of an export, without vLLM or mlx-lm where [verify] native is not true",
    ),
    "thorough": (False, "compare all of the text that exports are measured by, and answers as far as they go"),
    "dry-run": (False, "print the plan and do nothing"),
    "yes": (False, "do what is shown, and do not ask"),
    "json": (False, "print one JSON document on standard output"),
    "json-file": (None, "write the same document into a file, beside what people see"),
    "name": ("", "a name, or a version tag"),
    "repo": (None, "a repository on the Hub, as namespace/name"),
    "revision": (None, "the version tag of the release in that repo; default: the one that main has"),
    "new": (False, "make the name of a new training run"),
    "dataset": (None, "the data that the run was trained on, in a word"),
    "rank": (None, "the adapter's rank"),
    "alpha": (None, "the adapter's alpha"),
    "epochs": (None, "the epochs that it was trained for"),
    "field": ([], "a field of [naming.fields], as NAME=VALUE; may be repeated"),
    "set": ([], "what nobody recorded, as FIELD=VALUE, such as dataset=my_data; may be repeated"),
    "template": ([], "a template to replace, such as vllm/card.md.j2; may be repeated"),
    "stream": (None, "a stream of version tags; default: the first of [tags]"),
    "part": (None, "major, minor or patch, in place of what the changes ask for"),
    "pre": (None, "make a prerelease with this label, such as rc"),
    "message": (None, "the tag's message; default: the release notes"),
    "push": (False, "push the tag, which lets CI release it"),
    "write": (False, "write the notes into the changelog, below a heading for the version"),
    "map": ([], "OLD=NEW: an artifact or repo, and its name or version tag to be; may be repeated"),
    "keep": (None, "keep the newest N of each model and format, and remove all others, published or not"),
    "port": (str(PORT), f"the port; default: {PORT}; 0 takes any free one"),
    "root": (None, "the folder that holds the repositories"),
    "to": (None, "the version tag whose release is to be the live one"),
    "create-pr": (False, "propose it in a pull request on the Hub"),
    "plan": (None, "the plan's document, as plan --json-file writes it"),
    "index": (None, "which unit of the plan; default: as Kubernetes, SLURM, AWS Batch or GitLab number the job"),
    "on": (
        None,
        "where units are done: here, ray, ray://HOST:PORT, slurm, submitit, hf-jobs; default: [fleet] engine",
    ),
    "results": (
        "results",
        "where units' results are: a folder that all see or bring together, or s3://bucket/folder",
    ),
    "html": (None, "a page of it, in a file or on standard output"),
    "markdown": (None, "it in Markdown, in a file or on standard output"),
    "auth": (
        None,
        "a file of users, organizations and tokens; without one, everybody on this machine may do everything",
    ),
    "host": ("127.0.0.1", "the address to listen on; other than loopback ones take --auth"),
}
_SEPARATED = re.compile(r"[,\s]+")
_OPTION_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# Those that become fields of Options, by the names they have there.
_PLANNED = {
    "tag": "tag",
    "untagged": "untagged",
    "run": "run",
    "base": "base",
    "format": "formats",
    "quant": "quants",
    "hub": "hub",
    "repo_name": "repo_name",
    "private": "private",
    "create_pr": "proposes",
}


def format_options() -> dict[str, tuple[Any, str]]:
    """The options that belong to formats, as OPTIONS has its own. One whose name cannot be an option's, or is taken, is
    left out, and told by `unusable_options`."""
    return {name: (None, _help(name)) for name in names_of(GROUP) if _is_free(name)}


def unusable_options() -> list[str]:
    """What of other packages' options has a name that cannot be one."""
    return [
        f"the option {name!r} of the package {package_of(point)} is left out: its name is taken or is none"
        for name in names_of(GROUP)
        if not _is_free(name)
        for point in found(GROUP)[name]
    ]


def _is_free(name: str) -> bool:
    key = name.replace("-", "_")
    taken = {"context", "session", "self", *(known.replace("-", "_") for known in OPTIONS)}
    return bool(_OPTION_NAME.fullmatch(name)) and key not in taken and not iskeyword(key)


def _help(name: str) -> str:
    try:
        return find_option(name).help
    except ReleaseError as error:  # of another package: no reason for all other tasks not to run
        return str(error)


def read_options(given: Mapping[str, Any]) -> Options:
    """The options as a task got them. Raises UsageError for a time that is none, or options that contradict."""
    values = {field: given[key] for key, field in _PLANNED.items() if given.get(key)}
    for field in ("formats", "quants"):
        # Several in one word, or none: as the inputs of a workflow come.
        values[field] = tuple(word for said in values.get(field, ()) for word in _SEPARATED.split(said) if word)
    if isinstance(given.get("run"), list):
        # None where it is empty: as a workflow's input comes that nobody filled in.
        if len(given["run"]) > 1 and not all(given["run"]):
            raise UsageError("--run is given several times, and once empty: which run was meant?")
        first, *more = dict.fromkeys(filter(None, given["run"])) or (None,)
        values |= {"run": first, "more_runs": tuple(more)}
    if given.get("tag") and given.get("untagged"):
        raise UsageError("--tag and --untagged do not go together", remedy="leave one of them out")
    if given.get("quick") and given.get("thorough"):
        raise UsageError("--quick and --thorough do not go together", remedy="leave one of them out")
    if extent := next(filter(given.get, (QUICK, THOROUGH)), None):
        values["extent"] = extent
    if given.get("at"):
        values["at"] = parse_moment(given["at"])
    if given.get("output"):
        values["output"] = Path(given["output"]).absolute()
    values["of_formats"] = {
        name: value for name in names_of(GROUP) if _is_free(name) and (value := given.get(name.replace("-", "_")))
    }
    return Options(**values)
