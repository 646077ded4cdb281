"""What a CI service says of the tag that it runs for, and of itself, by the variables that it sets."""

import os
from collections.abc import Callable

from msgspec import Struct

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


class CiRun(Struct, frozen=True, kw_only=True):
    """What runs this process, as URLs: `builder` is whoever is trusted with it, the same for each run; `run` is this
    run of it, the same when a failed job of it is run again."""

    builder: str
    run: str


def running_in(environment: Environment = os.environ.get) -> CiRun | None:
    """The run of CI that this process is a part of, where a service tells that."""
    server, workflow = environment("GITHUB_SERVER_URL"), environment("GITHUB_WORKFLOW_REF")
    repository, number = environment("GITHUB_REPOSITORY"), environment("GITHUB_RUN_ID")
    if server and workflow and repository and number:
        return CiRun(builder=f"{server}/{workflow}", run=f"{server}/{repository}/actions/runs/{number}")
    server, pipeline = environment("CI_SERVER_URL"), environment("CI_PIPELINE_URL")
    return CiRun(builder=server, run=pipeline) if server and pipeline else None
