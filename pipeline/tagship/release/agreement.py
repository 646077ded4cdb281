"""What the results of a release's units have to agree in: they are published as if one machine had made them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tagship.artifacts.manifest import Manifest
from tagship.release.destinations import other_release
from tagship.release.plan import Plan
from tagship.release.targets import Target
from tagship.release.unit_results import Found
from tagship.system.errors import ReleaseError
from tagship.verify.evidence import PASSED

Gathered = Sequence[tuple[Target, Found]]
_AGAIN = "do the units that are not as they should be again, with the same tools and base: remove their results first"


def check_claims(plan: Plan, target: Target, manifest: Manifest) -> None:
    """Raise ReleaseError for a result that is another release's than the plan's, or was not compared with base +
    adapter, or did not pass where the policy asks for that."""
    other = other_release(plan, [target], manifest)
    if other is None and manifest.commit != plan.commit.sha:
        other = f"the commit {manifest.commit[:10]}"
    if other is None and manifest.repo_id != target.repo_id:
        other = f"the repo {manifest.repo_id}"
    if other:
        raise ReleaseError(f"the result of {target.name} is of {other}", remedy=_AGAIN)
    shown = manifest.shown()
    if shown is None or (plan.config.verify.required and shown.outcome != PASSED):
        why = shown.summary if shown else "nothing was shown of these files"
        raise ReleaseError(f"the result of {target.name} is not verified: {why}", remedy=_AGAIN)


def check_agreement(found: Gathered) -> None:
    """Raise ReleaseError that names what units differ in, and in which of them it is what."""
    said = [(target.name, _said(each)) for target, each in found]
    for key in dict.fromkeys(key for _, facts in said for key in facts):
        values = [(name, facts[key]) for name, facts in said if key in facts]
        if len({value for _, value in values}) > 1:
            told = "; ".join(f"{name} has {value}" for name, value in values)
            raise ReleaseError(f"the units were not made alike: {key}: {told}", remedy=_AGAIN)


def answers_differ(found: Iterable[tuple[Target, Found]]) -> bool:
    """Whether units were held against other answers of base + adapter: processors differ in the last digits, by which
    two tokens that are as likely as each other change places. Each is measured rightly."""
    return len({each.result.answers for _, each in found}) > 1


def _said(found: Found) -> Mapping[str, Any]:
    """What has to be the same wherever it is said."""
    manifest, shown = found.manifest, found.manifest.evidence
    facts = {
        "tagship": manifest.tagship,
        "the base's revision": manifest.base_revision,
        "the base's license": manifest.license,
        **{f"the version of {name}": version for name, version in manifest.tools.items()},
    }
    if shown is not None:
        facts |= {f"the digest of the {name}": digest for name, digest in (shown.digests or {}).items()}
        facts |= {"how much was compared": "less than usual" if shown.quick else "as usual"}
        facts |= {"what ran base + adapter": shown.reference} if shown.reference else {}
    return facts
