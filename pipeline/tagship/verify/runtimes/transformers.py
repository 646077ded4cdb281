"""transformers on the CPU, with or without a PEFT adapter on the base."""

import gc
from pathlib import Path
from typing import Any

from tagship.system.installation import how_to_install
from tagship.system.machine import available_memory
from tagship.verify.questions import Answer, Answers, Questions
from tagship.verify.runtimes.protocol import Runtime, Subject
from tagship.weights.checkpoint import open_checkpoint


class _Transformers(Runtime):
    name = "transformers"
    # torch, transformers and PEFT, with what a prompt takes. The weights are mapped from their files, whose pages
    # the kernel can drop: a model larger than the memory is slow to run, and runs.
    memory = 3 << 29
    modules = ("torch", "transformers", "peft")
    install = how_to_install("gguf")
    runs_adapters = True

    def check(self, subject: Subject) -> None:
        open_checkpoint(subject.model)

    def answer(self, subject: Subject, questions: Questions) -> Answers:
        """Weights are run in float32 where that fits in memory, else in the checkpoint's own dtype."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        gc.collect()  # the one before, whose modules refer to each other
        tokenizer = AutoTokenizer.from_pretrained(subject.tokenizer or subject.model)
        model: Any = AutoModelForCausalLM.from_pretrained(subject.model, dtype=_dtype(subject.model))
        if subject.adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, subject.adapter)
        model.eval()
        forced = questions.forced or [None] * len(questions.prompts)
        with torch.inference_mode():
            return tuple(
                _answer(model, tokenizer, prompt, None if ids is None else list(ids), questions.max_tokens)
                for prompt, ids in zip(questions.prompts, forced, strict=True)
            )


RUNTIME = _Transformers()


def _dtype(model: Path) -> str:
    # A checkpoint in its own dtype is mapped from its files and takes next to no memory; float32
    # is a copy of twice the bytes of a 16-bit one, and needs some room to load and to work.
    return "float32" if open_checkpoint(model).nbytes * 2.5 < available_memory() else "auto"


def _answer(model: Any, tokenizer: Any, prompt: str, forced: list[int] | None, max_tokens: int) -> Answer:
    import torch

    rendered, prompt_ids = _rendered(tokenizer, prompt)
    inputs = torch.tensor([prompt_ids])
    stop_ids = _stop_ids(model, tokenizer)
    generated = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        max_new_tokens=max_tokens,
        eos_token_id=stop_ids or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
    )
    ids = generated[0, len(prompt_ids) :].tolist()
    path = ids if forced is None else forced
    logits = model(input_ids=torch.tensor([prompt_ids + path])).logits[0]
    positions = slice(len(prompt_ids) - 1, len(prompt_ids) - 1 + len(path))
    logprobs = torch.log_softmax(logits[positions].float(), dim=-1)
    return Answer(
        prompt=rendered,
        prompt_ids=tuple(prompt_ids),
        ids=tuple(ids),
        text=tokenizer.decode(ids, skip_special_tokens=True),
        logprobs=logprobs.numpy(),
    )


def _rendered(tokenizer: Any, prompt: str) -> tuple[str, list[int]]:
    if not tokenizer.chat_template:
        return prompt, list(tokenizer(prompt)["input_ids"])
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text, list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return [token for token in dict.fromkeys([*listed, tokenizer.eos_token_id]) if token is not None]
