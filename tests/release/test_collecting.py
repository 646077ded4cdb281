"""The step that puts a release into its model's collection."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from huggingface_hub import HfApi
from msgspec.structs import replace
from tagship.hub.connection import Hub
from tagship.hub_server.app import EmbeddedHub
from tagship.policy.config import load_config
from tagship.release.collecting import collect_repos, unless_collected
from tagship.release.export_checks import ExportChecks
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.results import Results
from tagship.release.step import Tools, templates_of
from tagship.system.console import Console
from tagship.system.git import Repository
from tagship.system.scratch_folders import ScratchFolders
from tagship.verify.runtimes.processes import Runtimes

from tests.conftest import POLICY, GitFolder

pytestmark = pytest.mark.usefixtures("quiet_client")

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)

Run = Callable[..., None]


@pytest.fixture
def plan(project: GitFolder) -> Callable[..., Plan]:
    """A function that plans v1.0.0 of a project that wants collections."""
    project.write("release.toml", POLICY.replace("[formats.vllm]", "[hub]\ncollection = true\n[formats.vllm]"))
    project.commit("Collect")
    project.tag("v1.0.0", "one")

    def planned(**options: Any) -> Plan:
        with Repository(project.folder) as opened:
            return make_plan(load_config(project.folder / "release.toml", {}), Options(**options), opened, NOW)

    return planned


@pytest.fixture
def run(project: GitFolder) -> Iterator[Run]:
    """A function that runs the step on a Hub."""
    with Repository(project.folder) as repository, Runtimes() as runtimes:

        def ran(made: Plan, hub: Hub) -> None:
            console = Console(interactive=False)
            tools = Tools(
                repository=repository,
                hub=hub,
                runtimes=runtimes,
                console=console,
                templates=templates_of(made.config),
                scratch=ScratchFolders("beside"),
                checks=ExportChecks(Console(interactive=False)),
            )
            list(collect_repos(made, Results(), tools))

        yield ran


def test_collected(plan: Callable[..., Plan], run: Run, hub: EmbeddedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """The collection is called as the model, and its notes say what each repo holds."""
    api = HfApi(endpoint=hub.url, token=False)
    made = plan()
    for target in made.targets:
        api.create_repo(target.repo_id)
    for _ in range(2):
        run(made, Hub(lambda: api, embedded=False))
    (listed,) = api.list_collections(owner="acme")
    assert listed.title == "phi3mini4k-minimal"
    held = {item.item_id: item.note for item in api.get_collection(listed.slug).items}
    assert held == {target.repo_id: f"{target.name}, 1.0.0" for target in made.targets}
    assert "has them already" in capsys.readouterr().err


def test_released_all_the_same(
    plan: Callable[..., Plan], run: Run, hub: EmbeddedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A collection that cannot be made is warned of: the release is there by then."""
    api = HfApi(endpoint=hub.url, token=False)
    run(plan(), Hub(lambda: api, embedded=False))  # there is none of the repos
    assert "the collection phi3mini4k-minimal does not have this release" in capsys.readouterr().err


def test_unless(plan: Callable[..., Plan]) -> None:
    """Only published versions are collected, and only where the policy says so."""
    made = plan()
    assert unless_collected(made) is None
    off = replace(made, config=replace(made.config, collects=False))
    assert unless_collected(off) == "[hub] collection is off"
    assert unless_collected(plan(untagged=True)) == "no version"
    assert unless_collected(plan(proposes=True)) == "nothing is released before it is merged"
