"""A callback of transformers' Trainer that records the run: in each checkpoint, and in the output folder at the end."""

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tagship.runs.recording import check_recordable, record_run

_SETTINGS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "optim",
    "seed",
)


class RunRecorder(TrainerCallback):
    """`Trainer(callbacks=[RunRecorder(dataset="minimal")])`. What it is given is recorded as by `record_run`, beside
    what the Trainer knows: settings, epochs and steps that were done, and the last value of each loss and metric."""

    def __init__(self, **said: Any) -> None:
        """Raises as `record_run` for what cannot be recorded: before the training, and not in its midst."""
        check_recordable(said)
        self._said = said

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._record(Path(args.output_dir) / f"checkpoint-{state.global_step}", args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._record(Path(args.output_dir), args, state)

    def _record(self, folder: Path, args: Any, state: Any) -> None:
        if not state.is_world_process_zero:
            return
        settings = {name: _text(getattr(args, name)) for name in _SETTINGS if getattr(args, name, None) is not None}
        known = {"epochs": state.epoch, "steps": state.global_step, **settings, **_measured(state.log_history)}
        # A loss that is no number is a matter for the training, which goes on.
        record_run(folder, **({key: value for key, value in known.items() if _is_recordable(value)} | self._said))


def _is_recordable(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _measured(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The last value of each loss and metric, the training's own loss as `train_loss`."""
    last = {key: value for entry in history for key, value in entry.items()}
    found = {
        key: value
        for key, value in last.items()
        if key.startswith("eval_") and not key.endswith(("_runtime", "_second"))
    }
    loss = last.get("train_loss", last.get("loss"))
    return found if loss is None else {"train_loss": loss, **found}


def _text(value: Any) -> Any:
    """A setting as JSON has it: an enumeration by its value."""
    return getattr(value, "value", value)
