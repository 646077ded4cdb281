"""Gates: what refuses a release before the first byte is written."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tagship.formats.protocol import Footprint
from tagship.policy.config import load_config
from tagship.policy.verify import QUICK
from tagship.release.gates import (
    check_adapters,
    check_formats,
    check_modules,
    check_tag,
    check_tasks,
    warnings,
)
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.results import Fitting
from tagship.release.room import by_file_where_full, check_disk, check_download, check_memory, predicted
from tagship.release.step import Step, written_by
from tagship.release.steps import EXPORT_ONLY, PACKAGE_ONLY, PUBLISH_ONLY, RELEASE
from tagship.release.targets import Target
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.machine import free_disk
from tagship.system.templating import Templates

from tests import tiny
from tests.conftest import PHI3, RUN, GitFolder, InstallPackage

PETABYTE = 10**15
NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)

MakePlan = Callable[..., Plan]


@pytest.fixture
def opened(project: GitFolder) -> Iterator[Repository]:
    """The project's repository."""
    with Repository(project.folder) as opened:
        yield opened


@pytest.fixture
def plan(project: GitFolder, opened: Repository) -> MakePlan:
    """A function that plans a release of the project with some options."""

    def planned(**options: Any) -> Plan:
        return make_plan(load_config(project.folder / "release.toml", {}), Options(**options), opened, NOW)

    return planned


def footprints(made: Plan, *, disk: int = 0, memory: int = 0) -> list[tuple[Target, Footprint]]:
    return [(target, Footprint(disk=disk, memory=memory, work=0)) for target in made.targets]


def test_what_is_predicted(plan: MakePlan, tmp_path: Path) -> None:
    """The most memory of one export, and of comparing, and the disk of all that the task writes, by parts, beside what
    there is."""
    made = plan()
    tiny.write_tensors(tmp_path / "model.safetensors", {"weight": np.zeros((2, 2), np.float32)})
    base = BaseFolder(id=PHI3, path=tmp_path, revision=None, license="mit")
    needed = footprints(made, disk=10**9, memory=2 * 10**9)
    begins = r"exporting takes up to 2\.0 GB of memory"
    exporting = predicted(made, needed, EXPORT_ONLY, base)
    assert re.fullmatch(rf"{begins}, of .+B, and 3\.0 GB on the disk, of .+B", exporting), exporting
    parts = r"exports 3\.0 GB, archives 3\.0 GB, the Hub's store 3\.0 GB"
    releasing = predicted(made, needed, RELEASE, base)
    assert re.fullmatch(
        rf"{begins}, comparing \d\.\d GB, of .+B, and 9\.0 GB on the disk \({parts}\), of .+B", releasing
    ), releasing


# What was trained


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"task_type": "SEQ_CLS"}, r"sequence classification or rewards \(SEQ_CLS\)"),
        ({"task_type": "TOKEN_CLS"}, r"token classification \(TOKEN_CLS\)"),
        ({"task_type": "FEATURE_EXTRACTION"}, r"embeddings \(FEATURE_EXTRACTION\)"),
        ({"task_type": None, "auto_mapping": {"base_model_class": "Qwen2Model"}}, "the class Qwen2Model"),
        ({"auto_mapping": {"base_model_class": "LlamaForSequenceClassification"}}, "the class LlamaForSequence"),
    ],
)
def test_models_that_do_not_write(project: GitFolder, plan: MakePlan, told: dict[str, Any], what: str) -> None:
    """A classifier, a reward or an embedding model is refused by what it is: as a chat model it would be garbage."""
    tiny.edit_json(project.folder / "adapters" / RUN / "adapter_config.json", **told)
    with pytest.raises(ReleaseError, match=f"was trained for {what}"):
        check_tasks(plan().targets)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"task_type": None},
        {"task_type": "CAUSAL_LM"},
        {"auto_mapping": {"base_model_class": "GPT2LMHeadModel"}},
        {"auto_mapping": {"base_model_class": "Qwen2_5_VLForConditionalGeneration"}},
    ],
)
def test_models_that_write(project: GitFolder, plan: MakePlan, told: dict[str, Any]) -> None:
    """Models that write text pass, also those that see, and those of which nothing is noted."""
    tiny.edit_json(project.folder / "adapters" / RUN / "adapter_config.json", **told)
    check_tasks(plan().targets)


# An adapter that does nothing


def test_inert_adapter(project: GitFolder, plan: MakePlan) -> None:
    """An adapter whose lora_B is zero, or whose scale is, is refused before anything is exported."""
    run = project.folder / "adapters" / RUN
    check_adapters(plan().targets)
    config = (run / "adapter_config.json").read_text()
    tiny.edit_json(run / "adapter_config.json", alpha_pattern={"proj": 0})
    with pytest.raises(ReleaseError, match=f"^the adapter of {RUN} trained nothing: its scale is 0, so that the model"):
        check_adapters(plan().targets)
    (run / "adapter_config.json").write_text(config)
    sides = {"A": np.ones((32, 4), np.float32), "B": np.zeros((4, 32), np.float32)}
    layer = "base_model.model.layer.proj"
    tiny.write_tensors(
        run / "adapter_model.safetensors", {f"{layer}.lora_{side}.weight": sides[side] for side in sides}
    )
    with pytest.raises(ReleaseError, match="trained nothing: every lora_B is all zero") as caught:
        check_adapters(plan().targets)
    assert "look whether the training ran" in str(caught.value.remedy)


# The tag and the tree


def test_clean_tree(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """A version tag on what is checked out, with nothing changed, passes."""
    project.tag("v1.0.0", "First")
    check_tag(plan(), opened)


def test_no_tag(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """Without a tag, any tree can be released."""
    project.write("new.txt")
    check_tag(plan(), opened)


def test_other_tag(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """A tag of no stream is refused, with the patterns of those that trigger something and such a tag."""
    project.tag("nightly")
    with pytest.raises(ReleaseError, match="the tag nightly is of no stream, so it triggers nothing") as caught:
        check_tag(plan(tag="nightly"), opened)
    for pattern in ("v{version}", "model-v{version}", "export-v{version}"):
        assert pattern in str(caught.value)
    assert caught.value.remedy == "tag it as v1.0.0"


def test_tag_elsewhere(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """A tag of another commit than the one that is checked out is refused, with the command that checks it out."""
    project.tag("v1.0.0")
    tagged = project.git("rev-parse", "HEAD")
    head = project.commit("Later")
    with pytest.raises(ReleaseError, match=f"the tag v1.0.0 is on {tagged[:10]}, and {head[:10]} is") as caught:
        check_tag(plan(tag="v1.0.0"), opened)
    assert caught.value.remedy == "git checkout v1.0.0"


def test_detached_head(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """A tag that is checked out without a branch, as CI does it, passes."""
    project.tag("v1.0.0")
    project.commit("Later")
    project.git("checkout", "--quiet", "v1.0.0")
    check_tag(plan(), opened)


@pytest.mark.parametrize("change", ["modified", "staged", "untracked"])
def test_changed_tree(project: GitFolder, opened: Repository, plan: MakePlan, change: str) -> None:
    """A tree that is not what the tag names is refused, with the file that differs."""
    project.tag("v1.0.0")
    path = project.write("release.toml" if change == "modified" else f"{change}.txt", "")
    if change == "modified":
        project.git("checkout", "release.toml")
        path.write_text(path.read_text() + "# changed\n")
    if change == "staged":
        project.git("add", path.name)
    with pytest.raises(ReleaseError) as caught:
        check_tag(plan(), opened)
    refused, *checks = str(caught.value).splitlines()
    assert refused == "v1.0.0 does not pass 1 check:"
    mend = "git stash --include-untracked, or commit and tag that"
    assert checks == [f"  clean: the working tree is not what v1.0.0 tags: {path.name} ({mend})"]


def test_policy_that_is_not_committed(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """An untagged release by it is warned of, a tagged one refused elsewhere."""
    assert list(warnings(plan(), opened)) == []
    path = project.folder / "release.toml"
    path.write_text(path.read_text() + "# changed\n")
    ((problem, _),) = warnings(plan(), opened)
    assert "which does not have release.toml as it is here" in problem
    project.tag("v1.0.0")
    assert list(warnings(plan(), opened)) == []
    ((problem, _),) = warnings(plan(extent=QUICK), opened)
    assert problem.startswith("--quick compares less than is usual, which v1.0.0 will say")


def test_many_changes(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """Of many files that differ, five are named and the others counted."""
    project.tag("v1.0.0")
    for number in range(8):
        project.write(f"{number}.txt")
    with pytest.raises(ReleaseError, match=r"0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt and 3 more \(git stash"):
        check_tag(plan(), opened)


def test_what_a_release_writes_is_no_change(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """Exports, archives and the state of an earlier release make no tree dirty, ignored or not."""
    project.tag("v1.0.0")
    for name in ("exports/run/model.safetensors", "dist/run.tar.gz", ".tagship/hub/x"):
        project.write(name)
    check_tag(plan(), opened)


def test_own_folders_beside_the_repository(project: GitFolder, opened: Repository, plan: MakePlan) -> None:
    """A policy may put exports and archives outside of the repository."""
    policy = (project.folder / "release.toml").read_text()
    project.write("release.toml", policy.replace("[formats.vllm]", 'exports = "../out"\n[formats.vllm]', 1))
    project.commit()
    project.tag("v1.0.0")
    check_tag(plan(), opened)


# What is installed


# A format of another package, as far as the gates ask it.
ELSEWHERE = """
from tagship.formats.lora import FORMAT

class Elsewhere(type(FORMAT)):
    name = "elsewhere"
    modules = ("json", "a_module_that_nobody_has")
    install = "pip install elsewhere[all]"

FORMAT = Elsewhere()
"""


@pytest.fixture
def foreign(plan: MakePlan, install_package: InstallPackage) -> Target:
    """A target of a format that another package brings."""
    install_package("elsewhere_format", ELSEWHERE, {"tagship.formats": "elsewhere = elsewhere_format:FORMAT"})
    target = plan(formats=("lora",)).targets[0]
    return replace(target, policy=replace(target.policy, name="elsewhere"))


def test_installed_modules(plan: MakePlan) -> None:
    """Formats that need nothing but what is installed pass."""
    check_modules(plan(formats=("vllm", "lora")).targets, verifies=False)


def test_missing_modules(plan: MakePlan, foreign: Target) -> None:
    """A module that is not installed is named once, with the pip command that installs it."""
    target = plan(formats=("lora",)).targets[0]
    with pytest.raises(ReleaseError, match=r"^not installed: a_module_that_nobody_has, which") as caught:
        check_modules([target, foreign, foreign], verifies=False)
    assert caught.value.remedy == "pip install elsewhere[all]"


def test_missing_native_runtime(plan: MakePlan, install_package: InstallPackage) -> None:
    """What people run an export by has to be there where the policy asks for it, and only there."""
    targets = plan(formats=("vllm", "lora")).targets
    if find_spec("vllm") is None:
        check_modules(targets, verifies=True)
        with pytest.raises(ReleaseError, match=r"^not installed: vllm, in which") as caught:
            check_modules(targets, verifies=True, native=True)
        assert str(caught.value.remedy).startswith("pip install vllm; or leave native out")
    install_package("vllm", "", {})
    check_modules(targets, verifies=True, native=True)


def test_format_without_a_card(project: GitFolder, foreign: Target) -> None:
    """A format whose package brings no template for its card is refused, until the project has one."""
    with pytest.raises(ReleaseError, match=r"there is no template 'elsewhere/card\.md\.j2'"):
        check_formats([foreign], Templates(project.folder))
    project.write("templates/elsewhere/card.md.j2", '{% extends "cards/base.md.j2" %}')
    check_formats([foreign], Templates(project.folder))
    project.write(
        "templates/elsewhere/card.md.j2", '{% extends "cards/base.md.j2" %}{% block intro %}{{ titel }}{% endblock %}'
    )
    with pytest.raises(ReleaseError, match=r"the template elsewhere/card\.md\.j2 asks for 'titel'") as caught:
        check_formats([foreign], Templates(project.folder))
    assert "title" in str(caught.value.remedy)


def test_installed_formats_bring_everything(project: GitFolder, plan: MakePlan) -> None:
    """Cards and runtimes of the formats that tagship ships are there."""
    check_formats(plan().targets, Templates(project.folder))


# Memory and disk


def test_enough(plan: MakePlan) -> None:
    """A release that needs little passes."""
    made = plan()
    check_disk(made, footprints(made, disk=1), written_by(RELEASE, made))
    check_memory(footprints(made, memory=1), None)
    check_download(0)


def test_memory(plan: MakePlan) -> None:
    """An export that needs more memory than there is is named, with both sizes."""
    made = plan(formats=("lora", "ollama"))
    needs = footprints(made, memory=1)[:1] + footprints(made, memory=PETABYTE)[1:]
    with pytest.raises(
        ReleaseError, match=r"the ollama q4_k_m export needs 1000\.0 TB of memory, and \d+\.\d [kMGT]B is available"
    ) as caught:
        check_memory(needs, None)
    assert caught.value.remedy


def test_disk(project: GitFolder, plan: MakePlan) -> None:
    """A release that needs more disk than there is is told with the folder and every part: the export, its archive,
    and what the embedded Hub keeps of it."""
    made = plan(formats=("lora",))
    parts = r"\(exports 1000\.0 TB, archives 1000\.0 TB, the Hub's store 1000\.0 TB\)"
    with pytest.raises(
        ReleaseError,
        match=rf"the release {parts} needs 3000\.0 TB on the disk of {project.folder}/exports, which has .*B free",
    ) as caught:
        check_disk(made, footprints(made, disk=PETABYTE), written_by(RELEASE, made))
    assert "[project] exports" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("steps", "hub", "tag", "written"),
    [
        (RELEASE, "embedded", "v1.0.0", ["exports", "archives", "the Hub's store"]),
        (RELEASE, "https://huggingface.co", "v1.0.0", ["exports", "archives"]),
        (RELEASE, "embedded", "export-v1.0.0", ["exports", "archives"]),
        (EXPORT_ONLY, "embedded", "v1.0.0", ["exports"]),
        (PACKAGE_ONLY, "embedded", "v1.0.0", ["archives"]),
        (PUBLISH_ONLY, "embedded", "v1.0.0", ["the Hub's store"]),
        (PUBLISH_ONLY, "https://huggingface.co", "v1.0.0", []),
    ],
)
def test_disk_by_steps(
    project: GitFolder, plan: MakePlan, steps: tuple[Step, ...], hub: str, tag: str, written: list[str]
) -> None:
    """Each task asks for what its own steps write: exporting alone makes no archive, another Hub keeps nothing here,
    and a tag that only exports puts nothing into the embedded one."""
    project.tag(tag)
    assert written_by(steps, plan(hub=hub, tag=tag)) == written


def test_file_by_file(plan: MakePlan) -> None:
    """What can be sent file by file is counted so, where there is no room for it as a whole."""
    made = plan(formats=("vllm", "lora"), hub="https://huggingface.co")
    by_file = {"vllm": 1, "lora": None}

    def fits(disk: int) -> list[Fitting]:
        needs = {name: Footprint(disk=disk, memory=0, work=0, by_file=part) for name, part in by_file.items()}
        return [Fitting(target=target, footprint=needs[target.name]) for target in made.targets]

    written = written_by(EXPORT_ONLY, made)
    assert by_file_where_full(made, fits(1), written) == fits(1)
    vllm, lora = by_file_where_full(made, fits(PETABYTE), written)
    assert (vllm.by_file, vllm.footprint.disk) == (True, 1) and lora == fits(PETABYTE)[1]


def test_disk_of_a_published_base(project: GitFolder, plan: MakePlan) -> None:
    """The embedded Hub keeps a base that the policy publishes, too."""
    project.write("release.toml", (project.folder / "release.toml").read_text() + f'[bases."{PHI3}"]\npublish = true\n')
    assert written_by(RELEASE, plan())[-2:] == ["the base in the Hub's store", "the Hub's store"]


def test_disk_of_all_exports(project: GitFolder, plan: MakePlan) -> None:
    """All exports are counted together: each alone would fit."""
    made = plan(hub="https://huggingface.co")
    part, written = free_disk(project.folder) // 5, written_by(RELEASE, made)
    check_disk(made, footprints(made, disk=part)[:1], written)
    with pytest.raises(ReleaseError, match=r"the release \(exports .+B, archives .+B\) needs"):
        check_disk(made, footprints(made, disk=part), written)
    check_disk(made, footprints(made, disk=part), written_by(EXPORT_ONLY, made))


def test_download() -> None:
    """A base model that the Hub's cache has no room for is refused before it is fetched."""
    with pytest.raises(ReleaseError, match=r"fetching the base model needs 1000\.0 TB on the disk of ") as caught:
        check_download(PETABYTE)
    assert "HF_HOME" in str(caught.value.remedy)
