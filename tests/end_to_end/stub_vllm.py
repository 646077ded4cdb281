"""As much of vLLM's interface as is asked for, computed by transformers in 16 bits.

vLLM itself brings gigabytes, and versions of other packages that are not ours to choose; with it, the same is asked by
hand (docs/formats.md). What stands in `how.txt` beside a model is how it fails.
"""

from pathlib import Path
from types import SimpleNamespace


class SamplingParams:
    def __init__(self, **given):
        self.given, self.all_stop_token_ids = given, set()

    def update_from_generation_config(self, configured, eos):
        ids = configured.get("eos_token_id", [])
        self.all_stop_token_ids |= {eos, *([ids] if isinstance(ids, int) else ids)}


class LLM:
    def __init__(self, model, max_logprobs, **settings):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        how = Path(model, "how.txt")
        self._how = how.read_text() if how.exists() else ""
        if self._how == "no kernel":
            raise RuntimeError("no kernel for this machine\nand more")
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
        self._tokenizer, self._most = AutoTokenizer.from_pretrained(model), max_logprobs
        self.model_config = SimpleNamespace(
            get_vocab_size=lambda: self._model.config.vocab_size,
            try_get_generation_config=lambda: GenerationConfig.from_pretrained(model).to_diff_dict(),
        )

    def get_tokenizer(self):
        return self._tokenizer

    def generate(self, prompts, told, use_tqdm):
        return [SimpleNamespace(prompt_logprobs=self._logprobs(each["prompt_token_ids"], told)) for each in prompts]

    def _logprobs(self, ids, told):
        import torch

        most = told.given["prompt_logprobs"]
        assert told.given["flat_logprobs"] and most <= self._most
        with torch.inference_mode():
            logits = self._model(torch.tensor([ids])).logits[0, :-1].float()
        if self._how == "otherwise":
            logits = -logits
        said = SimpleNamespace(start_indices=[0], end_indices=[0], token_ids=[], logprobs=[])
        for row, token in zip(logits.log_softmax(-1), ids[1:], strict=True):
            likeliest = dict.fromkeys([token, *row.topk(most).indices.tolist()])
            said.start_indices.append(len(said.token_ids))
            said.token_ids += likeliest
            said.logprobs += [float(row[each]) for each in likeliest]
            said.end_indices.append(len(said.token_ids))
        if self._how == "logits":
            said.logprobs = [each + 20 for each in said.logprobs]
        if self._how == "unknown":
            said.token_ids[-1] = self._model.config.vocab_size
        if self._how == "places":
            said.start_indices.pop(), said.end_indices.pop()
        if self._how == "few":
            said.end_indices[-1] = said.start_indices[-1] + 1
        return said
