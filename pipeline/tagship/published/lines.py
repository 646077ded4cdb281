"""Lines of releases: the versions of one model in one format and quantization type, whichever repos they are in."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from tagship.naming.version import is_prerelease, is_semver, precedence
from tagship.policy.config import Config
from tagship.published.releases import Published

# What of a run, or of a repo's name, tells one model from another; the rest changes with the version and the run.
_TELLING = ("base", "dataset")


def lines_of(config: Config, releases: Iterable[Published]) -> list[tuple[Published, ...]]:
    """The tagged releases by line, each from the lowest version to the highest."""
    found: dict[Hashable, list[Published]] = {}
    for release in releases:
        if is_version(release):
            found.setdefault(_line(config, release), []).append(release)
    return [tuple(sorted(line, key=lambda release: precedence(version_of(release)))) for line in found.values()]


def is_version(release: Published) -> bool:
    """Whether a release is a version: under the tag that it was released as, and not under somebody's own tag."""
    return release.tag is not None and release.tag == release.manifest.tag and is_semver(release.manifest.version or "")


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


def shown_of(releases: Sequence[Published]) -> Published:
    """Of a repo's versions the one that its main says it is; the highest final one, or else the highest, where it says
    that of none."""
    main = releases[-1].main
    final = [release for release in releases if not is_prerelease(version_of(release))]
    return next((release for release in releases if main and release.tag == main.tag), (final or releases)[-1])


def model_of(config: Config, release: Published) -> str:
    """What a release's model is called, whatever its version and format: by base and data, as the run recorded them, or
    as the repo's name has them."""
    return "-".join(_model(config, release)) or release.manifest.run


def _model(config: Config, release: Published) -> tuple[str, ...]:
    for said in (release.manifest.fields, _said(config, release) or {}):
        if named := tuple(str(said[field]) for field in _TELLING if said.get(field)):
            return named
    return ()


def _line(config: Config, release: Published) -> Hashable:
    """Versions with other build metadata, or of another stream, are lines of their own: neither follows the other."""
    manifest = release.manifest
    build = version_of(release).partition("+")[2]
    model = _model(config, release) or release.repo_id
    return manifest.format, manifest.quant, manifest.stream, build, model


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
