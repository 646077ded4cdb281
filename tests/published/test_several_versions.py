"""Repos that have every version of a model: what is told of them, and how an earlier version comes back."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace
from tagship.artifacts.manifest import FileEntry, Manifest, Part, with_evidence
from tagship.policy.config import Config, load_config
from tagship.published.audit import Audit, audit
from tagship.published.matrix import document, matrices
from tagship.published.releases import Published, all_in, releases_in
from tagship.published.rollback import apply, plan_rollback
from tagship.verify.evidence import Evidence

from tests import tiny
from tests.published.conftest import EVIDENCE, Releases

POLICY = """
[project]
namespace = "acme"
[hub]
layout = "repo-per-model"
[formats.vllm]
[formats.ollama]
quants = ["q4_k_m", "q8_0"]
"""
VLLM, GGUF = "acme/phi3-minimal-vllm", "acme/phi3-minimal-gguf"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "release.toml").write_text(POLICY)
    return load_config(tmp_path / "release.toml", {})


@pytest.fixture
def released(releases: Releases) -> Releases:
    """Three versions of merged weights, and of GGUFs whose types became more."""
    per_model = replace(releases, tags_versions=True)
    for tag, quants in (("v1.0.0", ["q4_k_m"]), ("v2.0.0", ["q4_k_m", "q8_0"]), ("v2.1.0-rc.1", ["q4_k_m"])):
        per_model.put(VLLM, tag, {f"only-{tag}.json": tag})
        put_ggufs(per_model, tag, quants)
    return per_model


def put_ggufs(releases: Releases, tag: str, quants: list[str]) -> None:
    """Publish GGUFs that share a repo."""
    files = {f"model-{quant.upper()}.gguf": f"{tag} {quant}" for quant in quants}
    parts = tuple(part(f"model-{quant.upper()}.gguf", files, quant, EVIDENCE) for quant in quants)
    claims = {"parts": parts} if len(quants) > 1 else {"quant": quants[0]}
    releases.put(GGUF, tag, {**files, "model.safetensors": tag}, format="ollama", **claims)


def part(name: str, files: Mapping[str, str], quant: str, evidence: Evidence) -> Part:
    content = files[name].encode()
    entries = (FileEntry(path=name, size=len(content), sha256=sha256(content).hexdigest()),)
    shown = with_evidence(tiny.manifest(files=entries), evidence)
    return Part(quant=quant, files=entries, evidence=shown.evidence)


def audits(releases: Releases) -> dict[tuple[str, str | None], Audit]:
    found = all_in(releases.hub, "acme")
    return {(each.repo_id, each.tag): audit(releases.hub, each) for each in found if isinstance(each, Published)}


def roll_back(releases: Releases, config: Config, tag: str) -> dict[str, str]:
    changes = plan_rollback(releases.hub, config, releases_in(releases.hub, "acme"), tag)
    for change in changes:
        apply(releases.hub, change)
    assert plan_rollback(releases.hub, config, releases_in(releases.hub, "acme"), tag) == [], "once is enough"
    return {change.repo_id: change.told for change in changes}


def states(releases: Releases, config: Config) -> dict[str, dict[str, str]]:
    (matrix,) = matrices(releases.hub, config)
    return {row.name: {name: cell.state + "!" * cell.latest for name, cell in row.cells.items()} for row in matrix.rows}


def test_audit(released: Releases) -> None:
    """Every version is what was released, once for each repo and tag, with the evidence of each export in it."""
    found = audits(released)
    assert {repo_and_tag[1] for repo_and_tag in found} == {"v1.0.0", "v2.0.0", "v2.1.0-rc.1"} and len(found) == 6
    assert all(each.ok for each in found.values())
    told = [(each.about, each.level) for each in found[GGUF, "v2.0.0"].findings]
    assert ("evidence of q4_k_m", "ok") in told and ("evidence of q8_0", "ok") in told
    on_main = [each.told for each in found[VLLM, "v2.1.0-rc.1"].findings if each.about == "main"]
    assert on_main == ["is at v2.0.0"]


def test_audit_of_a_changed_main(released: Releases) -> None:
    """What somebody puts onto main is told with each version that is not there any more."""
    released.change(GGUF, {"model-Q8_0.gguf": "noise"})
    found = audits(released)
    assert not any(found[GGUF, tag].ok for tag in ("v1.0.0", "v2.0.0", "v2.1.0-rc.1"))
    assert all(found[VLLM, tag].ok for tag in ("v1.0.0", "v2.0.0", "v2.1.0-rc.1"))


def test_evidence_of_other_files(released: Releases) -> None:
    """Evidence that is not of the files of its export is told of that one."""
    files = {f"model-{quant.upper()}.gguf": quant for quant in ("q4_k_m", "q8_0")}
    right, wrong = (part(name, files, name[6:-5].lower(), EVIDENCE) for name in files)
    wrong = replace(wrong, evidence=right.evidence)
    released.put(GGUF, "v3.0.0", files, format="ollama", parts=(right, wrong))
    found = audits(released)[GGUF, "v3.0.0"].findings
    assert [(each.about, each.level) for each in found if each.about.startswith("evidence")] == [
        ("evidence of q4_k_m", "ok"),
        ("evidence of q8_0", "different"),
    ]


def test_prereleases_alone(releases: Releases, config: Config) -> None:
    """Before there is a final version main has nothing, which is no difference."""
    per_model = replace(releases, tags_versions=True)
    per_model.put(VLLM, "v1.0.0-rc.1")
    (found,) = audits(per_model).values()
    assert found.ok
    assert [each.told for each in found.findings if each.about == "main"] == [
        "has no version yet: this one is a prerelease"
    ]
    assert states(per_model, config) == {"v1.0.0-rc.1": {"vllm": "live!"}}


def test_matrix(released: Releases, config: Config) -> None:
    """A line for each version, a column for each quantization type, whichever share a repo; each leads to its tag."""
    assert states(released, config) == {
        "v2.1.0-rc.1": {"ollama q4_k_m": "live", "ollama q8_0": "missing", "vllm": "live"},
        "v2.0.0": {"ollama q4_k_m": "live!", "ollama q8_0": "live!", "vllm": "live!"},
        "v1.0.0": {"ollama q4_k_m": "live", "ollama q8_0": "missing", "vllm": "live"},
    }
    (matrix,) = matrices(released.hub, config)
    cells = document(matrix, "https://hub.example")["versions"][1]["formats"]
    assert {cell["url"] for name, cell in cells.items() if name != "vllm"} == {
        f"https://hub.example/{GGUF}/tree/v2.0.0"
    }
    assert {cell["repo"] for cell in cells.values()} == {GGUF, VLLM}
    sizes = {name: cell["size"] for name, cell in cells.items() if name != "vllm"}
    assert sizes == {"ollama q4_k_m": len("v2.0.0 q4_k_m"), "ollama q8_0": len("v2.0.0 q8_0")}


def test_back_and_forward(released: Releases, config: Config) -> None:
    """One commit to each repo restores a version's files, whatever other exports it had, and forward again."""
    before = {repo: len(released.api.list_repo_commits(repo)) for repo in (VLLM, GGUF)}
    assert roll_back(released, config, "v1.0.0") == dict.fromkeys((VLLM, GGUF), "restore v1.0.0, take v2.0.0 back")
    assert {repo: len(released.api.list_repo_commits(repo)) - 1 for repo in (VLLM, GGUF)} == before
    listed = set(released.api.list_repo_files(GGUF))
    assert listed == set(released.api.list_repo_files(GGUF, revision="v1.0.0"))
    assert released.read(GGUF, "model-Q4_K_M.gguf") == "v1.0.0 q4_k_m"
    assert "v1.0.0 again: v2.0.0 was taken back" in released.read(VLLM)
    assert states(released, config) == {
        "v2.1.0-rc.1": {"ollama q4_k_m": "live", "ollama q8_0": "missing", "vllm": "live"},
        "v2.0.0": {"ollama q4_k_m": "withdrawn", "ollama q8_0": "withdrawn", "vllm": "withdrawn"},
        "v1.0.0": {"ollama q4_k_m": "live!", "ollama q8_0": "missing", "vllm": "live!"},
    }
    assert all(each.ok for each in audits(released).values())
    assert roll_back(released, config, "v2.0.0") == dict.fromkeys((VLLM, GGUF), "restore v2.0.0")
    assert released.read(GGUF) == released.read(GGUF, revision="v2.0.0")
    assert set(released.api.list_repo_files(GGUF)) == set(released.api.list_repo_files(GGUF, revision="v2.0.0"))
    assert all(each.ok for each in audits(released).values())


def test_released_after_a_rollback(releases: Releases, config: Config) -> None:
    """A version that was taken back stays so when the next one is released, until a rollback brings it back; a version
    that came after is none of those."""
    per_model = replace(releases, tags_versions=True)
    for tag in ("v1.1.0", "v2.0.0"):
        per_model.put(VLLM, tag)
    roll_back(per_model, config, "v1.1.0")
    for tag in ("v1.2.0", "v2.1.0"):
        per_model.put(VLLM, tag)
    told = [cells["vllm"] for cells in states(per_model, config).values()]
    assert told == ["live!", "withdrawn", "live", "live"]
    roll_back(per_model, config, "v2.0.0")
    assert [cells["vllm"] for cells in states(per_model, config).values()] == ["withdrawn", "live!", "live", "live"]
    roll_back(per_model, config, "v1.1.0")
    roll_back(per_model, config, "v2.1.0")
    assert [cells["vllm"] for cells in states(per_model, config).values()] == ["live!", "live", "live", "live"]


def test_from_shared_repos_to_others(releases: Releases, config: Config) -> None:
    """Where an earlier version had a repo for each type, the shared one is withdrawn once, and leads there."""
    alone = "acme/phi3-minimal-q4_k_m-gguf-v1.0.0"
    fields = {"base": "phi3", "dataset": "minimal"}
    releases.put(alone, "v1.0.0", format="ollama", quant="q4_k_m", fields=fields)
    files = {f"model-{quant.upper()}.gguf": quant for quant in ("q4_k_m", "q8_0")}
    parts = tuple(part(f"model-{quant.upper()}.gguf", files, quant, EVIDENCE) for quant in ("q4_k_m", "q8_0"))
    releases.put("acme/phi3-minimal-gguf-v2.0.0", "v2.0.0", files, format="ollama", parts=parts, fields=fields)
    assert roll_back(releases, config, "v1.0.0") == {"acme/phi3-minimal-gguf-v2.0.0": "withdraw v2.0.0, lead to v1.0.0"}


def test_manifest_of_each(released: Releases) -> None:
    """What shares a repo is told apart by the quantization type, each with its own files."""
    found = {(each.tag, each.manifest.quant): each.manifest for each in releases_in(released.hub, "acme")}
    q8_0: Manifest = found["v2.0.0", "q8_0"]
    assert [entry.path for entry in q8_0.files] == ["model-Q8_0.gguf"]
    assert q8_0.shown() is not None and q8_0.parts == ()
