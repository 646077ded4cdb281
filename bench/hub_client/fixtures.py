"""The repositories of huggingface.co that huggingface_hub's tests read, remade in an embedded Hub.

Only what the tests look at is remade: names, tags, files, headers of weights.
"""

import json
import struct
from typing import Any

import yaml
from huggingface_hub import CommitOperationAdd, HfApi
from msgspec import Struct, field

_LAYOUT = "hf-internal-testing/hfh-cache-layout"
_RENAMED = "hf-internal-testing/dummy-will-be-renamed"
_DUMMY = "julien-c/dummy-unknown"
_XET = "celinah/dummy-xet-testing"
_ZEPHYR = "HuggingFaceH4/zephyr-7b-beta"
_SCANNED = "hf-internal-testing/hfh_ci_scan_repo_a"
_OPENJOURNEY = "prompthero/openjourney-v4"
_HERMES = "teknium/OpenHermes-2.5-Mistral-7B"
# How many models and data sets there are at least, so that lists of them are long.
_MANY = 105


class Fixtures(Struct, frozen=True):
    """Makes repositories; `literals` are what the tests name by huggingface.co's ids, and what it is here."""

    api: HfApi
    literals: dict[str, str] = field(default_factory=dict)

    def model(self, repo_id: str, files: dict[str, bytes], **options: Any) -> str:
        """A commit to a model or dataset, which is made if it isn't there; the commit's id."""
        self.api.create_repo(repo_id, repo_type=options.get("repo_type"), exist_ok=True)
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        return str(self.api.create_commit(repo_id, operations, commit_message="files", **options).oid)

    def dataset(self, repo_id: str, files: dict[str, bytes], **options: Any) -> str:
        """The same for a dataset."""
        return self.model(repo_id, files, repo_type="dataset", **options)


def card(text: str = "# Card\n", **metadata: Any) -> bytes:
    """A README.md."""
    return f"---\n{yaml.safe_dump(metadata, allow_unicode=True)}---\n{text}".encode()


def safetensors(tensors: dict[str, tuple[str, list[int]]], *, size: int = 0) -> bytes:
    """A file of nothing but its header, which is padded to `size` bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        length = shape[0] * 2 if len(shape) == 1 else 0
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header).encode().ljust(size)
    return struct.pack("<Q", len(text)) + text


def _download_tests(make: Fixtures) -> None:
    make.model(_LAYOUT, {"file_0.txt": b"File 0\n", "file_1.txt": b"File 1\n"})
    for number in (2, 3):
        make.api.create_branch(_LAYOUT, branch=f"file-{number}")
        make.model(_LAYOUT, {f"file_{number}.txt": b"File %d\n" % number}, revision=f"file-{number}")
    config = json.dumps({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "padding": ""})
    config = config.replace('"padding": ""', f'"padding": "{"x" * (851 - len(config))}"')
    weights = {name: b"\0weights" * 500 for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")}
    texts = {"config.json": config.encode(), "README.md": b"# Dummy\n", "vocab.json": b"{}", "merges.txt": b"# 0.2\n"}
    one = make.model(_DUMMY, texts | weights)
    make.model(_DUMMY, {"README.md": b"# Dummy model\n"})
    make.model(_DUMMY, {"new.txt": b"x"}, create_pr=True)
    make.literals["f2c752cfc5c0ab6f4bdec59acea69eefbee381c2"] = one
    make.literals["44c70f043cfe8162efc274ff531575e224a0e6f0"] = one
    make.model(_RENAMED, {"config.json": b"{}"})
    make.api.move_repo(_RENAMED, _RENAMED.replace("will-be-", ""))
    make.model(_XET, {"dummy.safetensors": b"\0xet" * 500_000, "config.json": b"{}"})
    _cache_tests(make)


def _cache_tests(make: Fixtures) -> None:
    """Of the sizes that the tests add up: 1,501 bytes in three files, 4,463 in the six of three revisions."""
    first = make.model(_SCANNED, {".gitattributes": b"#".ljust(1476, b"x") + b"\n"})
    main = make.model(_SCANNED, {"README.md": b"# Scan\n\n"})
    proposed = make.model(_SCANNED, {"file.txt": b"of 16 bytes all\n"}, create_pr=True)
    (readme,) = make.api.get_paths_info(_SCANNED, ["README.md"])
    make.dataset("hf-internal-testing/hfh_ci_scan_dataset_b", {".gitattributes": b"#".ljust(2264, b"x") + b"\n"})
    make.literals["f95875cd910793299a545417cc4b3c9055202883"] = first
    make.literals["c0d57e03d9f128062eadb6665618982db612b2e3"] = main
    make.literals["1a665a9d28a66b1d0f8edd9359fc824aacc63234"] = proposed
    make.literals["fffc22b462ba2368b09b4d38527760051c9090a9"] = readme.blob_id  # type: ignore[union-attr]


def _weights_tests(make: Fixtures) -> None:
    # What is counted: 293 tensors of 559,214,592 numbers; 7,241,732,096 in 8 shards, of the third 989,888,512.
    bloom = {f"h.{number}.weight": ("F16", [1, 1]) for number in range(291)}
    bloom |= {
        "h.0.input_layernorm.bias": ("F16", [1024]),
        "word_embeddings.weight": ("F16", [559_214_592 - 1024 - 291, 1]),
    }
    make.model("bigscience/bloomz-560m", {"model.safetensors": safetensors(bloom)})
    shards: dict[str, bytes] = {}
    counts = [893_120_512] * 2 + [989_888_512] + [893_120_512] * 5
    counts[-1] += 7_241_732_096 - sum(counts)
    weight_map = {}
    for number, count in enumerate(counts, start=1):
        name = f"model-{number:05}-of-00008.safetensors"
        norm = f"model.layers.{10 if number == 3 else number + 20}.input_layernorm.weight"
        shards[name] = safetensors({norm: ("BF16", [4096]), f"w{number}": ("BF16", [count - 4096, 1])})
        weight_map |= {norm: name, f"w{number}": name}
    index = {"metadata": {"total_size": 14_483_464_192}, "weight_map": weight_map}
    readme = card(widget=[{"text": "Hi"}], pipeline_tag="text-generation", tags=["mistral"])
    others = {"README.md": readme, "pytorch_model-00001-of-00008.bin": b"\x80pickle" * 100}
    make.model(_ZEPHYR, shards | others | {"model.safetensors.index.json": json.dumps(index).encode()})
    many = {f"model.layers.{number}.weight": ("BF16", [4096]) for number in range(852)}
    glm = make.model("nvidia/GLM-5-NVFP4", {"model-00008-of-00282.safetensors": safetensors(many, size=100_000)})
    make.literals["dc54ff55a7e9e71b85db953d8bc22eca894b44c6"] = glm
    make.model("huggingface-hub-ci/test_safetensors_metadata", {"config.json": b"{}"})
    proposed = {"model.safetensors": safetensors({"a": ("F32", [2])})}
    make.model("huggingface-hub-ci/test_safetensors_metadata", proposed, create_pr=True)


def _tree_tests(make: Fixtures) -> None:
    folder = make.model(_OPENJOURNEY, {"feature_extractor/preprocessor_config.json": b"{}"})
    checkpoint = make.model(_OPENJOURNEY, {"openjourney-v4.ckpt": b"\x80ckpt" * 500})
    rest = {f"{name}/config.json": b"{}" for name in ("scheduler", "text_encoder", "tokenizer", "unet", "vae")}
    head = make.model(
        _OPENJOURNEY, rest | {"README.md": b"# v4\n", "model_index.json": b"{}", "Comparison.png": b"\x89PNG\0"}
    )
    make.literals["47b62b20b20e06b9de610e840282b7e6c3d51190"] = folder
    make.literals["bda967fdb79a50844e4a02cccae3217a8ecc86cd"] = checkpoint
    make.literals["c9211c53404dd6f4cfac5f04f33535892260668e"] = head
    gpt2 = {
        "README.md": card("# GPT-2\n", license="mit"),
        "model.safetensors": safetensors({"a": ("F32", [10])}, size=9000),
    }
    make.model("openai-community/gpt2", gpt2)
    (entry,) = make.api.get_paths_info("openai-community/gpt2", ["model.safetensors"])
    make.literals["63bed80836ee0758c8fd4f8975d59bb0b864263ee2753547c358e8a37cde8758"] = str(entry.xet_hash)  # type: ignore[union-attr]
    c4 = make.dataset("allenai/c4", {"en/c4-train.00001-of-01024.json.gz": b"\x1f\x8b\0c4" * 200})
    make.literals["607bd4c8450a42878aa9ddc051a65a055450ef87"] = c4
    make.dataset("allenai/math_qa", {"math_qa.py": b"class MathQa:\n    pass\n"})
    for number in range(2):
        make.model("openchat/openchat_3.5", {f"{number}.txt": b"x"}, create_pr=True)


def _list_tests(make: Fixtures) -> None:
    config = json.dumps({"model_type": "bert", "architectures": ["BertForMaskedLM"]}).encode()
    bert = {"README.md": card(tags=["bert", "jax", "fr"], co2_eq_emissions=17, language="fr"), "config.json": config}
    for number in range(_MANY):
        make.model(f"google/bert-{number}", bert if number < 15 else {"config.json": config})
    for number in range(5):
        make.model(f"google/large-{number}", {"model.safetensors": safetensors({"a": ("BF16", [7 * 10**9, 1])})})
    for number in range(2):
        make.model(f"google/gguf-{number}", {"m-Q4_K_M.gguf": b"GGUF"})
    make.model("muellerzr/one", {"a.txt": b"a"})
    make.model("facebook/bart-base", {"a.txt": b"a"})
    make.model("microsoft/wavlm-base-sd", {"pytorch_model.bin": b"\x80" * 100})
    make.model("albert/albert-base-v2", {"README.md": card(pipeline_tag="fill-mask")})
    make.model("HuggingFaceBR4/run", {"events.out.tfevents.1": b"\0events"})
    make.model("Qwen/Qwen3-0.6B", {"README.md": card("# Qwen3-0.6B\n", library_name="transformers")})
    make.model("zai-org/GLM-5.2", {"a.txt": b"a"})
    make.model(_HERMES, {"a.txt": b"a"})
    slugs = [make.api.create_collection(f"Hermes {number}", namespace="celinah").slug for number in range(4)]
    for slug in slugs[:3]:
        make.api.add_collection_item(slug, _HERMES, "model")
    for nested in slugs[:2]:
        make.api.add_collection_item(slugs[3], nested, "collection")
    make.literals["celinah/inference-providers-function-calling-6826023e8ae9b24b3039ee5f"] = slugs[3]


def _dataset_tests(make: Fixtures) -> None:
    fields = {
        "language": ["en", "fr"],
        "language_creators": ["crowdsourced"],
        "multilinguality": ["multilingual"],
        "size_categories": ["100K<n<1M"],
        "task_categories": ["audio-classification"],
        "task_ids": ["natural-language-inference"],
        "benchmark": "official",
    }
    for number in range(_MANY):
        make.dataset(f"HuggingFaceH4/wikipedia-{number}", {"README.md": card(**fields) if number < 8 else b"# Text\n"})
    make.dataset("huggingface/DataMeasurementsFiles", {"a.txt": b"a"})
    make.dataset("HuggingFaceH4/no_robots", {"a.txt": b"a"})
    make.dataset("openai/gsm8k", {"a.txt": b"a"})
    make.dataset("rajpurkar/squad", {"README.md": b"# SQuAD\n"})
    make.dataset("HuggingFaceFW/fineweb", {"README.md": card("# 🍷 FineWeb\n", license="odc-by")})
    make.dataset("lhoestq/custom_squad", {"train.parquet": b"PAR1\0" * 100})
    one = make.dataset("gaia-benchmark/GAIA", {"README.md": card(license="mit")})
    make.dataset("gaia-benchmark/GAIA", {"a.txt": b"a"})
    make.literals["c603981e170e9e333934a39781d2ae3a2677e81f"] = one


def make_fixtures(api: HfApi) -> dict[str, str]:
    """Make all of them; what the tests call by an id of huggingface.co, and the id that it has here."""
    make = Fixtures(api)
    for part in (_download_tests, _weights_tests, _tree_tests, _list_tests, _dataset_tests):
        part(make)
    return make.literals
