"""mlx-lm, as it is installed here: what people run exports for MLX with."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tagship.system.errors import ToolError
from tagship.system.json_files import read_object
from tagship.verify.questions import Tokens
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.verify.runtimes.serving import BLOCK, ServingModel, ServingRuntime, foreign


class _MlxLm(ServingRuntime):
    name = "mlx_lm"
    memory = 1 << 30
    modules = ("mlx_lm",)
    install = "pip install mlx-lm"

    def load(self, subject: Subject) -> Model:
        return _MlxModel(subject)


RUNTIME = _MlxLm()


class _MlxModel(ServingModel):
    def __init__(self, subject: Subject) -> None:
        config = read_object(subject.model / "config.json")
        # By this key mlx-lm runs a file of the model's folder.
        if "model_file" in config and not subject.trust_remote_code:
            raise ToolError("mlx-lm does not load it: it wants code of its own to be run")
        with foreign("mlx-lm does not load it"):
            import mlx.core as mx
            from mlx_lm import load

            trusted = {"trust_remote_code": subject.trust_remote_code}
            self._model, self._wrapped = load(str(subject.model), tokenizer_config=trusted)[:2]
            if "quantization" in config and mx.default_device().type == mx.cpu:
                # In 16 bits MLX sums up quantized products in 16 bits there: they are seven times as far off as plain
                # ones, and take eight times as long as in 32.
                self._model.set_dtype(mx.float32)
                self.how = "in 32 bits, on a processor"

    @property
    def tokenizer(self) -> Any:
        return self._wrapped._tokenizer

    def rows(self, sequences: Sequence[Tokens]) -> Iterator[Any]:
        import mlx.core as mx
        import numpy as np

        for sequence in sequences:
            with foreign("mlx-lm does not run it"):
                logits = self._model(mx.array([sequence.ids[:-1]]))[0, sequence.since - 1 :]
                blocks = [logits[start : start + BLOCK] for start in range(0, logits.shape[0], BLOCK)]
            for block in blocks:
                with foreign("mlx-lm does not run it"):  # it computes what it is asked for, then
                    rows = np.array(block.astype(mx.float32))
                yield rows

    def ends(self, tokens: Collection[int]) -> Collection[int]:
        return set(tokens) & set(self._wrapped.eos_token_ids)
