"""What is read of runs, exports and repositories: configurations and headers, on disk and on a Hub."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tagship.gguf.header import parse_gguf_header
from tagship.hub.connection import Hub
from tagship.lint.files import DiskFiles, Files, document_in, files_on_hub
from tagship.lint.held import ADAPTER, GGUF, MERGED, Fact, Held
from tagship.lint.reading import read_base, read_held, read_run, with_base, with_manifest
from tagship.lint.sizes import Parameters
from tagship.system.errors import ReleaseError
from tagship.weights.dtypes import DTYPES
from tagship.weights.schemes import SCHEMES

from tests.conftest import WriteRun
from tests.tiny import write_tensors

EXAMPLE = Path(__file__).parents[2] / "examples" / "avro"
RUN = EXAMPLE / "adapters" / "phi3avro-minimal-r16-a32-e6-20250914-132416"
MANIFEST = {
    "schema": 1,
    "version": "2.0.0",
    "quant": "q4_k_m",
    "base_model": "acme/base",
    "model": {"architecture": {"r": 8}, "scale": [31.5, {}], "recorded": {"dataset": "minimal", "epochs": 3}},
}


def held(folder: Path) -> Held:
    return read_held(DiskFiles(folder=folder))


def write_model(folder: Path, shapes: Mapping[str, tuple[int, ...]], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "model.safetensors", {name: np.zeros(shape, np.float16) for name, shape in shapes.items()})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_gguf(path: Path, shapes: Mapping[str, tuple[int, ...]], *, kind: str = "llama", **metadata: Any) -> Path:
    writer = gguf.GGUFWriter(path, kind)
    for key, value in metadata.items():
        name = key.replace("__", ".")
        writer.add_string(name, value) if isinstance(value, str) else writer.add_uint32(name, value)
    for name, shape in shapes.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# Runs and models


def test_run_of_the_example() -> None:
    """A run says rank, alpha, epochs and data set; its base adds family and size."""
    run = held(RUN)
    assert run.holds == {ADAPTER} and run.parameters is None
    assert (run.rank, run.alpha) == (Fact(16, "adapter_config.json"), Fact(32.0, "adapter_config.json"))
    assert (run.epochs, run.dataset) == (
        Fact(6.0, "experiment_metadata.json"),
        Fact("minimal", "experiment_metadata.json"),
    )
    whole = with_base(run, read_base(DiskFiles(folder=EXAMPLE / "base")), "acme/phi3avro")
    assert whole.architecture == Fact("phi3", "the base model's config.json")
    assert whole.parameters and whole.parameters.where == "the base model's 2 safetensors headers"
    assert 2_900_000 < whole.parameters.value.total < 3_000_000
    assert whole.base_ids == ("acme/phi3avro",) and whole.chat_template


def test_patterns_of_an_adapter(tmp_path: Path, write_run: WriteRun) -> None:
    """All ranks and alphas of an adapter are known."""
    run = held(write_run(tmp_path / "run", rank=8, alpha=16, rank_pattern={"q": 32}, alpha_pattern={"q": 31.5}))
    assert (run.ranks, run.alphas) == ((8, 32), (16.0, 31.5))


def test_what_a_trainer_recorded(tmp_path: Path, write_run: WriteRun) -> None:
    """Where nobody wrote more, the trainer's own state says the epochs, and where it stopped."""
    folder = write_run(tmp_path / "run")
    (folder / "trainer_state.json").write_text('{"num_train_epochs": 20, "epoch": 7.2, "log_history": []}')
    assert (held(folder).epochs, held(folder).stopped) == (
        Fact(20.0, "trainer_state.json"),
        Fact(7.2, "trainer_state.json"),
    )
    (folder / "experiment_metadata.json").write_text('{"num_train_epochs": 8}')
    assert held(folder).epochs == Fact(8.0, "experiment_metadata.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1" * 400, "-1e300", "true", '"three"', "[3]"])
def test_numbers_that_are_none(tmp_path: Path, write_run: WriteRun, number: str) -> None:
    """What is recorded and is no number that could be meant says nothing."""
    folder = write_run(tmp_path / "run")
    (folder / "experiment_metadata.json").write_text(f'{{"epochs": {number}}}')
    (folder / "trainer_state.json").write_text(f'{{"num_train_epochs": {number}, "epoch": {number}}}')
    assert (held(folder).epochs, held(folder).stopped) == (None, None)


def test_experts_that_are_none(tmp_path: Path) -> None:
    """A configuration that claims more experts than any model has is of no mixture."""
    config = {"model_type": "mixtral", "num_local_experts": 10**400, "num_experts_per_tok": 10**400}
    model = held(write_model(tmp_path / "model", {"experts.0.q.weight": (4, 4)}, **config))
    assert model.parameters and model.parameters.value == Parameters(total=16)


def test_what_else_lies_in_a_run(tmp_path: Path, write_run: WriteRun) -> None:
    """A release looks at a run's own files: half a GGUF beside them is no reason to refuse it."""
    folder = write_run(tmp_path / "run")
    (folder / "half.gguf").write_bytes(b"GGUF")
    assert read_run(DiskFiles(folder=folder)).rank == Fact(32, "adapter_config.json")
    with pytest.raises(ReleaseError, match=r"half\.gguf is not a whole GGUF"):
        held(folder)


def test_parameters_of_a_model(tmp_path: Path) -> None:
    """Parameters are summed over the headers; embedding and head are known, and the chat template."""
    shapes = {"model.embed_tokens.weight": (10, 4), "model.layers.0.q.weight": (4, 4), "lm_head.weight": (10, 4)}
    folder = write_model(tmp_path / "model", shapes, model_type="llama", architectures=["LlamaForCausalLM"])
    model = held(folder)
    assert model.parameters == Fact(Parameters(total=96, vocabulary=80), "model.safetensors")
    assert (model.holds, model.chat_template) == ({MERGED}, False)
    (folder / "tokenizer_config.json").write_text('{"chat_template": "…"}')
    assert held(folder).chat_template is True


def test_parameters_of_a_mixture(tmp_path: Path) -> None:
    """What is in experts is known, and how many of them there are and are used."""
    shapes = {f"model.layers.0.mlp.experts.{number}.up.weight": (4, 4) for number in range(4)}
    shapes["model.layers.0.mlp.shared_expert.up.weight"] = (2, 4)
    config = {"text_config": {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 1}}
    model = held(write_model(tmp_path / "model", shapes, model_type="qwen3_vl", **config))
    assert model.parameters and model.parameters.value == Parameters(total=72, in_experts=64, experts=4, used=1)
    assert model.text_architecture == "qwen3_moe"


def test_packed_weights_are_not_counted(tmp_path: Path) -> None:
    """Of weights that are packed, nobody can tell the number from the headers."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    write_tensors(tmp_path / "model.safetensors", {"q.weight": np.zeros((64, 64), np.uint8)})
    assert held(tmp_path).parameters is None
    write_tensors(tmp_path / "model.safetensors", {"q": np.zeros((4, 4), np.float32), "ids": np.zeros(9, np.int64)})
    assert held(tmp_path).parameters is not None


@pytest.mark.parametrize("name", SCHEMES)
def test_quantized_weights_are_counted(tmp_path: Path, name: str) -> None:
    """A model whose matrices are quantized for vLLM has the parameters of the one that it was made of: its scales are
    none, and what is packed is counted by its bits."""
    scheme, shapes = SCHEMES[name], {"model.layers.0.up.weight": (256, 256), "model.layers.1.up.weight": (128, 384)}
    parts = [part for weight, shape in shapes.items() for part in scheme.parts(weight, shape, "BF16")]
    tensors = {part.name: np.zeros(part.shape, DTYPES[part.dtype]) for part in parts}
    write_tensors(tmp_path / "model.safetensors", tensors | {"model.norm.weight": np.zeros(256, np.float16)})
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": scheme.quantization_config(())}))
    counted = held(tmp_path).parameters
    assert counted and counted.value.total == 256 * 256 + 128 * 384 + 256


def test_index_with_a_file_that_is_not_here(tmp_path: Path) -> None:
    """A base that is partly here says its family, and no size; a path that leads elsewhere is not followed."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd", "b": 3}}')
    model = held(tmp_path)
    assert (model.parameters, model.architecture) == (None, Fact("llama", "config.json"))


# GGUFs


def test_gguf(tmp_path: Path) -> None:
    """A GGUF says its family, size, type, version and template; an adapter beside it is one."""
    shapes = {"token_embd.weight": (10, 4), "blk.0.ffn_up_exps.weight": (4, 4, 4), "blk.0.attn_q.weight": (4, 4)}
    experts = {"qwen3moe__expert_count": 4, "qwen3moe__expert_used_count": 2}
    said = {"general__file_type": 1, "general__version": "2.0.0", "tokenizer__chat_template": "…"}
    write_gguf(tmp_path / "a-F16.gguf", shapes, kind="qwen3moe", **said, **experts)
    write_gguf(tmp_path / "b-F16-LoRA.gguf", {"x": (4, 4)}, general__type="adapter")
    model = held(tmp_path)
    assert model.holds == {GGUF, ADAPTER}
    assert model.architecture == Fact("qwen3moe", "a-F16.gguf")
    assert model.parameters and model.parameters.value == Parameters(
        total=120, vocabulary=40, in_experts=64, experts=4, used=2
    )
    assert model.ggufs["a-F16.gguf"].file_type == "F16" and model.gguf_versions == {"a-F16.gguf": "2.0.0"}
    assert model.chat_template


def test_divided_gguf(tmp_path: Path) -> None:
    """The parts of a divided GGUF are one model: the first says what it is, all have its tensors."""
    for number in (1, 2):
        said = {"general__file_type": 1} if number == 1 else {}
        write_gguf(tmp_path / f"a-F16-0000{number}-of-00002.gguf", {f"blk.{number}.q": (4, 4)}, **said)
    model = held(tmp_path)
    assert list(model.ggufs) == ["a-F16-00001-of-00002.gguf"]
    assert model.parameters and model.parameters.value.total == 32
    assert model.ggufs["a-F16-00001-of-00002.gguf"].shares == (("F16", 1.0),)


def test_one_file_of_a_folder(tmp_path: Path) -> None:
    """A GGUF by itself is looked at without the others."""
    for name in ("a-F16.gguf", "b-F16.gguf"):
        write_gguf(tmp_path / name, {"q": (4, 4)}, general__file_type=1)
    assert list(read_held(DiskFiles(folder=tmp_path, only="b-F16.gguf")).ggufs) == ["b-F16.gguf"]


# Manifests


def test_manifest() -> None:
    """release.json says what the files of an export do not."""
    told = with_manifest(Held(where="its files"), MANIFEST)
    assert (told.rank, told.alpha) == (Fact(8, "release.json"), Fact(31.5, "release.json"))
    assert (told.epochs, told.dataset) == (Fact(3.0, "release.json"), Fact("minimal", "release.json"))
    assert (told.version, told.quant) == (Fact("2.0.0", "release.json"), Fact("Q4_K_M", "release.json"))
    assert told.base_ids == ("acme/base",)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"name": "another program's"},
        {"schema": 1, "model": 3, "version": 7, "quant": [], "base_model": None},
        {"schema": 1, "model": {"architecture": [], "scale": {}, "recorded": "x"}},
    ],
)
def test_other_manifests(document: dict[str, Any]) -> None:
    """A manifest of another program, or one with other types, says nothing."""
    told = with_manifest(Held(where="its files"), document)
    assert (told.rank, told.alpha, told.epochs, told.quant, told.base_ids) == (None, None, None, None, ())


# What is damaged


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.json", "{", "config.json is not valid JSON"),
        ("config.json", "[]", "config.json is not a JSON object"),
        ("adapter_config.json", "{}", "is not a PEFT adapter's configuration"),
        ("adapter_config.json", '{"peft_type": "LORA", "r": "x", "lora_alpha": 1}', "is not a PEFT adapter's"),
        ("model.safetensors", "short", "is not a whole safetensors file"),
        ("model.gguf", "GGUF", "is not a whole GGUF file"),
        ("model.gguf", "version https://git-lfs.github.com/spec/v1\n", "is a pointer of git LFS"),
        ("experiment_metadata.json", "nothing", "experiment_metadata.json is not valid JSON"),
    ],
)
def test_damaged(tmp_path: Path, name: str, content: str, problem: str) -> None:
    """What is damaged is named, with what is wrong."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ReleaseError, match=problem):
        held(tmp_path)


def test_document_of_any_length(tmp_path: Path) -> None:
    """A configuration that is longer than any is not read."""
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(ReleaseError, match="30000000 bytes, more than any such file"):
        document_in(DiskFiles(folder=tmp_path), "config.json")


def test_folder_that_is_gone(tmp_path: Path) -> None:
    """A folder that cannot be read is told."""
    with pytest.raises(ReleaseError, match="cannot be read: No such file"):
        held(tmp_path / "none")


# On a Hub


@pytest.fixture
def published(hub: Any, quiet_client: None) -> Callable[[Path, str], Files]:
    """A function that publishes a folder on an embedded Hub, and gives its files as they are read there."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token=False)

    def publish(folder: Path, repo_id: str) -> Files:
        api.create_repo(repo_id)
        api.upload_folder(repo_id=repo_id, folder_path=folder)
        return files_on_hub(Hub(lambda: api, embedded=True), repo_id)

    return publish


def test_repositories_are_read_as_folders_are(tmp_path: Path, published: Callable[[Path, str], Files]) -> None:
    """Of a repository the same is known as of the folder that was published."""
    run = shutil.copytree(RUN, tmp_path / "run")
    model = write_model(tmp_path / "model", {"q.weight": (4, 4)}, model_type="llama")
    (model / "quants").mkdir()
    write_gguf(model / "quants" / "a-F16.gguf", {"blk.0.q": (4, 4)}, general__file_type=1)
    for folder in (run, model):
        files = published(folder, f"acme/{folder.name}")
        assert files.place == f"acme/{folder.name}"
        assert read_held(files) == held(folder)


def test_large_files_are_not_fetched(tmp_path: Path, published: Callable[[Path, str], Files], hub: Any) -> None:
    """Of large files on a Hub only the beginnings are read: the rest stays where it is."""
    size = 64 << 20
    write_gguf(tmp_path / "a-F16.gguf", {"blk.0.q": (size // 8192, 4096)}, general__file_type=1)
    files = published(tmp_path, "acme/large")
    with files.open("a-F16.gguf") as (file, length):
        assert length > size
        (tensor,) = parse_gguf_header(file, length, "a-F16.gguf").tensors
        assert tensor.elements == size // 2
        remote: Any = file
        assert 0 < remote.raw.cache.total_requested_bytes < 4 << 20


def test_repository_that_is_none(published: Callable[[Path, str], Files], hub: Any, quiet_client: None) -> None:
    """A repository that is not there, and a name that cannot be one's, are told."""
    from huggingface_hub import HfApi

    client = Hub(lambda: HfApi(endpoint=hub.url, token=False), embedded=True)
    with pytest.raises(ReleaseError, match="there is no model acme/none on http"):
        files_on_hub(client, "acme/none")
    with pytest.raises(ReleaseError, match="that is no repository, to look up a//b"):
        files_on_hub(client, "a//b")


def test_damaged_file_of_a_repository(tmp_path: Path, published: Callable[[Path, str], Files]) -> None:
    """A damaged header is named by its repository."""
    (tmp_path / "a-F16.gguf").write_bytes(b"GGUF" + bytes(3))
    files = published(tmp_path, "acme/damaged")
    with pytest.raises(ReleaseError, match=r"acme/damaged/a-F16\.gguf is not a whole GGUF file"):
        read_held(files)
