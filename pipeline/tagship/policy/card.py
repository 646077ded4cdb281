"""`[card]`: what the model card says beyond what the run and the base tell."""

from dataclasses import dataclass

from tagship.system.toml_reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPolicy:
    """What the model card says beyond what the run and the base tell; `notes` are its version's release notes."""

    language: tuple[str, ...]
    tags: tuple[str, ...]
    notes: bool


def read_card(card: Reader) -> CardPolicy:
    """The table `[card]`."""
    policy = CardPolicy(
        language=card.texts("language", ()),
        tags=card.texts("tags", ()),
        notes=card.flag("notes", True),
    )
    card.close()
    return policy
