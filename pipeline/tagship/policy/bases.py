"""`[bases."org/name"]`: what the policy says of base models."""

from tagship.hub_server.card_lists import LICENSES
from tagship.runs.base import BaseModel
from tagship.runs.quantized import TRAINED_IN
from tagship.system.toml_reader import Reader, nearest


def read_bases(tables: Reader) -> dict[str, BaseModel]:
    """The base models of the policy, by their ids."""
    bases = {}
    for identifier, table in tables.tables():
        path = table.optional_path("path")
        bases[identifier] = BaseModel(
            id=identifier,
            path=path.resolve() if path else None,
            revision=table.optional_text("revision"),
            license=table.parsed("license", "", _parse_license) or None,
            license_name=table.optional_text("license_name"),
            license_link=table.optional_text("license_link"),
            publish=table.flag("publish", False),
            quantized=table.texts("quantized", ()),
            trained_in=table.choice("trained_in", "", ("", *TRAINED_IN)) or None,
            trust_remote_code=table.flag("trust_remote_code", False),
        )
        table.close()
    return bases


def _parse_license(text: str) -> str:
    if text and text not in LICENSES:
        likely = nearest(text, LICENSES) or ' (https://huggingface.co/docs/hub/repositories-licenses); "other" is any'
        raise ValueError(f"is {text!r}, which is none of the Hub's licenses{likely}")
    return text
