"""How the repos of a release are related, to each other and to the base model, as the Hub draws its tree of models."""

from msgspec.structs import replace

from tagship.formats.protocol import MERGED, QUANTIZED, Lineage, Relative
from tagship.release.plan import Plan
from tagship.release.targets import Target


def lineage_of(plan: Plan, target: Target) -> Lineage:
    """Of what model a target's repo is what, and which other exports the release has of its run."""
    others = [other for other in plan.family if other.run.path == target.run.path and other.name != target.name]
    facts = target.policy.format.facts(target.variant)
    lineage = Lineage(parent=plan.base.id, relation=facts.relation, relatives=tuple(map(_relative, others)))
    if lineage.relation != QUANTIZED:
        return lineage
    if lineage.merged is None:  # of the base, which nobody quantized here
        return replace(lineage, relation=MERGED)
    return replace(lineage, parent=lineage.merged)


def _relative(target: Target) -> Relative:
    form = target.policy.format
    return Relative(
        format=form.name,
        quant=target.variant.quant,
        repo_id=target.repo_id,
        relation=form.facts(target.variant).relation,
        serves=form.serves(target.variant),
    )
