"""`[bases."org/name"]`: what the policy says of base models."""

from tagship.hub_server.card_lists import LICENSES
from tagship.runs.base import BaseModel
from tagship.runs.quantized import TRAINED_IN
from tagship.system.errors import UsageError
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
            license=table.optional_text("license"),
            license_name=table.optional_text("license_name"),
            license_link=table.optional_text("license_link"),
            publish=table.flag("publish", False),
            quantized=table.texts("quantized", ()),
            trained_in=table.choice("trained_in", "", ("", *TRAINED_IN)) or None,
            trust_remote_code=table.flag("trust_remote_code", False),
        )
        table.close()
    return bases


def check_license(base: BaseModel) -> None:
    """Raise UsageError for a base that is to be released under a license that the Hub does not know. Of other bases
    nothing is said: a policy of long ago may name them."""
    if base.license is None or base.license in LICENSES:
        return
    likely = nearest(base.license, LICENSES) or " (https://huggingface.co/docs/hub/repositories-licenses)"
    raise UsageError(
        f'bases."{base.id}".license in release.toml is {base.license!r}, which is none of the Hub\'s{likely}',
        remedy='one that the Hub does not list is license = "other", with license_name and license_link',
    )
