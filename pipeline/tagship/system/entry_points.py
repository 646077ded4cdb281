"""What other packages add to tagship, by entry points: found without importing any of it, checked when loaded."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tagship.system.errors import ReleaseError


@cache
def found(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name."""
    return {point.name: point for point in entry_points(group=group)}


def names_of(group: str) -> tuple[str, ...]:
    """The names in a group, sorted."""
    return tuple(sorted(found(group)))


def value_of(group: str, name: str, kind: type) -> Any:
    """What is installed under a name of a group, which must be an instance of `kind`.

    Raises ReleaseError, which names the package, for what cannot be imported, is something else, or is called
    otherwise than its entry point.
    """
    point = found(group)[name]
    package = point.dist.name if point.dist else point.value
    try:
        loaded = point.load()
    except Exception as error:  # whatever another package's module raises while it is imported
        raise ReleaseError(
            f"{name} of the package {package} cannot be loaded: {error!r}",
            remedy=f"update or uninstall {package}",
        ) from error
    if not isinstance(loaded, kind):
        raise ReleaseError(
            f"{name} of the package {package} is no {kind.__module__}.{kind.__name__}, but {type(loaded).__name__}",
            remedy=f"update or uninstall {package}",
        )
    own = getattr(loaded, "name", name)
    if own != name:
        raise ReleaseError(
            f"{name} of the package {package} calls itself {own!r}", remedy=f"update or uninstall {package}"
        )
    return loaded
