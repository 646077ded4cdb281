"""`[publish]`: what is published beside a model's files."""

from dataclasses import dataclass

from tagship.system.toml_reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPolicy:
    """`provenance` is whether each repo says what it was made of, and where; `sbom` whether it has a bill of
    materials; `attests` whether the service that CI runs at is to say where archives come from, too."""

    provenance: bool = False
    sbom: bool = False
    attests: bool = False


def read_publish(table: Reader, *, signs: bool) -> PublishPolicy:
    """The table `[publish]`. What is signed says where it comes from, too; only who asks for it by name is given a step
    of GitHub's for it, which private repositories need a paid plan for."""
    asked = table.flag("provenance", False)
    policy = PublishPolicy(provenance=asked or signs, sbom=table.flag("sbom", False), attests=asked)
    table.close()
    return policy
