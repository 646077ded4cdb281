"""How large cards say that the exports of a release are."""

from datetime import UTC, datetime

from msgspec.structs import replace
from tagship.formats.shared_parts import FoundTypes
from tagship.policy.config import load_config
from tagship.release import steps
from tagship.release.describing import sizes_of
from tagship.release.options import Options
from tagship.release.plan import make_plan
from tagship.release.runner import run_steps
from tagship.release.step import open_tools
from tagship.system.console import Console
from tagship.system.git import Repository

from tests.end_to_end.conftest import Project

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
MIXES = '[export]\nimatrix = "make"\n[formats.ollama.mixes]\nsmall = { bpw = 4.5 }\nnear = { kl = 0.02 }\n'


def test_sizes_of_mixes(project: Project) -> None:
    """A mix for a divergence has no size before it is found, and the bits of others tell theirs: what a card says of
    them is the same where types are known, as where one of them alone is made again."""
    project.replace("release.toml", "[formats.vllm]", f"{MIXES}[formats.vllm]")
    with Repository(project.folder) as repository:
        plan = make_plan(load_config(project.folder / "release.toml", {}), Options(), repository, NOW)
        with open_tools(plan, repository, Console(interactive=False)) as tools:
            done = run_steps((steps.BASE,), plan, tools).results
            sizes = sizes_of(plan, done, tools.templates)
            found = FoundTypes(tensors={"attn_qkv": "q5_k"}, record={"file_type": "q4_k_m"})
            known = replace(plan, family=tuple(replace(target, found=found) for target in plan.family))
            assert sizes_of(known, done, tools.templates) == sizes
    assert "ollama near" not in sizes
    assert 0.5 * sizes["ollama q4_k_m"] < sizes["ollama small"] < 2 * sizes["ollama q4_k_m"]
