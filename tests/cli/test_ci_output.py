"""What a task gives the workflow that it is a step of."""

from pathlib import Path

import pytest
from tagship.cli.ci_output import annotations, is_worth_caching, outputs_of, summary_of
from tagship.policy.config import load_config
from tagship.policy.file import PolicyError
from tagship.system.errors import ReleaseError

ENTRY = {"format": "ollama", "quant": "q4_k_m", "artifact": "dist/a.tar.gz", "repo_id": "acme/a"}
PLAN = {"tag": "v1.0.0", "version": "1.0.0", "does": ["export", "publish"], "formats": [ENTRY]}


def test_outputs() -> None:
    """Version, repos and archives, those of an export alone without repos, those of a tag that is no version empty."""
    assert outputs_of(PLAN) == {"version": "1.0.0", "repos": "acme/a", "artifacts": "dist/a.tar.gz", "units": "1"}
    two = {**PLAN, "does": ["export"], "formats": [ENTRY, {**ENTRY, "artifact": "dist/b.tar.gz"}], "base_model": "o/b"}
    assert outputs_of(two)["repos"] == ""
    assert outputs_of(two)["artifacts"] == "dist/a.tar.gz\ndist/b.tar.gz"
    assert outputs_of(two)["base"] == "o/b"
    nothing = {"tag": "v1.2", "version": None, "does": [], "formats": []}
    assert outputs_of(nothing) == {"version": "", "repos": "", "artifacts": "", "units": "0"}
    assert outputs_of({"tag": "v1.0.0", "version": "1.0.0", "stream": "semantic"}) == {"version": "1.0.0"}
    assert outputs_of({"ok": True}) == {}


def test_summary() -> None:
    """A table of a plan, and of what was made of it, in which a repo's name begins nothing."""
    assert "| ollama q4_k_m | - | dist/a.tar.gz | acme/a | - |" in summary_of("plan", PLAN)
    done = {
        **ENTRY,
        "repo_id": "acme/a|b",
        "url": "https://hub/acme/a",
        "files": [{"path": "a", "size": 1500, "sha256": "0"}],
        "verified": {"same_answers": 2, "prompts": 3, "mean_kl": 0.0123456789},
    }
    table = summary_of("release", {**PLAN, "formats": [done]})
    assert table.startswith("### release v1.0.0\n")
    assert "| [acme/a\\|b](https://hub/acme/a) | 2 of 3 answers alike, mean KL 0.0123457 nats |" in table


def test_mistakes_beside_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake of a policy is told at its key, in its file below the checkout; what is no TOML at its line."""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    policy = tmp_path / "models" / "release.toml"
    policy.parent.mkdir()
    policy.write_text('[project]\nnamespace = "acme"\n\n[formats.vllm]\n[formats.olama]\n[verify]\nmax_tokens = "x"\n')
    with pytest.raises(PolicyError) as mistakes:
        load_config(policy)
    found = list(annotations(mistakes.value))
    assert [line.partition("::formats")[0] for line in found][:1] == ["::error file=models/release.toml,line=5"]
    assert found[-1].startswith("::error file=models/release.toml,line=7::verify.max_tokens must be")
    policy.write_text("[project]\nnamespace =\n")
    with pytest.raises(PolicyError) as no_toml:
        load_config(policy)
    (line,) = annotations(no_toml.value)
    assert line.startswith("::error file=models/release.toml,line=2::")


def test_other_failures() -> None:
    """A failure that is about no line has its remedy beside it, and no secret in it."""
    (line,) = annotations(ReleaseError("https://me:secret@host is down", remedy="wait"))
    assert line == "::error::https://***@host is down (wait)"


def test_bases_that_are_kept(tmp_path: Path) -> None:
    """A base in the Hub's cache is kept where it is small: a link to a file counts once, an empty cache is nothing."""
    assert not is_worth_caching(tmp_path / "none")
    blob = tmp_path / "models--o--b" / "blobs" / "1"
    blob.parent.mkdir(parents=True)
    assert not is_worth_caching(tmp_path)
    with blob.open("wb") as file:
        file.truncate(3_000_000_000)
    (tmp_path / "models--o--b" / "model.safetensors").symlink_to(blob)
    assert is_worth_caching(tmp_path)
    with blob.open("wb") as file:
        file.truncate(5_000_000_000)
    assert not is_worth_caching(tmp_path)
