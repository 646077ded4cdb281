"""What of a trainer's record may be published, and what never is."""

from typing import Any

import pytest
from tagship.runs.recorded import publishable


def test_facts_and_measurements() -> None:
    """What a card's table is for passes as it is, in groups or not."""
    recorded = {
        "dataset": {"name": "acme/minimal", "rows": 1200, "split": "train"},
        "epochs": 3,
        "learning_rate": 2e-4,
        "target_modules": ["q_proj", "v_proj"],
        "final_train_loss": 0.1,
        "evaluation": {"exact_match": 1.0, "our_own_number": 0.5},
        "training": {"seed": 3, "bf16": True},
        "versions": {"torch": "2.13.0+cpu", "peft": "0.21.2"},
        "trained": "2025-09-14T13:24:16Z",
    }
    assert publishable(recorded) == recorded


@pytest.mark.parametrize(
    "recorded",
    [
        {"wandb_api_key": "0123456789abcdef"},
        {"host": "gpu-7.internal", "user": "anna", "hostname": "x", "cwd": "/home/anna"},
        {"output_dir": "/home/anna/out", "command": "train --token x", "notes": "for our client"},
        {"environment": {"HF_TOKEN": "x", "PATH": "/usr/bin"}},
        {"user": {"name": "anna", "version": 3}},
        {"best_model_checkpoint": "/home/anna/out/checkpoint-5"},
        {"metrics": {"run_url": "https://tracking.internal/1"}},
        {"loss": "see /home/anna"},
        {"versions": {"torch": "file:///home/anna/torch"}},
        {"api_score_key": 3},
    ],
)
def test_what_nobody_chose(recorded: dict[str, Any]) -> None:
    """Keys, hosts, users and paths stay where they are, under whatever name, and so does all that is not known."""
    assert publishable(recorded) == {}


@pytest.mark.parametrize(
    "value",
    [
        "/home/anna/data.jsonl",
        "~/data",
        "./data",
        "..\\data",
        "C:\\data",
        "\\\\server\\data",
        "file:///data",
        "hf_abcdefghijklmnopqrstuv",
        "sk-proj12345678",
        "x" * 201,
        ["train", "/home/anna/more.jsonl"],
    ],
)
def test_values_that_are_no_facts(value: Any) -> None:
    """A path or a secret is not published under a name that may be."""
    assert publishable({"dataset": value, "epochs": 3}) == {"epochs": 3}
    assert publishable({"dataset": {"name": value, "rows": 2}}) == {"dataset": {"rows": 2}}


def test_fields_of_the_policy() -> None:
    """Fields that the policy puts into names are published, as names are; a path under such a name is not."""
    assert publishable({"task": "avro", "other": 1}, {"task": "word"}) == {"task": "avro"}
    assert publishable({"task": "/home/anna"}, {"task": "word"}) == {}


@pytest.mark.parametrize(
    "value",
    [
        "s3://corp-internal/secret/x",
        "https://jane:secret@git.example/x",
        "data/home/jane/x.jsonl",
        "wandb 9f8e7d6c5b4a39281706f5e4d3c2b1a098765432",
        "jane@example.com",
        "C\\jane",
    ],
)
def test_places_and_keys_in_facts(value: str) -> None:
    """A fact of the training may name where it was made, or by whom: such a one is not published."""
    assert publishable({"dataset": value, "method": value}) == {}
    assert publishable({"dataset": "org/name", "method": "sft and/or dpo"}) != {}
