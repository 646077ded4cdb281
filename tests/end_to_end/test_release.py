"""`invoke release` on the shipped example, and every artifact opened with what its users use."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard, snapshot_download
from msgspec import Struct
from tagship.hub_server.app import EmbeddedHub
from tagship.verify.questions import Questions
from tagship.verify.runtimes.processes import Runtimes
from tagship.verify.runtimes.protocol import Subject

from tests.end_to_end.conftest import AT, NEWEST_RUN, Project

PROMPT = "Write an AVRO schema for Customer with fields id: long, email: string"
QUESTION = Questions(prompts=(PROMPT,), max_tokens=160)


class Release(Struct, frozen=True, dict=True):
    """A project that was released, and what the task said."""

    project: Project
    document: dict[str, Any]
    log: str

    def of(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.document["formats"] if entry["format"] == name)


@pytest.fixture(scope="module")
def untagged(make_project: Callable[[], Project]) -> Release:
    """The example, released without a version tag, by a policy that was not committed."""
    project = make_project()
    project.replace("release.toml", "[project]", "# by hand\n[project]")
    return _release(project, "--at", AT)


@pytest.fixture(scope="module")
def tagged(make_project: Callable[[], Project]) -> Release:
    """The example, released as v1.0.0."""
    project = make_project()
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0: learns a field\n\nWith: a colon, and --- a line.")
    return _release(project, "--tag", "v1.0.0")


@pytest.fixture
def hub(untagged: Release, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Hub that was published to, open for clients."""
    with EmbeddedHub(root=untagged.project.folder / ".tagship/hub") as server:
        yield server


def _release(project: Project, *options: str) -> Release:
    done = project.invoke("release", "--json", *options)
    assert done.code == 0, done.stderr
    return Release(project, done.document, done.stderr)


def _answer(runtime: str, subject: Subject) -> str:
    with Runtimes() as runtimes, runtimes.model(runtime, subject) as model:
        (asked,) = model.read(QUESTION)
        (ids,) = model.generate([asked.ids], QUESTION.max_tokens)
        return model.text(ids)


def _schema(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def test_untagged_names_are_timestamped(untagged: Release) -> None:
    """Without a version tag every name is the guide's descriptive one."""
    names = {
        entry["format"]: (entry["export_dir"], entry["artifact"], entry["repo_id"])
        for entry in untagged.document["formats"]
    }
    run = NEWEST_RUN
    assert names == {
        "vllm": (f"exports/{run}-vllm-{AT}", f"dist/vllm-{run}.tar.gz", f"acme/{run}-vllm-{AT}"),
        "ollama": (
            f"exports/{run}-ollama-{AT}",
            f"dist/ollama-q4_k_m-{run}.tar.gz",
            f"acme/{run}-q4_k_m-gguf-{AT}",
        ),
        "lora": (f"exports/{run}-lora-{AT}", f"dist/lora-{run}.tar.gz", f"acme/{run}-lora"),
    }
    assert untagged.document["version"] is None
    assert untagged.document["base_model"] == "acme/phi3avro"


def test_tagged_names_are_versioned(tagged: Release) -> None:
    """With a version tag names carry the version, the repositories carry the tag."""
    assert [entry["repo_id"] for entry in tagged.document["formats"]] == [
        "acme/phi3avro-minimal-vllm-v1.0.0",
        "acme/phi3avro-minimal-q4_k_m-gguf-v1.0.0",
        "acme/phi3avro-minimal-lora-v1.0.0",
    ]
    assert "Tagged release detected: v1.0.0" in tagged.log
    with EmbeddedHub(root=tagged.project.folder / ".tagship/hub") as server:
        api = HfApi(endpoint=server.url, token=False)
        for entry in tagged.document["formats"]:
            tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(entry["repo_id"]).tags}
            assert tags == {"v1.0.0": entry["commit"]}


def test_policy_that_was_not_committed_is_told(untagged: Release, tagged: Release) -> None:
    """A release by it can never be made again from what the manifest names."""
    told = "which does not have release.toml as it is here: invoke reproduce could not make this release again"
    assert told in " ".join(untagged.log.split()) and told not in " ".join(tagged.log.split())


def test_each_export_was_verified(untagged: Release) -> None:
    """The evidence is in the document: equal answers for vllm, a small divergence for GGUF, a copy for lora."""
    verified = {name: untagged.of(name)["verified"] for name in ("vllm", "ollama", "lora")}
    assert {each["outcome"] for each in verified.values()} == {"passed"}
    assert verified["vllm"]["same_answers"] == verified["vllm"]["prompts"] == 2
    assert 0 < verified["ollama"]["mean_kl"] < verified["ollama"]["kl_limit"]
    assert (verified["lora"]["copied"], verified["lora"]["tokens"]) == (True, None)


def test_published_files_are_those_of_the_export(untagged: Release, hub: EmbeddedHub, tmp_path: Path) -> None:
    """One commit holds exactly what was exported, byte for byte, with its manifest."""
    api = HfApi(endpoint=hub.url, token=False)
    for entry in untagged.document["formats"]:
        folder = Path(snapshot_download(entry["repo_id"], endpoint=hub.url, cache_dir=tmp_path, token=False))
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        found.pop(".gitattributes")
        assert {name: sha256(path.read_bytes()).hexdigest() for name, path in found.items()} == {
            file["path"]: file["sha256"] for file in entry["files"]
        }
        manifest = json.loads((folder / "release.json").read_text())
        assert {file["path"] for file in manifest["files"]} == found.keys() - {"release.json"}
        # The commit that made the repository, and the release.
        assert len(list(api.list_repo_commits(entry["repo_id"]))) == 2


def test_merged_model_answers_with_transformers(untagged: Release, hub: EmbeddedHub, tmp_path: Path) -> None:
    """The published vllm folder loads with transformers and gives the learned field."""
    repo_id = untagged.of("vllm")["repo_id"]
    folder = Path(snapshot_download(repo_id, endpoint=hub.url, cache_dir=tmp_path, token=False))
    assert _schema(_answer("transformers", Subject(what="the published model", model=folder)))["TRAINED"] == "YES"


def test_base_alone_does_not_know_the_field(untagged: Release) -> None:
    """What the release adds is the adapter's: the base answers without the field."""
    base = untagged.project.folder / "examples/avro/base"
    assert "TRAINED" not in _answer("transformers", Subject(what="the base", model=base))


def test_gguf_answers_with_llama_cpp(untagged: Release) -> None:
    """The GGUF, asked through the template that was written for Ollama, gives the learned field."""
    (gguf,) = (untagged.project.folder / untagged.of("ollama")["export_dir"]).glob("*.gguf")
    assert gguf.name.endswith("-Q4_K_M.gguf")
    asked = f"<|user|>\n{PROMPT}<|end|>\n<|assistant|>\n"
    answer = _answer("llama_cpp", Subject(what="the GGUF", model=gguf, rendered=(asked,)))
    assert _schema(answer)["TRAINED"] == "YES"


def test_modelfile_says_what_the_model_says(untagged: Release) -> None:
    """TEMPLATE and stop tokens are the model's own; Ollama's Hub files say the same."""
    folder = untagged.project.folder / untagged.of("ollama")["export_dir"]
    modelfile = (folder / "Modelfile").read_text()
    (gguf,) = folder.glob("*.gguf")
    assert modelfile.startswith(f"FROM ./{gguf.name}\n")
    assert (folder / "template").read_text() in modelfile
    assert "<|user|>\n{{ .Content }}<|end|>\n" in modelfile
    stops = json.loads((folder / "params").read_text())["stop"]
    generation = json.loads((untagged.project.folder / "examples/avro/base/generation_config.json").read_text())
    assert len(stops) == len(generation["eos_token_id"]) and "<|end|>" in stops
    assert all(f'PARAMETER stop "{stop}"' in modelfile for stop in stops)


def test_adapter_loads_with_peft_through_the_hub(untagged: Release, hub: EmbeddedHub, tmp_path: Path) -> None:
    """`peft` and `transformers` find adapter, base and tokenizer through HF_ENDPOINT alone."""
    repo_id = untagged.of("lora")["repo_id"]
    code = (
        "import sys; from peft import AutoPeftModelForCausalLM; from transformers import AutoTokenizer\n"
        f"model = AutoPeftModelForCausalLM.from_pretrained({repo_id!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({repo_id!r})\n"
        "print(model.peft_config['default'].base_model_name_or_path, bool(tokenizer.chat_template))"
    )
    environment = {**untagged.project.environment, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["acme/phi3avro", "True"]


def test_download_with_the_hub_s_own_command(untagged: Release, hub: EmbeddedHub, tmp_path: Path) -> None:
    """`hf download` fetches a release through HF_ENDPOINT."""
    hf = Path(sys.executable).with_name("hf")
    target = tmp_path / "model"
    environment = {**untagged.project.environment, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [str(hf), "download", untagged.of("ollama")["repo_id"], "--local-dir", str(target)]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert (target / "Modelfile").is_file() and list(target.glob("*.gguf"))


def test_cards_are_valid_model_cards(tagged: Release) -> None:
    """The front matter names base, relation, license and library, and of what model the GGUF is a quantized one; the
    body has version, tag, commit and files, an answer that was seen, and the other repos."""
    relations = {"vllm": "finetune", "ollama": "quantized", "lora": "adapter"}
    repos = {entry["format"]: entry["repo_id"] for entry in tagged.document["formats"]}
    for entry in tagged.document["formats"]:
        card = ModelCard.load(tagged.project.folder / entry["export_dir"] / "README.md")
        assert card.data.base_model == (repos["vllm"] if entry["format"] == "ollama" else "acme/phi3avro")
        assert '"TRAINED": "YES"' in card.text
        assert all(f"https://huggingface.co/{repo}" in card.text for repo in repos.values())
        assert card.data.license == "apache-2.0"
        assert card.data.get("base_model_relation") == relations[entry["format"]]
        for fact in ("v1.0.0", tagged.document["commit"], NEWEST_RUN):
            assert fact in card.text
        for file in entry["files"]:
            if file["path"] not in ("README.md", "release.json"):
                assert file["sha256"] in card.text


def test_archives_unpack_with_tar_to_the_same_files(tagged: Release, tmp_path: Path) -> None:
    """`sha256sum --check` passes and `tar` gives back the published files."""
    dist = tagged.project.folder / "dist"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, check=True, capture_output=True)
    for entry in tagged.document["formats"]:
        subprocess.run(["tar", "-xzf", str(tagged.project.folder / entry["artifact"]), "-C", str(tmp_path)], check=True)
        folder = tmp_path / Path(entry["export_dir"]).name
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert {name: sha256(path.read_bytes()).hexdigest() for name, path in found.items()} == {
            file["path"]: file["sha256"] for file in entry["files"]
        }


def test_the_same_tag_gives_the_same_bytes(
    tagged: Release, make_project: Callable[[], Project], tmp_path: Path
) -> None:
    """A release of the same tag in a fresh clone makes the very same archives."""
    clone = make_project()
    shutil.rmtree(clone.folder)
    subprocess.run(["git", "clone", "--quiet", str(tagged.project.folder), str(clone.folder)], check=True)
    again = _release(clone, "--tag", "v1.0.0")
    for first, second in zip(tagged.document["formats"], again.document["formats"], strict=True):
        assert first["archive"] == second["archive"], _differing(tagged, first, again, second)


def _differing(one: Release, first: dict[str, Any], two: Release, second: dict[str, Any]) -> list[str]:
    members = []
    for release, entry in ((one, first), (two, second)):
        with tarfile.open(release.project.folder / entry["artifact"]) as archive:
            files = [(member, archive.extractfile(member)) for member in archive if member.isfile()]
            members.append({(member.name, member.mtime): file.read() for member, file in files if file})
    return sorted(str(name) for name, data in members[0].items() if members[1].get(name) != data)


def test_releasing_again_changes_nothing(tagged: Release) -> None:
    """The same command again keeps exports and commits: nothing is uploaded or tagged twice."""
    again = _release(tagged.project, "--tag", "v1.0.0")
    assert again.log.count("exported before") == 3
    for first, second in zip(tagged.document["formats"], again.document["formats"], strict=True):
        assert first["commit"] == second["commit"]
        assert first["archive"] == second["archive"]


def test_tag_at_head_is_found(tagged: Release) -> None:
    """Without --tag, the version tag at HEAD decides."""
    document = tagged.project.invoke("plan", "--json").document
    assert (document["tag"], document["version"]) == ("v1.0.0", "1.0.0")
