"""Bad input: one clear message with the remedy, the right exit code, and nothing left behind."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tagship.hub_server.app import EmbeddedHub, Role

from tests.end_to_end.conftest import NEWEST_RUN, Finished, Project

RUNS = "examples/avro/adapters"
BASE = "examples/avro/base"


def _refused(project: Project, code: int, *words: str, options: tuple[str, ...] = (), **environment: str) -> Finished:
    """Run a release that must end with `code`, say all `words`, and leave nothing behind."""
    before = project.files()
    done = project.invoke("release", *options, **environment)
    assert done.code == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    left = {name for name in project.files() - before if "__pycache__" not in name}
    assert left == set(), "something was left behind"
    return done


def test_no_run(project: Project) -> None:
    """Without a training run there is nothing to release."""
    shutil.rmtree(project.folder / RUNS)
    _refused(project, 1, "no training run found", "--run")


def test_unfinished_run(project: Project) -> None:
    """A run without an adapter's configuration is refused by name, not passed over for an older one."""
    (project.folder / RUNS / NEWEST_RUN / "adapter_config.json").unlink()
    _refused(project, 1, NEWEST_RUN, "adapter_config.json")


def test_truncated_adapter(project: Project) -> None:
    """A cut-off safetensors file is named, with both sizes."""
    weights = project.folder / RUNS / NEWEST_RUN / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    _refused(project, 1, "adapter_model.safetensors", "not a whole safetensors file")


def test_corrupt_adapter(project: Project) -> None:
    """A file that is no safetensors file is named."""
    weights = project.folder / RUNS / NEWEST_RUN / "adapter_model.safetensors"
    weights.write_bytes(b"\x10\0\0\0\0\0\0\0this is no json!" + bytes(100))
    _refused(project, 1, "adapter_model.safetensors", "JSON")


def test_base_that_lacks_modules(project: Project) -> None:
    """A base of another depth is refused, tensor by tensor."""
    for path in (project.folder / BASE).glob("model*"):  # names of one length: no offset moves
        path.write_bytes(path.read_bytes().replace(b"layers.3.", b"layers.9."))
    _refused(project, 1, "does not fit", "layers.3.self_attn.qkv_proj.weight is not in the base", "--base")


def test_base_with_a_missing_shard(project: Project) -> None:
    """A missing shard is named."""
    (project.folder / BASE / "model-00002-of-00002.safetensors").unlink()
    _refused(project, 1, "model-00002-of-00002.safetensors")


def test_base_without_tokenizer(project: Project) -> None:
    """A base without a tokenizer cannot make an export that runs."""
    for name in ("tokenizer.json", "tokenizer.model"):
        (project.folder / BASE / name).unlink()
    _refused(project, 1, "no tokenizer")


def test_base_without_license(project: Project) -> None:
    """A license is never guessed."""
    (project.folder / BASE / "README.md").unlink()
    _refused(project, 1, "license", "acme/phi3avro")


def test_architecture_that_llama_cpp_does_not_have(project: Project) -> None:
    """What cannot be converted is told before any format is exported."""
    project.replace(f"{BASE}/config.json", '"Phi3ForCausalLM"', '"NoSuchForCausalLM"')
    _refused(project, 1, "converter does not have NoSuchForCausalLM", "LLAMA_CPP_DIR")


def test_tokenizer_that_llama_cpp_needs(project: Project) -> None:
    """So is what the converter only finds when it converts."""
    (project.folder / BASE / "tokenizer.model").unlink()
    _refused(project, 1, "cannot convert", "tokenizer.model", "fetch the base model again")


def test_base_that_nobody_names(project: Project) -> None:
    """A local base whose Hub id is not known would make a card that the Hub refuses."""
    project.replace("release.toml", '[bases."acme/phi3avro"]', '[bases."acme/other"]')
    project.replace("release.toml", f'"{BASE}"', '"elsewhere"')
    _refused(project, 1, "which model on the Hub", "[bases.")


def test_base_that_does_not_exist(project: Project) -> None:
    """--base takes a folder or a Hub id, and says so."""
    _refused(project, 1, "neither a folder here nor", options=("--base", "./no/such/folder"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "olama"), ("'olama'", "did you mean 'ollama'")),
        (("--format", "ollama", "--quant", "q4km"), ("'q4km'", "did you mean 'q4_k_m'")),
        (("--format", "vllm", "--quant", "q4_k_m"), ("--quant",)),
        (("--at", "yesterday"), ("--at", "YYYYMMDD-HHMMSS")),
        (("--hub", "huggingface"), ("--hub", "embedded")),
        (("--repo-name", "one"), ("--repo-name", "--format")),
    ],
)
def test_mistakes_in_the_options(project: Project, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    """A mistake in the options ends with exit code 2 and a hint."""
    _refused(project, 2, *words, options=options)


def test_mistakes_in_the_policy(project: Project) -> None:
    """All mistakes of release.toml are told at once."""
    project.replace("release.toml", "namespace", "namespaze")
    project.replace("release.toml", '["q4_k_m"]', '["q4_k_m", "q5"]')
    _refused(project, 2, "project.namespaze is unknown: did you mean 'namespace'", "formats.ollama.quants", "'q5'")


def test_no_policy(project: Project) -> None:
    """A folder without release.toml says how to name one."""
    (project.folder / "release.toml").unlink()
    _refused(project, 2, "release.toml", "--config")


def test_tag_that_does_not_exist(project: Project) -> None:
    """--tag takes an existing tag, and says how to make one."""
    _refused(project, 1, "no tag 'v9.9.9'", "git tag v9.9.9", options=("--tag", "v9.9.9"))


def test_tag_that_is_elsewhere(project: Project) -> None:
    """A tag must be what is checked out."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    project.git("commit", "--quiet", "--allow-empty", "--message", "feat: go on")
    _refused(project, 1, "v1.0.0 is on", "git checkout v1.0.0", options=("--tag", "v1.0.0"))


def test_tag_on_a_dirty_tree(project: Project) -> None:
    """A tagged release is made of the tag's own files."""
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    (project.folder / "notes.txt").write_text("not committed")
    _refused(project, 1, "notes.txt", "git stash")


def test_tag_of_no_stream(project: Project) -> None:
    """Other tags trigger nothing."""
    project.git("tag", "v1.2", "--message", "almost a version")
    _refused(project, 1, "v1.2", "of no stream", options=("--tag", "v1.2"))


def test_repo_name_that_the_hub_refuses(project: Project) -> None:
    """A name is checked before anything runs, and the nearest valid one is told."""
    options = ("--format", "lora", "--repo-name", "my--model")
    _refused(project, 2, "'my--model'", "nearest valid name: 'my-model'", options=options)


def test_extra_that_is_not_installed(project: Project, tmp_path: Path) -> None:
    """The command that installs what is missing is told."""
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'xllamacpp' else find(name, *more)\n"
    )
    _refused(project, 1, "xllamacpp", "pip install", PYTHONPATH=str(tmp_path))


def test_a_failed_comparison_publishes_nothing(project: Project) -> None:
    """An export that does not answer like base + adapter stops the release before anything is public."""
    project.replace("release.toml", "[card]", "[verify.kl]\nq4_k_m = 1e-9\n\n[card]")
    project.git("commit", "--all", "--quiet", "--message", "test: ask too much")
    done = project.invoke("release", "--format", "ollama")
    assert done.code == 1
    assert "does not answer like base + adapter" in done.stderr and "nothing was published" in done.stderr
    assert not list((project.folder / ".tagship").rglob("*.git"))
    assert not (project.folder / "dist").exists()


@pytest.fixture(scope="module")
def strict_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    """A Hub that asks for tokens, as the real one does."""
    tokens = {"hf_reader": Role.READ, "hf_writer": Role.WRITE}
    with EmbeddedHub(root=tmp_path_factory.mktemp("hub"), namespace="acme", tokens=tokens) as hub:
        yield hub


def test_no_token(project: Project, strict_hub: EmbeddedHub) -> None:
    """The Hub needs a token, and the message says where to get one."""
    _refused(project, 1, "no token", "HF_TOKEN", options=("--hub", strict_hub.url))


def test_token_that_is_not_known(project: Project, strict_hub: EmbeddedHub) -> None:
    """A wrong token is told from a missing one."""
    _refused(project, 1, "does not know the token", options=("--hub", strict_hub.url), HF_TOKEN="hf_wrong")


def test_token_that_may_only_read(project: Project, strict_hub: EmbeddedHub) -> None:
    """A read token is refused before anything is exported."""
    _refused(project, 1, "cannot write to acme", options=("--hub", strict_hub.url), HF_TOKEN="hf_reader")


def test_token_of_someone_else(project: Project, strict_hub: EmbeddedHub) -> None:
    """A token must belong to the namespace."""
    project.replace("release.toml", 'namespace = "acme"', 'namespace = "other"')
    _refused(project, 1, "'other'", "namespace", options=("--hub", strict_hub.url), HF_TOKEN="hf_writer")


def test_hub_that_cannot_be_reached(project: Project) -> None:
    """A Hub that does not answer is named, and so is what was tried."""
    options = ("--hub", "http://127.0.0.1:9")
    _refused(project, 1, "could not be reached", options=options, HF_TOKEN="hf_writer")


def test_unknown_option_by_the_console_command(project: Project) -> None:
    """`tagship` ends with 2 for an option that does not exist."""
    command = [str(Path(sys.executable).with_name("tagship")), "release", "--fromat", "vllm"]
    done = subprocess.run(command, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--fromat" in done.stderr
