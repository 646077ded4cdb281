"""Tag a commit, ship a model: releases a fine-tuned language model in every format its users run.

For training code: `record_run`, and `RunRecorder`, a callback of transformers' Trainer.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagship.runs.recording import record_run
    from tagship.runs.trainer_callback import RunRecorder

__all__ = ["RunRecorder", "record_run"]

_PLACES = {"record_run": "tagship.runs.recording", "RunRecorder": "tagship.runs.trainer_callback"}


def __getattr__(name: str) -> Any:
    """What is asked for, from where it is, only then: tasks need none of it, and transformers takes seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
