"""What a repo gets of a release."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.artifacts.manifest import MANIFEST_FILE, list_files, with_evidence, write_manifest
from tagship.policy.config import load_config
from tagship.release.export_checks import ExportChecks
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.repos import laid, lay_out, unless_shared
from tagship.release.results import Exported, Laid, Results
from tagship.release.step import Tools, templates_of
from tagship.release.targets import Target
from tagship.system.console import Console
from tagship.system.errors import ReleaseError
from tagship.system.git import Repository
from tagship.system.scratch_folders import ScratchFolders
from tagship.verify.evidence import PASSED, Evidence
from tagship.verify.runtimes.processes import Runtimes

from tests import tiny
from tests.conftest import POLICY, GitFolder

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)

Export = Callable[..., Exported]


@pytest.fixture
def plan(project: GitFolder) -> Plan:
    """Two quantization types that are together, and two exports that are not."""
    together = '[formats.ollama]\nquants = ["q4_k_m", "q8_0"]\ntogether = true\n'
    project.write("release.toml", POLICY.replace("[formats.ollama]\n", together))
    project.commit("Share")
    project.tag("v1.0.0", "one")
    with Repository(project.folder) as opened:
        return make_plan(load_config(project.folder / "release.toml", {}), Options(), opened, NOW)


def exported(target: Target, **files: str) -> Exported:
    """An export with these files, beside a card and what was shown of it."""
    target.export_dir.mkdir(parents=True)
    for name, text in {"README_md": "# It\n", **files}.items():
        (target.export_dir / name.replace("_", ".")).write_text(text)
    manifest = tiny.manifest(
        format=target.policy.name,
        quant=target.variant.quant,
        repo_id=target.repo_id,
        files=list_files(target.export_dir),
    )
    manifest = with_evidence(manifest, Evidence(outcome=PASSED, runtime="llama_cpp", date="2025-09-15"))
    write_manifest(target.export_dir, manifest)
    return Exported(target=target, folder=target.export_dir, manifest=manifest)


@pytest.fixture
def tools(project: GitFolder, plan: Plan) -> Iterator[Tools]:
    with Repository(project.folder) as repository, Runtimes() as runtimes:
        yield Tools(
            repository=repository,
            hub=None,  # type: ignore[arg-type]  # nothing asks it
            runtimes=runtimes,
            console=Console(interactive=False),
            templates=templates_of(plan.config),
            scratch=ScratchFolders("beside"),
            checks=ExportChecks(Console(interactive=False)),
        )


def of(plan: Plan, form: str) -> list[Target]:
    return [target for target in plan.targets if target.policy.name == form]


def test_export_alone(plan: Plan, tools: Tools) -> None:
    """An export that shares its repo with no other is published as it is in its folder."""
    (target,) = of(plan, "vllm")
    done = Results([exported(target, weights="one")])
    assert list(lay_out(plan, [target], done, tools)) == []
    contents = laid([target], done)
    assert (contents.repo_id, contents.folder, contents.elsewhere) == (target.repo_id, target.export_dir, {})
    assert [entry.path for entry in contents.files] == ["README.md", "weights", MANIFEST_FILE]
    assert unless_shared(replace(plan, targets=(target,))) == "each export has a repo of its own"
    assert unless_shared(plan) is None


def test_files_that_only_the_name_tells_apart(plan: Plan, tools: Tools) -> None:
    """Two exports cannot share a repo where a file of both is another one in each, and their format has no other name
    for it: refused before anything is sent."""
    targets = of(plan, "ollama")
    done = Results([exported(target, params=f"of {target.name}") for target in targets])
    with pytest.raises(ReleaseError, match="params is another file in each of them") as caught:
        list(lay_out(plan, targets, done, tools))
    assert "together = false in [formats.ollama]" in str(caught.value.remedy)
    assert done.of(Laid) == ()


def test_nothing_is_published_that_was_not_laid_out(plan: Plan, tmp_path: Path) -> None:
    """A shared repo without its own card and manifest is a mistake of ours, not a release."""
    targets = of(plan, "ollama")
    done = Results([exported(target, params="the same") for target in targets])
    with pytest.raises(LookupError, match=f"no Laid for {targets[0].repo_id}"):
        laid(targets, done)
