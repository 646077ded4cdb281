"""`[card]`: what the model card says beyond what the run and the base tell."""

from msgspec import Struct

from tagship.system.toml_reader import Reader


class CardPolicy(Struct, frozen=True, kw_only=True):
    """What the model card says beyond what the run and the base tell.

    `title` is the heading, in place of the repo's name. `description`, `intended_use`, `limitations` and `citation` are
    Markdown, `datasets` ids on the Hub, `metrics` names of what the model was measured by.
    `notes` is whether the version's release notes are in it.
    """

    language: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    intended_use: str | None = None
    limitations: str | None = None
    citation: str | None = None
    notes: bool = True


def read_card(card: Reader) -> CardPolicy:
    """The table `[card]`."""
    policy = CardPolicy(
        language=card.texts("language", ()),
        tags=card.texts("tags", ()),
        datasets=card.texts("datasets", ()),
        metrics=card.texts("metrics", ()),
        title=card.optional_text("title"),
        description=card.optional_text("description"),
        intended_use=card.optional_text("intended_use"),
        limitations=card.optional_text("limitations"),
        citation=card.optional_text("citation"),
        notes=card.flag("notes", True),
    )
    card.close()
    return policy
