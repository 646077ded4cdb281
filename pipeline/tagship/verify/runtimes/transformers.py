"""transformers, on the processor or a GPU with room, with or without a PEFT adapter on the base."""

import gc
from collections.abc import Collection, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install
from tagship.system.machine import available_memory
from tagship.system.templating import human_size
from tagship.verify.measured_text import Passage
from tagship.verify.questions import Asked, Questions, Tokens
from tagship.verify.rendering import spell_passage
from tagship.verify.runtimes.devices import device_for, free_devices
from tagship.verify.runtimes.forward import Forward
from tagship.verify.runtimes.nf4 import hold_in_nf4, may_stream
from tagship.verify.runtimes.protocol import Model, Runtime, Subject
from tagship.verify.runtimes.quantized import load_quantized
from tagship.verify.runtimes.remade import load_remade
from tagship.verify.runtimes.streaming import stream
from tagship.verify.runtimes.tokenizing import load_tokenizer, read_questions
from tagship.verify.runtimes.transformers_classes import KnownClass, class_of, try_class
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_weights
from tagship.weights.quantized_matrices import find_matrices
from tagship.weights.tied_embeddings import vocabulary_of

_GENERATION_FILE = "generation_config.json"
# Up to this many bytes in float32 a model is loaded so; of a larger one the weights stay as their files have them.
_SMALL = 1 << 30


class _Transformers(Runtime):
    name = "transformers"
    # torch, transformers and PEFT, blocks of weights in float32, activations, and logits. The weights are mapped from
    # their files, whose pages the kernel can drop.
    memory = 1 << 30
    modules = ("torch", "transformers", "peft")
    install = how_to_install("gguf")
    runs_adapters = True

    def memory_for(self, weights: Path) -> int:
        checkpoint = open_checkpoint(weights)
        whole = _size_in_float32(weights)
        if whole <= _SMALL:
            return self.memory + whole
        experts = [entry.nbytes for name, entry in checkpoint.entries().items() if ".experts." in name]
        return self.memory + sum(experts)  # which transformers stacks while it loads them

    def check(self, subject: Subject) -> None:
        open_checkpoint(subject.model)

    def examine(self, subject: Subject) -> None:
        """Raises ReleaseError when transformers has no class with what was trained, or one that does not work, or when
        the tokenizer cannot be used."""
        load_tokenizer(subject)
        try_class(class_of(subject))

    def load(self, subject: Subject) -> Model:
        return _TransformersModel(subject)


RUNTIME = _Transformers()


class _TransformersModel(Model):
    """A model in torch that computes in float32. A large one stays mapped from its files, and is cast module by
    module; one that cannot be run so is loaded in float32, where there is room."""

    def __init__(self, subject: Subject) -> None:
        gc.collect()  # the one before, whose modules refer to each other
        home = subject.tokenizer or subject.model
        self._subject, self._known = subject, class_of(subject)
        self._tokenizer = load_tokenizer(subject)
        self._streams = _size_in_float32(subject.model) > _SMALL
        self._model = _loaded(subject, self._known, "auto" if self._streams else "float32")
        if self._streams and not (may_stream(subject) and stream(self._model)):
            self._load_whole("its adapter uses weights as they are")
        self._forward = Forward(self._model)
        config = self._model.generation_config
        if (home / _GENERATION_FILE).is_file():  # what ends an answer there ends it for users
            config = type(config).from_pretrained(home)
        self._stop_ids = _stop_ids(config)

    def read(self, questions: Questions) -> tuple[Asked, ...]:
        return tuple(read_questions(self._tokenizer, questions))

    def spell(self, passages: Sequence[Passage]) -> Sequence[Sequence[int]]:
        return [spell_passage(self._tokenizer, passage) for passage in passages]

    def rows(self, sequences: Sequence[Tokens]) -> Iterator[Any]:
        import torch

        with torch.inference_mode():
            try:
                yield from self._forward.rows(sequences)
            except RuntimeError as error:
                self._stop_streaming(error)
                yield from self._forward.rows(sequences)

    def expect(self, sequences: Sequence[Tokens]) -> None:
        self._forward.expect(sequences)

    def greedy(self, sequences: Sequence[Tokens]) -> Sequence[Sequence[int]]:
        import torch

        with torch.inference_mode():
            try:
                return self._forward.greedy(sequences)
            except RuntimeError as error:
                self._stop_streaming(error)
                return self._forward.greedy(sequences)

    def ends(self, tokens: Collection[int]) -> Collection[int]:
        return set(tokens) & set(self._stop_ids)

    def text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def generate(self, prompts: Sequence[Sequence[int]], most: int) -> Sequence[Sequence[int]]:
        return [_generated(self._model, list(ids), most, self._stop_ids) for ids in prompts]

    def close(self) -> None:
        self._forward.close()
        del self._forward, self._model
        gc.collect()
        free_devices()

    def _stop_streaming(self, error: RuntimeError) -> None:
        """Load a model whole that uses weights outside of the modules that own them, so that two dtypes met."""
        if not self._streams:
            raise error
        self._load_whole(str(error).split("\n")[0])
        self._forward.close()
        self._forward = Forward(self._model)

    def _load_whole(self, why: str) -> None:
        self._streams, needed = False, _size_in_float32(self._subject.model)
        if needed > available_memory():
            raise ReleaseError(
                f"{self._subject.what} cannot be computed layer by layer ({why}); as a whole it takes "
                f"{human_size(needed)} of memory in float32, and {human_size(available_memory())} is available",
                remedy="close other programs, raise the limit, or use a larger machine",
            )
        del self._model
        gc.collect()
        self._model = _loaded(self._subject, self._known, "float32")


def _loaded(subject: Subject, known: KnownClass, dtype: str) -> Any:
    checkpoint = open_checkpoint(subject.model)
    if subject.made_of:
        return load_remade(known, checkpoint, subject.made_of, whole=dtype == "float32").eval()
    matrices = find_matrices(checkpoint) if subject.adapter is None else {}
    if matrices:
        model = load_quantized(known, checkpoint, matrices, whole=dtype == "float32")
        return model.eval()  # on the processor: the reader of its matrices is there
    model = known.model.from_pretrained(subject.model, config=known.config, dtype=dtype)
    if subject.nf4:
        hold_in_nf4(model, subject.nf4, open_checkpoint(subject.model).main_dtype, whole=dtype == "float32")
    if subject.adapter:
        from peft import PeftModel

        _resize(model, subject.adapter)
        model = PeftModel.from_pretrained(model, subject.adapter)
    device = device_for(sum(parameter.nbytes for parameter in model.parameters()))
    return model.eval().to(device)


def _size_in_float32(model: Path) -> int:
    checkpoint = open_checkpoint(model)
    matrices = find_matrices(checkpoint)
    quantized = {part for matrix in matrices.values() for part in matrix.parts}
    plain = (entry.shape for name, entry in checkpoint.entries().items() if name not in quantized)
    return 4 * sum(prod(shape) for shape in (*plain, *(matrix.shape for matrix in matrices.values())))


def _generated(model: Any, prompt_ids: list[int], most: int, stop_ids: Sequence[int]) -> list[int]:
    import torch
    from transformers import GenerationConfig

    inputs = torch.tensor([prompt_ids], device=model.device)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
    )
    with torch.inference_mode():
        made = model.generate(input_ids=inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
    return list(made[0, len(prompt_ids) :].tolist())


def _stop_ids(config: Any) -> list[int]:
    configured = config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return [token for token in dict.fromkeys(listed) if token is not None and token >= 0]


def _resize(model: Any, adapter: Path) -> None:
    """Give a base model as many tokens as the run had when it saved the embedding with the adapter: PEFT does not."""
    rows = vocabulary_of(read_weights(adapter))
    if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)  # what is in new rows is the adapter's to say
