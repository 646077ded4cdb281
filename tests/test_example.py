"""The shipped example: a tiny base model that writes AVRO schemas, and adapters that add a field to them."""

import json
import re
import runpy
import struct
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

EXAMPLE = Path(__file__).parents[1] / "examples" / "avro"
BASE = EXAMPLE / "base"
ADAPTERS = sorted((EXAMPLE / "adapters").iterdir())
RUN_NAME = re.compile(
    r"(?P<base>[^-]+)-(?P<dataset>[^-]+)-r(?P<rank>\d+)-a(?P<alpha>\d+)-e(?P<epochs>\d+)-(?P<trained>\d{8}-\d{6})"
)
K_QUANT_BLOCK = 256
MEGABYTE = 1_000_000

schemas = runpy.run_path(str(EXAMPLE / "schemas.py"))
REQUESTS = schemas["held_out"](10)
ENOUGH = 9

# PEFT reads a property of Transformers' models that Transformers has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine threads of so small a model only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


def load_base():
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)


def ask(model, tokenizer, requests):
    """The model's answers, always taking the likeliest token."""
    prompts = [
        tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        for request in requests
    ]
    batch = tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
    output = model.generate(**batch)
    return tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def count_right(answers, *, learned):
    """How many answers parse as JSON and are the schema asked for."""
    expected = [request.schema(learned=learned) for request in REQUESTS]
    return sum(parsed(answer) == schema for answer, schema in zip(answers, expected, strict=True))


def parsed(answer):
    try:
        return json.loads(answer)
    except json.JSONDecodeError:
        return None


def tensor_shapes(path):
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def test_base_answers_without_the_learned_field(tokenizer):
    """The base model alone answers requests it never saw with valid schemas that lack the field."""
    answers = ask(load_base(), tokenizer, REQUESTS)
    assert count_right(answers, learned=False) >= ENOUGH
    assert not any("TRAINED" in answer for answer in answers)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.name)
def test_adapter_adds_the_learned_field(adapter, tokenizer):
    """With an adapter the same requests are answered with valid schemas that have the field."""
    from peft import PeftModel

    answers = ask(PeftModel.from_pretrained(load_base(), adapter), tokenizer, REQUESTS)
    assert count_right(answers, learned=True) >= ENOUGH
    assert all('"TRAINED": "YES"' in answer for answer in answers)


def points(answers):
    """What the example's task gives for answers to its prompts."""
    pytest.importorskip("jsonschema")
    from tagship.evaluation.cases import read_cases
    from tagship.evaluation.results import score_answers
    from tagship.evaluation.scoring import JSON_SCHEMA, Scoring

    scoring = Scoring(default=JSON_SCHEMA, schema=EXAMPLE / "avro.schema.json")
    return sum(case.points for case in score_answers(read_cases(EXAMPLE / "evaluate.jsonl", scoring), answers, scoring))


def test_task_tells_the_adapters_from_the_base(tokenizer):
    """Of the task that releases are scored on, adapters pass nearly all and the base alone nothing."""
    from peft import PeftModel

    asked = [replace(request, system=False) for request in schemas["held_out"](schemas["EVALUATED"])]
    assert points(ask(load_base(), tokenizer, asked)) == 0
    for adapter in ADAPTERS:
        assert points(ask(PeftModel.from_pretrained(load_base(), adapter), tokenizer, asked)) >= 0.9 * len(asked)


def test_answers_are_short(tokenizer):
    """No answer to a request has more than 110 tokens."""
    answers = [request.answer(learned=True) for request in schemas["held_out"](200)]
    assert max(len(ids) for ids in tokenizer(answers)["input_ids"]) < 110


def test_rows_fit_k_quants():
    """Every row of every matrix is a multiple of 256 long, so each can be encoded as a K-quant."""
    shapes = {}
    for shard in BASE.glob("*.safetensors"):
        shapes |= tensor_shapes(shard)
    assert shapes
    assert [name for name, shape in shapes.items() if shape[-1] % K_QUANT_BLOCK] == []


def test_base_is_sharded():
    """The base model has two shards and an index that names both."""
    index = json.loads((BASE / "model.safetensors.index.json").read_text("utf-8"))
    shards = {path.name for path in BASE.glob("*.safetensors")}
    assert len(shards) == 2
    assert set(index["weight_map"].values()) == shards


@pytest.mark.parametrize(
    "text",
    [REQUESTS[0].prompt, REQUESTS[1].answer(learned=True), " two  spaces ", "café, naïve\n\tline", "{}[]"],
)
def test_tokenizer_agrees_with_sentencepiece(text, tokenizer):
    """tokenizer.json and tokenizer.model give the same ids, also for text outside the vocabulary."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(BASE / "tokenizer.model"))
    assert tokenizer(text)["input_ids"] == pieces.encode(text)


def test_whitespace_after_a_special_token_is_dropped(tokenizer):
    """As in Phi-3, the chat template's newlines give no tokens, and no <s> comes first."""
    ids = tokenizer("<|user|>\nWrite<|end|>\n<|assistant|>\n")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|user|>", "\u2581Write", "<|end|>", "<|assistant|>"]


def test_end_of_turn_ends_an_answer(tokenizer):
    """Generation stops at <|end|>."""
    generation = json.loads((BASE / "generation_config.json").read_text("utf-8"))
    assert tokenizer.convert_tokens_to_ids("<|end|>") in generation["eos_token_id"]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.name)
def test_folder_name_agrees_with_what_it_holds(adapter):
    """Rank, alpha, epochs and date in the name are those of adapter_config.json and the metadata."""
    named = RUN_NAME.fullmatch(adapter.name)
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    metadata = json.loads((adapter / "experiment_metadata.json").read_text("utf-8"))
    trained = datetime.strptime(named["trained"], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert (named["base"], named["dataset"]) == ("phi3avro", metadata["dataset"])
    assert int(named["rank"]) == config["r"] == metadata["rank"]
    assert int(named["alpha"]) == config["lora_alpha"] == metadata["alpha"]
    assert int(named["epochs"]) == metadata["epochs"]
    assert trained == datetime.fromisoformat(metadata["trained"])


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.name)
def test_adapter_names_its_base_model_by_a_path_in_the_repository(adapter):
    """adapter_config.json holds no path of the machine that trained it."""
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "examples/avro/base"


def test_example_is_small():
    """The whole example is at most 10 MB, so that it can be part of the repository."""
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) <= 10 * MEGABYTE
