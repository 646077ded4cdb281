"""The tag that a CI service runs for."""

import pytest
from tagship.system.ci import triggering_tag


@pytest.mark.parametrize(
    ("environment", "tag"),
    [
        ({}, None),
        ({"GITHUB_REF": "refs/tags/model-v2.0.0", "GITHUB_REF_TYPE": "tag"}, "model-v2.0.0"),
        ({"GITHUB_REF": "refs/tags/release/v1.0.0"}, "release/v1.0.0"),
        ({"GITHUB_REF": "refs/heads/main", "GITHUB_REF_TYPE": "branch"}, None),
        ({"GITHUB_REF": "refs/pull/1/merge"}, None),
        ({"GITHUB_REF": ""}, None),
        ({"CI_COMMIT_TAG": "v1.0.0"}, "v1.0.0"),
        ({"CI_COMMIT_BRANCH": "main", "CI_COMMIT_TAG": ""}, None),
        ({"BUILD_SOURCEBRANCH": "refs/tags/v1.0.0"}, "v1.0.0"),
        ({"CIRCLE_TAG": "v1.0.0"}, "v1.0.0"),
    ],
)
def test_triggering_tag(environment: dict[str, str], tag: str | None) -> None:
    """Each service says it in variables of its own; a run for a branch, or of nobody, has none."""
    assert triggering_tag(environment.get) == tag
