"""`[publish]`: what is published beside a model's files."""

from dataclasses import dataclass

from tagship.system.toml_reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPolicy:
    """`provenance` is whether each repo says what it was made of, and where; `sbom` whether it has a bill of
    materials."""

    provenance: bool = False
    sbom: bool = False


def read_publish(table: Reader, *, signs: bool) -> PublishPolicy:
    """The table `[publish]`. What is signed says where it comes from, too."""
    policy = PublishPolicy(provenance=table.flag("provenance", False) or signs, sbom=table.flag("sbom", False))
    table.close()
    return policy
