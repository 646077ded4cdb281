"""`[hub]`: where releases go, and how they are laid out there."""

from tagship.system.toml_reader import Reader

# A repo for each version of each export, or one for all versions of a model in a format, which are its tags.
PER_RELEASE, PER_MODEL = "repo-per-release", "repo-per-model"


def read_layout(hub: Reader) -> str:
    """`[hub] layout`."""
    return hub.choice("layout", PER_RELEASE, (PER_RELEASE, PER_MODEL))
