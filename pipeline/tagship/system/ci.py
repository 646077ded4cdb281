"""What a CI service says of the tag that it runs for, by the variables that it sets."""

import os
from collections.abc import Callable

Environment = Callable[[str], str | None]

_REF = "refs/tags/"
# GitHub Actions, and Forgejo's and Gitea's, which set the same; then Azure Pipelines.
_REFS = ("GITHUB_REF", "BUILD_SOURCEBRANCH")
# GitLab and Woodpecker, CircleCI, Travis CI, Bitbucket, Buildkite, Drone, AppVeyor: empty, or not there, without a tag.
_NAMES = (
    "CI_COMMIT_TAG",
    "CIRCLE_TAG",
    "TRAVIS_TAG",
    "BITBUCKET_TAG",
    "BUILDKITE_TAG",
    "DRONE_TAG",
    "APPVEYOR_REPO_TAG_NAME",
)
VARIABLES = (*_REFS, *_NAMES)


def triggering_tag(environment: Environment = os.environ.get) -> str | None:
    """The name of the tag whose push started this run of CI; None outside of CI, and where something else did."""
    for variable in _REFS:
        ref = environment(variable) or ""
        if ref.startswith(_REF):
            return ref.removeprefix(_REF)
    return next((name for variable in _NAMES if (name := environment(variable))), None)
