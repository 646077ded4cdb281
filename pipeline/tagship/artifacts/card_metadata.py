"""The front matter of a model card, by huggingface_hub's own ModelCardData."""

from typing import Any

from tagship.formats.protocol import CardFacts
from tagship.policy.card import CardPolicy
from tagship.runs.base_folder import TEXT, BaseFolder
from tagship.system.errors import ReleaseError


def front_matter(title: str, base: BaseFolder, facts: CardFacts, policy: CardPolicy, version: str | None) -> str:
    """The YAML between the `---` lines: nothing in it can break or inject YAML.

    Field names: https://huggingface.co/docs/hub/model-cards. Raises ReleaseError when the base
    model's id is none, such as a path, which the Hub would refuse.
    """
    from huggingface_hub import ModelCardData
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(base.id)
    except HFValidationError:
        raise ReleaseError(
            f"a card cannot name the base model {base.id!r}: it is no model's id on the Hub",
            remedy='name it in release.toml as it is on the Hub: [bases."organisation/name"] path = "…"',
        ) from None
    more: dict[str, Any] = {"base_model_relation": facts.relation}
    if base.license == "other":
        more |= {"license_name": base.license_name, "license_link": base.license_link}
    if version is not None:
        more["version"] = version
    data = ModelCardData(
        base_model=base.id,
        language=list(policy.language) or None,
        library_name=facts.library_name,
        license=base.license,
        model_name=title,
        pipeline_tag=TEXT if facts.text_only else base.pipeline_tag,
        tags=[*facts.tags, *policy.tags],
        **more,
    )
    return str(data.to_yaml())
