"""transformers on the CPU, with or without a PEFT adapter on the base."""

import gc
import inspect
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install
from tagship.system.machine import available_memory
from tagship.verify.questions import Answer, Answers, Questions
from tagship.verify.rendering import render_chat
from tagship.verify.runtimes.protocol import Runtime, Subject
from tagship.verify.runtimes.streaming import stream
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import modules_of, read_weights
from tagship.weights.tied_embeddings import vocabulary_of

_GENERATION_FILE = "generation_config.json"
# For transformers: weights as their files have them, mapped.
_AS_STORED = "auto"
# What of a generation config changes which token is the likeliest (transformers, generation/configuration_utils.py).
_PROCESSORS = (
    *("no_repeat_ngram_size", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias"),
    *(
        "forced_bos_token_id",
        "forced_eos_token_id",
        "min_length",
        "min_new_tokens",
        "guidance_scale",
        "force_words_ids",
    ),
    *("guidance_scale", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "watermarking_config"),
)


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

    def examine(self, subject: Subject) -> None:
        """Raises ReleaseError when transformers has no class with what was trained, or one that does not work, or when
        the tokenizer cannot be used."""
        _load_tokenizer(subject)
        _try(_class_of(subject))

    def answer(self, subject: Subject, questions: Questions) -> Answers:
        """A model is run in float32: its weights too where that fits in memory, else they stay as they are and are cast
        module by module; a model that cannot be run so is run in the checkpoint's own dtype."""
        import torch
        from transformers import GenerationConfig

        gc.collect()  # the one before, whose modules refer to each other
        home = subject.tokenizer or subject.model
        tokenizer = _load_tokenizer(subject)
        known = _class_of(subject)
        dtype = _dtype(subject.model)
        model = _loaded(subject, known, dtype)
        if dtype == _AS_STORED and not stream(model):
            model = _loaded(subject, known, dtype)
        if (home / _GENERATION_FILE).is_file():  # what ends an answer there ends it for users
            model.generation_config = GenerationConfig.from_pretrained(home)
        forced = questions.forced or [None] * len(questions.prompts)
        with torch.inference_mode():
            return tuple(
                _answer(model, tokenizer, prompt, None if ids is None else list(ids), questions)
                for prompt, ids in zip(questions.prompts, forced, strict=True)
            )


RUNTIME = _Transformers()


def _loaded(subject: Subject, known: "_Known", dtype: str) -> Any:
    model = known.model.from_pretrained(subject.model, config=known.config, dtype=dtype)
    if subject.adapter:
        from peft import PeftModel

        _resize(model, subject.adapter)
        model = PeftModel.from_pretrained(model, subject.adapter)
    return model.eval()


def _load_tokenizer(subject: Subject) -> Any:
    from transformers import AutoTokenizer

    home = subject.tokenizer or subject.model
    try:
        tokenizer = AutoTokenizer.from_pretrained(home, trust_remote_code=subject.trust_remote_code)
        _rendered(tokenizer, "a", None)
    except Exception as error:  # whatever a tokenizer's files, or a template, make the libraries raise
        raise ReleaseError(f"the tokenizer or chat template of {subject.what} cannot be used: {error}") from error
    return tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A class of transformers, and the configuration that it takes: of a model that sees, that of its text alone, for a
    class of text alone."""

    model: Any
    config: Any

    def empty(self) -> Any:
        """The model without weights."""
        import torch

        with torch.device("meta"):
            return self.model(self.config)


def _class_of(subject: Subject) -> _Known:
    """What to run a model in: the class that its configuration names, or the one for text alone; with an adapter, the
    one of the two that has all modules that were trained. Raises ReleaseError."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(subject.model, trust_remote_code=subject.trust_remote_code)
        classes = _classes_for(config, _own_classes(config, subject) if subject.trust_remote_code else [])
    except Exception as error:
        if subject.trust_remote_code:  # whatever that code raises
            raise ReleaseError(
                f"the own code of the base model of {subject.what} cannot be run: {error!r}",
                remedy="install what it imports; transformers 5 may be newer than the code is",
            ) from error
        if not isinstance(error, ValueError):
            raise
        own_code = "trust_remote_code" in str(error)
        problem = "only code in its own repository does, which is not run" if own_code else str(error).split("\n")[0]
        raise ReleaseError(
            f"transformers {transformers.__version__} does not know the model of {subject.what}: {problem}",
            remedy="update transformers, if a newer version knows it",
        ) from None
    trained = modules_of(read_weights(subject.adapter)) if subject.adapter else ()
    lacking = {}
    for known in classes:
        modules = {name for name, _ in known.empty().named_modules()} if trained else ()
        missing = [module for module in trained if module not in modules]
        if not missing:
            return known
        lacking[known.model.__name__] = missing[0]
    listed = "; ".join(f"{name} has no {module}" for name, module in lacking.items())
    raise ReleaseError(
        f"{subject.what} cannot be run in the class that it was trained in: {listed or 'transformers has none for it'}",
        remedy="name the base model that the adapter was trained on with --base, or update transformers",
    )


def _try(known: _Known) -> None:
    """Run a model without weights. What depends on numbers cannot be run so, and is passed over; what is wrong in the
    class itself shows. Raises ReleaseError."""
    import torch
    import transformers

    model = known.empty().eval()
    try:
        with torch.device("meta"), torch.inference_mode():
            model(input_ids=torch.ones((1, 2), dtype=torch.long))
    except (AttributeError, TypeError, NameError) as error:
        raise ReleaseError(
            f"transformers {transformers.__version__} cannot run {known.model.__name__} with text alone: {error}",
            remedy="install a version of transformers that can",
        ) from error
    except Exception:  # noqa: BLE001, S110  (numbers that are not there)
        pass


def _own_classes(config: Any, subject: Subject) -> list[Any]:
    """The classes of the base's own code, which is imported, and so run, for it."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module
    from transformers.models.auto.auto_factory import add_generation_mixin_to_remote_model

    mapped = getattr(config, "auto_map", None) or {}
    found = [name for loader, name in mapped.items() if loader.startswith("AutoModelFor")]
    found = found or [name for loader, name in mapped.items() if loader == "AutoModel"]
    classes = [get_class_from_dynamic_module(name, subject.model) for name in found]
    return [add_generation_mixin_to_remote_model(known) for known in classes]


def _classes_for(config: Any, own: list[Any]) -> list[_Known]:
    """Those that write text: of the base's own code, the one that the configuration names, then transformers' own for
    text alone."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    text, table = config.get_text_config(), MODEL_FOR_CAUSAL_LM_MAPPING
    named = [getattr(transformers, name, None) for name in config.architectures or ()]
    listed = [table[type(part)] for part in (config, text) if type(part) in table]
    classes = [known for known in dict.fromkeys((*own, *named, *listed)) if known is not None and known.can_generate()]
    return [_Known(model=known, config=text if known.config_class is type(text) else config) for known in classes]


def _dtype(model: Path) -> str:
    # A checkpoint in its own dtype is mapped from its files and takes next to no memory; float32
    # is a copy of twice the bytes of a 16-bit one, and needs some room to load and to work.
    return "float32" if open_checkpoint(model).nbytes * 2.5 < available_memory() else _AS_STORED


def _answer(model: Any, tokenizer: Any, prompt: str, forced: list[int] | None, questions: Questions) -> Answer:
    rendered, prompt_ids = _rendered(tokenizer, prompt, questions.moment)
    if forced is None or _changes_logits(model.generation_config):
        ids = _generated(model, prompt_ids, questions.max_tokens)
        path = ids if forced is None else forced
        logits = _along(model, prompt_ids, path)
    else:
        path, logits = forced, _along(model, prompt_ids, forced)
        ids = _greedy(logits.argmax(dim=-1).tolist(), forced, _stop_ids(model), questions.max_tokens)
    return Answer(
        prompt=rendered,
        prompt_ids=tuple(prompt_ids),
        ids=tuple(ids),
        text=tokenizer.decode(ids, skip_special_tokens=True),
        logprobs=logits[:-1].log_softmax(dim=-1).numpy(),
    )


def _generated(model: Any, prompt_ids: list[int], most: int) -> list[int]:
    import torch

    inputs = torch.tensor([prompt_ids])
    stop_ids = _stop_ids(model)
    generated = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        max_new_tokens=most,
        eos_token_id=stop_ids or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
    )
    return list(generated[0, len(prompt_ids) :].tolist())


def _along(model: Any, prompt_ids: list[int], path: list[int]) -> Any:
    """The logits of the next token at each token of a path and after it: shape (tokens + 1, vocabulary), float32."""
    import torch

    given = torch.tensor([prompt_ids + path])
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Those of a long prompt would be large, and nobody asks for them.
    fewer = "logits_to_keep" in inspect.signature(base.forward).parameters
    kept = {"logits_to_keep": len(path) + 1} if fewer else {}
    return model(input_ids=given, use_cache=False, **kept).logits[0, -len(path) - 1 :].float()


def _greedy(likeliest: list[int], path: list[int], stop_ids: list[int], most: int) -> list[int]:
    """The model's own greedy answer as far as one pass along a path shows it: up to where it leaves the path, or ends,
    or goes on where the path ended."""
    for position, token in enumerate(path):
        if likeliest[position] != token or token in stop_ids:
            return [*path[:position], likeliest[position]]
    return path if len(path) >= most else [*path, likeliest[len(path)]]


def _changes_logits(config: Any) -> bool:
    """Whether a generation config has tokens chosen otherwise than by how likely they are."""
    return any(getattr(config, name, None) for name in _PROCESSORS)


def _rendered(tokenizer: Any, prompt: str, moment: datetime | None) -> tuple[str, list[int]]:
    if not tokenizer.chat_template:
        return prompt, list(tokenizer(prompt)["input_ids"])
    text = render_chat(tokenizer, [{"role": "user", "content": prompt}], moment)
    return text, list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _stop_ids(model: Any) -> list[int]:
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return [token for token in dict.fromkeys(listed) if token is not None and token >= 0]


def _resize(model: Any, adapter: Path) -> None:
    """Give a base model as many tokens as the run had when it saved the embedding with the adapter: PEFT does not."""
    rows = vocabulary_of(read_weights(adapter))
    if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)  # what is in new rows is the adapter's to say
