"""What training code records, and that a release understands it."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tagship import record_run
from tagship.runs.recorded import publishable
from tagship.runs.run import read_run
from tagship.system.errors import ReleaseError

from tests.conftest import WriteRun
from tests.runs.test_run import NAMING


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_what_is_recorded_makes_the_name(tmp_path: Path, write_run: WriteRun) -> None:
    """A folder with any name has all fields of a run's name, and what it says may be published."""
    folder = write_run(tmp_path / "lora-out")
    moment = datetime(2025, 9, 14, 15, 24, 16, 999, tzinfo=timezone(timedelta(hours=2)))
    path = record_run(folder, dataset="minimal", epochs=20.0, trained=moment, learning_rate=np.float32(0.5), seed=3)
    assert read(path)["trained"] == "2025-09-14T13:24:16Z"
    run = read_run(folder, NAMING)
    assert run.fields == {
        "rank": 32,
        "alpha": 64,
        "dataset": "minimal",
        "epochs": 20,
        "trained": datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC),
    }
    assert publishable(run.recorded) == run.recorded
    assert run.recorded["learning_rate"] == 0.5


def test_later_calls_add(tmp_path: Path) -> None:
    """A second call keeps what the first one said; the folder need not be there."""
    before = datetime.now(UTC).replace(microsecond=0)
    path = record_run(tmp_path / "new", dataset="minimal", epochs=1.5)
    assert before <= datetime.fromisoformat(read(path)["trained"]) <= datetime.now(UTC)
    record_run(tmp_path / "new", eval_loss=0.25)
    assert (read(path)["dataset"], read(path)["epochs"], read(path)["eval_loss"]) == ("minimal", 1.5, 0.25)


def test_time_as_text(tmp_path: Path) -> None:
    """A time may be given as the file has it; one without a zone is UTC."""
    for text, kept in (
        ("2025-09-14T13:24:16Z", "2025-09-14T13:24:16Z"),
        ("2025-09-14T13:24:16", "2025-09-14T13:24:16Z"),
    ):
        assert read(record_run(tmp_path, trained=text))["trained"] == kept
    with pytest.raises(ValueError, match="yesterday"):
        record_run(tmp_path, trained="yesterday")


@pytest.mark.slow
def test_callback_of_a_training_that_went_wrong(tmp_path: Path) -> None:
    """A loss that is no number is left out, and the training goes on; what cannot be recorded is told before it."""
    pytest.importorskip("transformers")
    from tagship import RunRecorder

    state = SimpleNamespace(
        is_world_process_zero=True, epoch=1.0, global_step=2, log_history=[{"loss": math.nan, "eval_loss": 0.5}]
    )
    RunRecorder(dataset="minimal").on_train_end(SimpleNamespace(output_dir=tmp_path, seed=1), state, None)
    said = read(tmp_path / "experiment_metadata.json")
    assert said["eval_loss"] == 0.5 and "train_loss" not in said
    with pytest.raises(TypeError):
        RunRecorder(dataset=object())


@pytest.mark.parametrize(("value", "error"), [(math.nan, ValueError), (object(), TypeError), ({1, 2}, TypeError)])
def test_what_json_does_not_have(tmp_path: Path, value: Any, error: type[Exception]) -> None:
    """It is refused, and what was there stays."""
    path = record_run(tmp_path, seed=1)
    before = path.read_bytes()
    with pytest.raises(error):
        record_run(tmp_path, score=value)
    assert path.read_bytes() == before


def test_damaged_record(tmp_path: Path) -> None:
    """A file that is no JSON is not written over."""
    (tmp_path / "experiment_metadata.json").write_text("{")
    with pytest.raises(ReleaseError, match="is not valid JSON"):
        record_run(tmp_path, seed=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_callback_of_a_trainer(tmp_path: Path) -> None:
    """Checkpoints and the output folder say what was done when they were saved."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tagship import RunRecorder

    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=16
    )
    examples = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor([1, 2, 3])}] * 4
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, save_steps=2, logging_steps=1, report_to=[], use_cpu=True,
        per_device_train_batch_size=2, seed=5,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=transformers.LlamaForCausalLM(config),
        args=arguments,
        train_dataset=examples,
        callbacks=[RunRecorder(dataset="minimal")],
    )
    trainer.train()
    said = read(tmp_path / "checkpoint-2" / "experiment_metadata.json")
    assert (said["dataset"], said["epochs"], said["steps"], said["seed"]) == ("minimal", 1, 2, 5)
    assert said["train_loss"] > 0
    said = read(tmp_path / "experiment_metadata.json")
    assert (said["epochs"], said["steps"], said["per_device_train_batch_size"]) == (2, 4, 2)
    assert set(publishable(said)) == set(said)
