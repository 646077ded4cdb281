"""Versions as SemVer 2.0 has them: what is one, and which of two is the higher.

The semver library says the same, ten times slower: a repository may have a hundred thousand tags.
"""

import re
from typing import Any

# What versions are sorted by, the lowest first.
Precedence = tuple[Any, ...]

# SemVer 2.0, item 2, 9 and 10.
_SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)


def is_semver(text: str) -> bool:
    """Whether a text is a SemVer 2.0 version."""
    return _SEMVER.fullmatch(text) is not None


def is_prerelease(version: str) -> bool:
    """Whether a SemVer version has a label such as `-rc.1`."""
    return "-" in version.partition("+")[0]


def precedence(version: str) -> Precedence:
    """What a version is sorted by (SemVer 2.0, item 11); build metadata does not count."""
    numbers, _, prerelease = version.partition("+")[0].partition("-")
    major, minor, patch = numbers.split(".")
    if not prerelease:
        return int(major), int(minor), int(patch), True
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in prerelease.split("."))
    return int(major), int(minor), int(patch), False, parts
