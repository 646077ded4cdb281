"""What other packages add to tagship, by entry points: found without importing any of it, checked when loaded."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tagship.system.errors import ReleaseError

_OWN = "tagship"


@cache
def found(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name: one for each, unless several packages bring the same."""
    by_name: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        if point not in by_name.setdefault(point.name, []):
            by_name[point.name].append(point)
    return {name: tuple(points) for name, points in by_name.items()}


def names_of(group: str) -> tuple[str, ...]:
    """The names in a group, sorted."""
    return tuple(sorted(found(group)))


def own_names(group: str) -> tuple[str, ...]:
    """The names in a group that tagship itself brings, sorted."""
    return tuple(name for name in names_of(group) if _OWN in map(package_of, found(group)[name]))


@cache
def package_of(point: EntryPoint) -> str:
    """The name of the package that brings an entry point."""
    return point.dist.name if point.dist else point.value


def value_of(group: str, name: str, kind: type, required: Sequence[str] = ()) -> Any:
    """What is installed under a name of a group, which must be an instance of `kind` with the attributes `required`.

    Raises ReleaseError, which names the package, for what cannot be imported, is something else, lacks an attribute,
    is called otherwise than its entry point, or is brought by several packages.
    """
    point, *others = found(group)[name]
    package = package_of(point)
    if others:
        packages = sorted({package, *map(package_of, others)})
        raise ReleaseError(
            f"{name} is brought by several packages: {', '.join(packages)}", remedy="uninstall all of them but one"
        )
    try:
        loaded = point.load()
    except Exception as error:  # whatever another package's module raises while it is imported
        raise _broken(package, f"{name} of the package {package} cannot be loaded: {error!r}") from error
    if not isinstance(loaded, kind):
        what = f"{kind.__module__}.{kind.__name__}, but {type(loaded).__name__}"
        raise _broken(package, f"{name} of the package {package} is no {what}")
    if lacking := [attribute for attribute in required if not hasattr(loaded, attribute)]:
        raise _broken(package, f"{name} of the package {package} lacks {', '.join(lacking)}")
    if (own := getattr(loaded, "name", name)) != name:
        raise _broken(package, f"{name} of the package {package} calls itself {own!r}")
    return loaded


def _broken(package: str, message: str) -> ReleaseError:
    return ReleaseError(message, remedy=f"update or uninstall {package}")
