"""The text of a release.toml: what was found, with comments that say what it means."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from tagship.naming.names import SHORT_NAME_LENGTH
from tagship.policy.config import Config, parse_config
from tagship.policy.file import PolicyError
from tagship.policy.naming import RUN_PATTERN
from tagship.setup.braced_templates import braced_templates
from tagship.setup.facts import Facts
from tagship.setup.found_bases import FoundBase
from tagship.setup.run_names import Learned
from tagship.system.templating import quoted

POLICY_FILE = "release.toml"
# The formats that are proposed: the merged model, one that runs on a laptop, and the adapter itself.
FORMATS = ("vllm", "ollama", "lora")
_WITHOUT_ALPHA = RUN_PATTERN.replace("-a{alpha}", "")


class PolicyValues(Struct, frozen=True, kw_only=True):
    """What is written into a release.toml; what is None or empty is left out."""

    namespace: str
    namespace_from: str = ""
    runs: str = "adapters"
    runs_comment: str = ""
    exports: str = "exports"
    artifacts: str = "dist"
    run_pattern: str = ""
    repo_tagged: str = ""
    base_id: str = ""
    base_short_name: str = ""
    base_path: str = ""
    base_recorded: str = ""
    base_license: str = ""
    base_publish: bool = False
    base_comment: str = ""
    changelog: str = ""
    remote: str = ""
    formats: tuple[str, ...] = FORMATS


def policy_text(values: PolicyValues) -> str:
    """The text of a release.toml."""
    environment = braced_templates("init")
    environment.filters["quoted"] = quoted
    rendered = environment.get_template(f"{POLICY_FILE}.j2").render(to_builtins(values))
    return re.sub(r"\n{3,}", "\n\n", rendered)


def first_sound(candidates: Sequence[PolicyValues], root: Path) -> tuple[str, Config]:
    """The first of several policies that is one, as text and parsed: what was learned of names may not fit the other
    names. Raises PolicyError of the last one."""
    *others, last = candidates
    for values in others:
        text = policy_text(values)
        try:
            return text, parse_config(text, root / POLICY_FILE, {})
        except PolicyError:
            continue
    text = policy_text(last)
    return text, parse_config(text, root / POLICY_FILE, {})


def naming_candidates(values: PolicyValues, learned: Learned | None, *, whole_alpha: bool) -> Iterator[PolicyValues]:
    """The values with what may be said of the names of runs, the best first: as learned, else as by default."""
    if learned and learned.pattern != RUN_PATTERN:
        knows_both = "{base}" in learned.repo and "{dataset}" in learned.repo
        repo = "" if knows_both else f"{learned.repo}-{{label}}-v{{version}}"
        yield replace(values, run_pattern=learned.pattern, repo_tagged=repo)
    yield values if whole_alpha else replace(values, run_pattern=_WITHOUT_ALPHA)


def short_name_of(base_id: str, learned: Learned | None) -> str:
    """The word for a base in `[naming.bases]`, where it is another than names have without it."""
    usual = base_id.rsplit("/", 1)[-1].lower().replace("-", "")[:SHORT_NAME_LENGTH]
    word = learned.short_base if learned and learned.short_base else ""
    return "" if word == usual else word


def with_base(values: PolicyValues, base: FoundBase, license_: str, root: Path) -> PolicyValues:
    """The values with what is said of a base model, by the id in them, that is on this disk, or that runs record by a
    place where it is not."""
    recorded = base.reference if base.elsewhere and base.reference != values.base_id else ""
    if base.path is None:
        return replace(values, base_recorded=recorded)
    path = base.path.relative_to(root).as_posix() if base.path.is_relative_to(root) else base.path.as_posix()
    comment = f"The base model in {path}."
    if base.id is None:
        comment += "\n# Nothing tells which one it is on the Hub: if it is one of there, name that, without `publish`."
    return replace(
        values,
        base_path=path,
        base_recorded=recorded,
        base_license=license_,
        base_publish=base.id is None,
        base_comment=comment,
    )


def free_folders(facts: Facts) -> tuple[str, str]:
    """Folders for exports and archives that nobody uses for something else, such as `dist` for Python packages."""
    taken = facts.has("dist") or facts.has("pyproject.toml") or facts.has("setup.py")
    return "model-exports" if facts.has("exports") else "exports", "model-dist" if taken else "dist"
