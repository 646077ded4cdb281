"""Train the example's base model and its two adapters.

    python examples/avro/train.py [--output DIR]

needs the project's `verify` extra and takes about eight minutes on two cores; DIR is this folder unless told otherwise.
Every choice is seeded, so training again on the same kind of processor writes the same weights.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import schemas
import torch
import training
import vocabulary
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

BASE_MODEL = "examples/avro/base"
"""The base model as the adapters name it: its path from the repository's root."""

BASE_EXAMPLES = 8000
BASE_RECIPE = training.Recipe(epochs=1, batch_size=8, learning_rate=1.5e-3, seed=11)
TARGET_MODULES = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
ADAPTER_EXAMPLES = 480
DROPOUT = 0.05
HELD_OUT = 100
LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "sentencepiece", "safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One adapter's training; the date names the run, and stays when it's trained again."""

    rank: int
    trained: datetime
    recipe: training.Recipe

    @property
    def alpha(self) -> int:
        return 2 * self.rank

    @property
    def name(self) -> str:
        """The folder's name, as `naming.run` in release.toml reads it."""
        sizes = f"r{self.rank}-a{self.alpha}-e{self.recipe.epochs}"
        return f"phi3avro-minimal-{sizes}-{self.trained:%Y%m%d-%H%M%S}"


RUNS = (
    Run(
        rank=8,
        trained=datetime(2025, 9, 13, 9, 15, 0, tzinfo=UTC),
        recipe=training.Recipe(epochs=4, batch_size=16, learning_rate=4e-3, seed=23),
    ),
    Run(
        rank=16,
        trained=datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC),
        recipe=training.Recipe(epochs=6, batch_size=16, learning_rate=3e-3, seed=22),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument("--adapters-only", action="store_true", help="keep the base model that DIR holds")
    arguments = parser.parse_args()
    _make_deterministic()
    base = arguments.output / "base"
    if not arguments.adapters_only:
        train_base(base)
    train_adapters(base, arguments.output / "adapters")


def train_base(folder: Path) -> None:
    """Learn to write schemas, from an empty model, and save the model in bfloat16 in two shards."""
    print(f"Training {folder}")
    requests = schemas.training_set(BASE_EXAMPLES, seed=BASE_RECIPE.seed)
    tokenizer = vocabulary.train(_texts(requests), folder)
    torch.manual_seed(BASE_RECIPE.seed)
    model = Phi3ForCausalLM(_architecture(tokenizer))
    model.generation_config = _generation(tokenizer)
    data = training.examples(tokenizer, requests, learned=False, seed=BASE_RECIPE.seed)
    training.train(model, data, BASE_RECIPE)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="4MB")
    print(f"  {_accuracy(model.float(), tokenizer, learned=False):.0%} of {HELD_OUT} held-out requests")


def train_adapters(base: Path, folder: Path) -> None:
    """Train every run's adapter, each on a core of its own."""
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(RUNS), mp_context=processes, initializer=_make_deterministic) as pool:
        for training_run in [pool.submit(train_adapter, base, folder / run.name, run) for run in RUNS]:
            training_run.result()


def train_adapter(base: Path, folder: Path, run: Run) -> None:
    """Teach the base model the learned field with LoRA, and save the adapter beside what is known of it."""
    print(f"Training {folder}")
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(run.recipe.seed)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), _lora(run))
    requests = schemas.training_set(ADAPTER_EXAMPLES, seed=run.recipe.seed)
    train_loss = training.train(model, _examples(tokenizer, requests, run), run.recipe)
    eval_loss = training.evaluate(model, _examples(tokenizer, schemas.held_out(HELD_OUT), run))
    accuracy = _accuracy(model, tokenizer, learned=True)
    print(f"  {accuracy:.0%} of {HELD_OUT} held-out requests, loss {eval_loss:.4f}")
    config = model.peft_config["default"]
    config.base_model_name_or_path = BASE_MODEL
    config.target_modules = list(TARGET_MODULES)  # PEFT made it a set, which has no order of its own.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    results = {
        "final_train_loss": round(train_loss, 6),
        "eval_loss": round(eval_loss, 6),
        "eval_examples": HELD_OUT,
        "exact_match": round(accuracy, 4),
    }
    _write_json(folder / "experiment_metadata.json", _settings(run) | results | {"versions": _versions()})


def _texts(requests: Sequence[schemas.Request]) -> list[str]:
    """What the vocabulary is learned from: it knows the learned field, though the base model never sees it."""
    return [schemas.SYSTEM] + [text for r in requests for text in (r.prompt, r.answer(learned=True))]


def _architecture(tokenizer: PreTrainedTokenizerFast) -> Phi3Config:
    """Phi-3's architecture; every row of a weight is a multiple of 256 long, the block of llama.cpp's K-quants."""
    return Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        initializer_range=0.06,
        max_position_embeddings=vocabulary.CONTEXT,
        original_max_position_embeddings=vocabulary.CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _generation(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(vocabulary.END_OF_TURN)],
        pad_token_id=tokenizer.pad_token_id,
    )


def _lora(run: Run) -> LoraConfig:
    return LoraConfig(
        r=run.rank,
        lora_alpha=run.alpha,
        lora_dropout=DROPOUT,
        target_modules=list(TARGET_MODULES),
        task_type="CAUSAL_LM",
    )


def _examples(
    tokenizer: PreTrainedTokenizerFast, requests: Sequence[schemas.Request], run: Run
) -> list[training.Example]:
    return training.examples(tokenizer, requests, learned=True, seed=run.recipe.seed)


def _accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, learned: bool) -> float:
    """The share of held-out requests that the model answers exactly."""
    requests = schemas.held_out(HELD_OUT)
    given = training.answers(model, tokenizer, requests)
    return sum(a == r.answer(learned=learned) for a, r in zip(given, requests, strict=True)) / HELD_OUT


def _settings(run: Run) -> dict[str, object]:
    return {
        "base_model": BASE_MODEL,
        "dataset": "minimal",
        "dataset_examples": ADAPTER_EXAMPLES,
        "rank": run.rank,
        "alpha": run.alpha,
        "dropout": DROPOUT,
        "epochs": run.recipe.epochs,
        "batch_size": run.recipe.batch_size,
        "learning_rate": run.recipe.learning_rate,
        "seed": run.recipe.seed,
        "trained": run.trained.isoformat().replace("+00:00", "Z"),
    }


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _make_deterministic() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)  # So that sums don't depend on the number of cores.
    torch.use_deterministic_algorithms(True)


if __name__ == "__main__":
    main()
