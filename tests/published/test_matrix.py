"""Versions by formats, as the Hub has them."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.cli.published import lines_of_matrices
from tagship.policy.config import Config, load_config
from tagship.published.audit import audit
from tagship.published.matrix import Matrix, document, matrices
from tagship.published.releases import releases_in
from tagship.published.rollback import apply, plan_rollback
from tagship.release.step import templates_of
from tagship.verify.evidence import Evidence, Measured
from tagship.verify.questions import Limits

from tests.published.conftest import EVIDENCE, Releases

POLICY = '[project]\nnamespace = "acme"\n[formats.vllm]\n[formats.ollama]\nquants = ["q4_k_m"]\n[formats.lora]\n'
MEASURED = Measured(
    tokens=512,
    kl=0.0026,
    kl_error=0.0001,
    kl_median=0.002,
    kl_99=0.02,
    kl_999=0.03,
    kl_max=0.05,
    rms_probability=0.01,
    top1=0.975,
    perplexity_ratio=1.001,
    perplexity_ratio_error=0.001,
)
LIMITS = Limits(kl=0.1, same_tokens=False, top1=0.9, key="[verify.limits.q4_k_m]")
SHOWN = Evidence(
    outcome="passed",
    runtime="llama_cpp (xllamacpp 0.2)",
    date="2025-09-15",
    prompts=2,
    same=2,
    answers=MEASURED,
    text=MEASURED,
    limits=LIMITS,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "release.toml").write_text(POLICY)
    return load_config(tmp_path / "release.toml", {})


def states(matrix: Matrix) -> dict[str, dict[str, str]]:
    return {row.name: {name: cell.state + "!" * cell.latest for name, cell in row.cells.items()} for row in matrix.rows}


def test_versions_by_formats(releases: Releases, config: Config) -> None:
    """Every version of a model in every format that any has: live, withdrawn or missing, the newest first, and which
    one is to be used; releases by time stand below."""
    for tag in ("v1.0.0", "v2.0.0", "v2.1.0-rc.1"):
        releases.put(f"acme/phi3-minimal-vllm-{tag}", tag)
    gguf = {"format": "ollama", "quant": "q4_k_m", "evidence": SHOWN}
    releases.put("acme/phi3-minimal-q4_k_m-gguf-v2.0.0", "v2.0.0", **gguf)
    releases.put("acme/phi3-other-vllm-v1.0.0", "v1.0.0")
    by_time = "acme/phi3-minimal-r32-a64-e20-20250914-132416-vllm-20250915-124051"
    releases.put(by_time, None)
    minimal, other = matrices(releases.hub, config)
    assert (minimal.model, other.model) == ("phi3-minimal", "phi3-other")
    assert minimal.formats == ("ollama q4_k_m", "vllm")
    assert states(minimal) == {
        "v2.1.0-rc.1": {"ollama q4_k_m": "missing", "vllm": "live"},
        "v2.0.0": {"ollama q4_k_m": "live!", "vllm": "live!"},
        "v1.0.0": {"ollama q4_k_m": "missing", "vllm": "live"},
        "20250915-124051": {"ollama q4_k_m": "missing", "vllm": "live"},
    }
    cell = document(minimal, "https://hub")["versions"][1]["formats"]["ollama q4_k_m"]
    assert (
        cell
        | {
            "repo": "acme/phi3-minimal-q4_k_m-gguf-v2.0.0",
            "url": "https://hub/acme/phi3-minimal-q4_k_m-gguf-v2.0.0",
            "base_model": "acme/phi3",
            "runtime": "llama_cpp (xllamacpp 0.2)",
            "verified": "2025-09-15",
            "kl": 0.0026,
            "top1": 0.975,
            "same_answers": 2,
        }
        == cell
    )
    for change in plan_rollback(releases.hub, config, releases_in(releases.hub, "acme"), "v1.0.0"):
        apply(releases.hub, change)
    assert states(matrices(releases.hub, config)[0])["v2.0.0"] == {"ollama q4_k_m": "live!", "vllm": "withdrawn"}
    assert states(matrices(releases.hub, config)[0])["v1.0.0"]["vllm"] == "live!"


def test_compared_quickly(releases: Releases, config: Config) -> None:
    """A version behind which less than usual stands says so wherever versions are looked at; of the run's own files,
    which are compared whole, nothing is said."""
    hurried = replace(SHOWN, quick=True, text=None)
    gguf = {"format": "ollama", "quant": "q4_k_m"}
    releases.put("acme/phi3-minimal-q4_k_m-gguf-v1.0.0", "v1.0.0", evidence=hurried, **gguf)
    releases.put("acme/phi3-minimal-q4_k_m-gguf-v1.1.0", "v1.1.0", evidence=SHOWN, **gguf)
    releases.put("acme/phi3-minimal-lora-v1.0.0", "v1.0.0", format="lora", evidence=replace(EVIDENCE, quick=True))
    (found,) = matrices(releases.hub, config)
    shown = document(found, "https://hub")
    newer, older = (version["formats"] for version in shown["versions"])
    assert (newer["ollama q4_k_m"]["quick"], older["ollama q4_k_m"]["quick"], older["lora"]["quick"]) == (0, 1, 0)
    for name in ("matrix.html.j2", "matrix.md.j2"):
        page = templates_of(config).render(name, namespace="acme", models=[shown])
        assert page.count("97.5% the same likeliest") == 2 and page.count("by --quick") == 1
    told = "\n".join(lines_of_matrices([found], None))
    assert told.count("KL 0.0026") == 2 and told.count("KL 0.0026 by --quick") == 1
    levels = {
        (str(release.tag), release.manifest.format): finding.level
        for release in releases_in(releases.hub, "acme")
        for finding in audit(releases.hub, release).findings
        if finding.about == "evidence"
    }
    assert levels == {("v1.0.0", "ollama"): "note", ("v1.1.0", "ollama"): "ok", ("v1.0.0", "lora"): "ok"}


def test_a_repo_with_all_versions(releases: Releases, config: Config) -> None:
    """Of a repo that was taken back to an earlier version, later ones are withdrawn."""
    for tag in ("v1.0.0", "v1.1.0", "v2.0.0"):
        releases.put("acme/phi3-minimal", tag)
    assert states(matrices(releases.hub, config)[0])["v2.0.0"] == {"vllm": "live!"}
    for change in plan_rollback(releases.hub, config, releases_in(releases.hub, "acme"), "v1.1.0"):
        apply(releases.hub, change)
    found = states(matrices(releases.hub, config)[0])
    assert [found[tag]["vllm"] for tag in ("v1.0.0", "v1.1.0", "v2.0.0")] == ["live", "live!", "withdrawn"]


def test_changed_and_foreign(releases: Releases, config: Config) -> None:
    """A version whose main has other files is changed; somebody's own tags, and a card that is gone, change nothing."""
    name = "acme/phi3-minimal-vllm-v1.0.0"
    releases.put(name, "v1.0.0")
    for tag in ("v5.0.0", "stable"):
        releases.api.create_tag(name, tag=tag)
    releases.api.delete_file("README.md", name)
    assert states(matrices(releases.hub, config)[0]) == {"v1.0.0": {"vllm": "live!"}}
    releases.change(name, {"model.safetensors": "noise"})
    assert states(matrices(releases.hub, config)[0]) == {"v1.0.0": {"vllm": "changed!"}}


def test_nothing_there(releases: Releases, config: Config) -> None:
    assert matrices(releases.hub, config) == []
