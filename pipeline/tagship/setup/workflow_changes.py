"""The workflows that a repository gets, by whose CI it has."""

from collections.abc import Iterator, Sequence

from tagship.policy.config import Config
from tagship.setup.changes import Change, keep, write
from tagship.setup.facts import GITHUB, GITLAB, Facts
from tagship.setup.workflows import (
    EXPORT_WORKFLOW,
    GITLAB_INCLUDED,
    GITLAB_WORKFLOW,
    PUBLISH_WORKFLOW,
    WorkflowValues,
    render_workflow,
    tags_by_workflow,
)


def workflow_values(
    config: Config, *, install: str, install_to_gather: str, program: str, python: str
) -> WorkflowValues:
    """What workflows are made with, by a policy."""
    export_tags, publish_tags = tags_by_workflow(config.streams)
    inside = config.artifacts.is_relative_to(config.root)
    return WorkflowValues(
        install=install,
        install_to_gather=install_to_gather,
        program=program,
        python=python,
        export_tags=export_tags,
        publish_tags=publish_tags,
        formats=tuple(policy.name for policy in config.formats),
        artifacts=f"{config.artifacts.relative_to(config.root).as_posix() if inside else config.artifacts.name}/",
        namespace=config.namespace,
        secrets=tuple(filter(None, (config.sign.key, config.sign.password))),
        keyless=config.sign.keyless,
        attests=config.publish.attests,
        tells_github=config.announce.github,
        tells_gitlab=config.announce.gitlab,
        webhook=tuple(filter(None, (config.announce.webhook, config.announce.webhook_secret))),
    )


def extras_for(config: Config) -> str:
    """The extras of tagship that a release by a policy needs, as pip takes them."""
    return ",".join(filter(None, ("gguf", extras_to_gather(config))))


def extras_to_gather(config: Config) -> str:
    """The extras that sealing and publishing what others exported needs, which may be none."""
    wanted = {"trust": config.sign.checks or config.publish.sbom, "oci": config.publish.oci is not None}
    return ",".join(extra for extra, needed in wanted.items() if needed)


def workflow_changes(facts: Facts, values: WorkflowValues) -> Iterator[Change]:
    """The workflows that there are to be; those of GitHub where there is no remote yet."""
    if facts.git and facts.git.top != facts.root:
        yield keep(".github/workflows/", f"workflows belong to the top of the repository, {facts.git.top}")
    elif facts.forge == GITHUB:
        for path in (EXPORT_WORKFLOW, PUBLISH_WORKFLOW):
            yield _workflow(facts, path, render_workflow(path.rpartition("/")[2], values))
    elif facts.forge == GITLAB:
        yield from _of_gitlab(facts, render_workflow("gitlab-ci.yml", values))
    else:
        line = f"{values.program} release --json-file release.json"
        yield keep("CI", f"no workflow is known for this remote; what it has to run on a version tag is {line}")


def _workflow(facts: Facts, path: str, text: str) -> Change:
    present = facts.text_of(path)
    if present is None:
        return write(path, text, _WHAT[path])
    return keep(path, "it is as it would be written" if present == text else "there is one of that name already")


def _of_gitlab(facts: Facts, text: str) -> Sequence[Change]:
    present = facts.text_of(GITLAB_WORKFLOW)
    if present is None:
        return [write(GITLAB_WORKFLOW, text, _WHAT[GITLAB_WORKFLOW])]
    if present == text or GITLAB_INCLUDED in present:
        return [keep(GITLAB_WORKFLOW, "it has the job already")]
    include = f"add to it: include: [{{local: {GITLAB_INCLUDED}}}]"
    included = facts.text_of(GITLAB_INCLUDED)
    made = (
        write(GITLAB_INCLUDED, text, "a job of its own") if included is None else keep(GITLAB_INCLUDED, "it is there")
    )
    return [made, keep(GITLAB_WORKFLOW, f"it is somebody's own; {include}")]


_WHAT = {
    EXPORT_WORKFLOW: "exports every format, each in a job",
    PUBLISH_WORKFLOW: "publishes them as one release, on a version tag",
    GITLAB_WORKFLOW: "releases on a version tag",
}
