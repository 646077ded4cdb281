"""Worker: answers by transformers on the CPU, with or without a PEFT adapter on the base.

Beside the questions a request names `model` (a folder), `tokenizer` (a folder), `dtype`, and
`adapter`, which is null for a model of its own.
"""

import gc
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tagship.verify.questions import Answer, Answers
from tagship.verify.runtimes.worker import serve


def answer_all(request: dict[str, Any]) -> Answers:
    """Load a model, let it answer, and let go of it."""
    gc.collect()  # the one before, whose modules refer to each other
    tokenizer = AutoTokenizer.from_pretrained(request["tokenizer"])
    model: Any = AutoModelForCausalLM.from_pretrained(request["model"], dtype=request["dtype"])
    if request["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, request["adapter"])
    model.eval()
    forced = request["forced"] or [None] * len(request["prompts"])
    with torch.inference_mode():
        return tuple(
            _answer(model, tokenizer, prompt, ids, request["max_tokens"])
            for prompt, ids in zip(request["prompts"], forced, strict=True)
        )


def _answer(model: Any, tokenizer: Any, prompt: str, forced: list[int] | None, max_tokens: int) -> Answer:
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


if __name__ == "__main__":
    serve(answer_all)
