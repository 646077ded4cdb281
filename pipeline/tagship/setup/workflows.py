"""The workflows of CI, made of templates/workflows/: this repository's own, and those that `init` writes elsewhere."""

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct, to_builtins

from tagship.naming.tags import PUBLISH, Stream
from tagship.setup.braced_templates import braced_templates

EXPORT_WORKFLOW = ".github/workflows/export-complete.yml"
PUBLISH_WORKFLOW = ".github/workflows/publish-huggingface.yml"
GITLAB_WORKFLOW = ".gitlab-ci.yml"
# Where it goes beside a .gitlab-ci.yml of somebody's own, which then includes it.
GITLAB_INCLUDED = ".gitlab/release.gitlab-ci.yml"

# By the commits of their releases, as public workflows pin them: a tag can be moved.
_ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "checkout": "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0",
        "setup_python": "actions/setup-python@e797f83bcb11b83ae66e0230d6156d7c80228e7c # v6.0.0",
        "upload_artifact": "actions/upload-artifact@330a01c490aca151604b8cf639adc76d48f6c5d4 # v5.0.0",
        "download_artifact": "actions/download-artifact@018cc2cf5baa6db3ef3c5f8a56943fffe632ef53 # v6.0.0",
        "attest": "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
        "cache_restore": "actions/cache/restore@0057852bfaa89a56745cba8c7296529d2fc39830 # v4.3.0",
        "cache_save": "actions/cache/save@0057852bfaa89a56745cba8c7296529d2fc39830 # v4.3.0",
    }
)


class WorkflowValues(Struct, frozen=True, kw_only=True):
    """What workflows are made with: the command that installs tagship, and the one that does for a job that neither
    exports nor verifies (`install_to_gather`); the program that has its tasks (`invoke` or
    `tagship`), the version of Python, the globs of tags that export and of those that publish, the formats, the folder
    of archives, and the namespace on the Hub. `secrets` are the variables that releases are signed by, `keyless` is
    whether a job signs by its identity, `attests` whether GitHub attests where archives come from. `tells_github` and
    `tells_gitlab` are whether the tag gets a release there, `webhook` the variables that a webhook is told by."""

    install: str
    install_to_gather: str
    program: str
    python: str
    export_tags: tuple[str, ...]
    publish_tags: tuple[str, ...]
    formats: tuple[str, ...]
    artifacts: str
    namespace: str
    secrets: tuple[str, ...] = ()
    keyless: bool = False
    attests: bool = False
    tells_github: bool = False
    tells_gitlab: bool = False
    webhook: tuple[str, ...] = ()


def tags_by_workflow(streams: Sequence[Stream]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The globs of the tags that only export, and of those that publish, too."""
    globs = [(stream.pattern.text.replace("{version}", "*"), PUBLISH in stream.does) for stream in streams]
    exporting = (glob for glob, publishes in globs if not publishes)
    return tuple(dict.fromkeys(exporting)), tuple(dict.fromkeys(glob for glob, publishes in globs if publishes))


def render_workflow(name: str, values: WorkflowValues) -> str:
    """The text of a workflow, by the name of its template."""
    environment = braced_templates("workflows")
    environment.filters["yaml_list"] = lambda texts: json.dumps(list(texts))
    all_tags = (*values.publish_tags, *values.export_tags)
    regex = "/^(" + "|".join(re.escape(glob).replace(r"\*", ".*") for glob in all_tags) + ")$/"
    return environment.get_template(name + ".j2").render(to_builtins(values), actions=_ACTIONS, tags_regex=regex)
