"""The front matter of a model card, by huggingface_hub's own ModelCardData, held to what the Hub takes."""

from collections.abc import Mapping
from typing import Any

from tagship.evaluation.model_index import eval_result
from tagship.evaluation.results import from_document
from tagship.formats.protocol import QUANTIZED, CardFacts, ExportJob
from tagship.hub_server.card_rules import LICENSE_FILES, LICENSES, OTHER, problems
from tagship.policy.card import CardPolicy
from tagship.runs.base import HUGGING_FACE
from tagship.runs.base_folder import TEXT, BaseFolder
from tagship.runs.model_files import has_chat_template, model_files
from tagship.system.errors import ReleaseError
from tagship.system.toml_reader import hint


def front_matter(
    job: ExportJob, facts: CardFacts, policy: CardPolicy, evaluation: Mapping[str, Any] | None = None
) -> str:
    """The YAML between the `---` lines: nothing in it can break or inject YAML.

    `evaluation` is what the model scores, as evidence keeps it. Field names: https://huggingface.co/docs/hub/model-cards.
    Raises ReleaseError for what the Hub would refuse: a base model that is no id, a license, a language or a dataset
    that it does not know.
    """
    from huggingface_hub import ModelCardData

    fields = _fields(job, facts, policy)
    if evaluation:
        fields["eval_results"] = [eval_result(from_document(evaluation))]
    data = ModelCardData(**fields)
    if found := list(problems(data.to_dict())):
        remedies = dict.fromkeys(_remedy(job, problem) for problem in found)
        raise ReleaseError(
            f"the Hub would refuse the card of {job.repo_id}: {'; '.join(found)}", remedy="; ".join(remedies)
        )
    return str(data.to_yaml())


def _fields(job: ExportJob, facts: CardFacts, policy: CardPolicy) -> dict[str, Any]:
    base, lineage = job.base, job.lineage
    chats = has_chat_template(model_files(base, job.run.path))
    trained = lineage.relation != QUANTIZED  # whose data are those of the model that it is made of
    fields: dict[str, Any] = {
        "base_model": lineage.parent,
        "language": list(policy.language) or None,
        "library_name": facts.library_name,
        "license": base.license,
        "datasets": list(policy.datasets) or None if trained else None,
        "metrics": list(policy.metrics) or None,
        "model_name": job.title,
        "pipeline_tag": TEXT if facts.text_only else base.pipeline_tag,
        "tags": list(dict.fromkeys((*facts.tags, *(("conversational",) if chats else ()), *policy.tags))),
        "base_model_relation": lineage.relation,
    }
    if base.license == OTHER:
        fields |= {"license_name": _license_name(base), "license_link": license_link(job)}
    if job.version is not None:
        fields["version"] = job.version
    return fields


def _license_name(base: BaseFolder) -> str | None:
    return "-".join(base.license_name.lower().split()) if base.license_name else None


def license_link(job: ExportJob) -> str | None:
    """Where the text of a license is that the Hub has no word for: a file of the export, else a page."""
    link, base = job.base.license_link, job.base
    texts = model_files(base, job.run.path).of_the_license
    if link is None:
        return next((name for name in LICENSE_FILES if name in texts), None)
    link = link.removeprefix("./")
    if "://" in link or (link in texts and link in LICENSE_FILES):
        return link
    return f"{HUGGING_FACE}/{base.id}/blob/{base.revision or 'main'}/{link}"


def _remedy(job: ExportJob, problem: str) -> str:
    add = f'say in release.toml: [bases."{job.base.id}"]'
    if problem.startswith('"license_'):
        return f'{add} license_name = "…", license_link = "https://…", as the model\'s page says'
    if problem.startswith('"license"'):
        return f'{add} license = "…"{hint(job.base.license, LICENSES - {OTHER})}'
    if problem.startswith('"base_model"'):
        return 'name it in release.toml as it is on the Hub: [bases."organisation/name"] path = "…"'
    return "correct [card] in release.toml"
