"""Lines of releases: the versions of one model in one format and quantization type, whichever repos they are in."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from tagship.naming.version import is_semver, precedence
from tagship.policy.config import Config
from tagship.published.releases import Published

# What of a repo's name tells one line from another; the rest changes with the version and the run.
_TELLING = ("kind", "prefix", "label", "base", "dataset")


def lines_of(config: Config, releases: Iterable[Published]) -> list[tuple[Published, ...]]:
    """The tagged releases by line, each from the lowest version to the highest."""
    found: dict[Hashable, list[Published]] = {}
    for release in releases:
        if release.tag is not None and is_semver(release.manifest.version or ""):
            found.setdefault(_line(config, release), []).append(release)
    return [tuple(sorted(line, key=lambda release: precedence(version_of(release)))) for line in found.values()]


def version_of(release: Published) -> str:
    """The version of a tagged release."""
    assert release.manifest.version is not None
    return release.manifest.version


def by_repo(line: Iterable[Published]) -> Mapping[str, tuple[Published, ...]]:
    """The releases of a line by the repos that they are in, in the same order."""
    found: dict[str, tuple[Published, ...]] = {}
    for release in line:
        found[release.repo_id] = (*found.get(release.repo_id, ()), release)
    return found


def model_of(config: Config, release: Published) -> str:
    """What a release's model is called, whatever its version and format: base and data, where its names have them."""
    said = _said(config, release) or release.manifest.fields
    named = [str(said[field]) for field in ("base", "dataset") if said.get(field)]
    return "-".join(named) or release.manifest.run


def _line(config: Config, release: Published) -> Hashable:
    said, manifest = _said(config, release), release.manifest
    telling = tuple(said.get(field) for field in _TELLING) if said else manifest.repo_id
    return manifest.format, manifest.quant, telling


def _said(config: Config, release: Published) -> Mapping[str, Any] | None:
    """What the name of a release's repo says, by the policy of its format."""
    manifest = release.manifest
    patterns = [
        pattern
        for policy in config.formats
        if policy.name == manifest.format
        for pattern in (policy.names.repo.tagged, policy.names.repo.untagged)
    ]
    name = manifest.repo_id.rpartition("/")[2]
    return next(filter(None, (pattern.parse(name) for pattern in patterns)), None)
