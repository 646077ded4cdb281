"""llama.h's functions, as far as running a model needs them, with their structures and with what llama.cpp logs.

Structures are passed by value and tell no version. They are laid out as in the pinned xllamacpp, which is llama.h at
b11434 with `moe_cache_size`, and proven before they are used: the defaults that llama.cpp itself writes into them must
be found in the fields that are to hold them.
"""

import ctypes
import os
from collections import deque
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tagship.system.errors import ToolError
from tagship.system.installation import how_to_install
from tagship.system.llama_library import llama_library

LOAD_MODE_MMAP = 1
_F16 = 1

# Where llama.cpp writes if it knows more fields than are listed here: not beyond the structure, in any case.
_BEYOND = ("beyond", c_uint8 * 256)


class ModelParameters(ctypes.Structure):
    """How a model is loaded."""

    name: ClassVar = "llama_model_params"
    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
        _BEYOND,
    )
    # Of fields that are not zero.
    defaults: ClassVar = {"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "use_extra_bufts": True}


class ContextParameters(ctypes.Structure):
    """How texts are computed, and how many."""

    name: ClassVar = "llama_context_params"
    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
        _BEYOND,
    )
    defaults: ClassVar = {
        **{"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max_per_seq": 1},
        **{"n_threads": 4, "n_threads_batch": 4},
        **dict.fromkeys(("rope_scaling_type", "pooling_type", "attention_type", "flash_attn_type"), -1),
        **dict.fromkeys(("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"), -1.0),
        **{"defrag_thold": -1.0, "type_k": _F16, "type_v": _F16},
        **dict.fromkeys(("offload_kqv", "no_perf", "op_offload", "swa_full"), True),
    }


class Batch(ctypes.Structure):
    """llama_batch: tokens with their positions, the sequences that they are of, and whether logits are wanted."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
        _BEYOND,
    )


Parameters = TypeVar("Parameters", ModelParameters, ContextParameters)
_WARNING, _ERROR = 3, 4
_Logged = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_logged: deque[str] = deque(maxlen=4)


@_Logged
def _keep(level: int, text: bytes, _: Any) -> None:
    if level in (_WARNING, _ERROR):
        _logged.append(text.decode(errors="replace").strip())


# By function: what it returns, and what it takes.
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [c_void_p, c_void_p]),
    "llama_model_default_params": (ModelParameters, []),
    "llama_context_default_params": (ContextParameters, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelParameters]),
    "llama_model_free": (None, [c_void_p]),
    "llama_model_has_encoder": (c_bool, [c_void_p]),
    "llama_model_n_ctx_train": (c_int32, [c_void_p]),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextParameters]),
    "llama_free": (None, [c_void_p]),
    "llama_adapter_lora_init": (c_void_p, [c_void_p, c_char_p]),
    "llama_set_adapters_lora": (c_int32, [c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_memory_seq_pos_min": (c_int32, [c_void_p, c_int32]),
    "llama_batch_init": (Batch, [c_int32, c_int32, c_int32]),
    "llama_batch_free": (None, [Batch]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_vocab_get_add_bos": (c_bool, [c_void_p]),
    "llama_vocab_bos": (c_int32, [c_void_p]),
    "llama_vocab_is_eog": (c_bool, [c_void_p, c_int32]),
    "llama_vocab_get_suppress_tokens": (POINTER(c_int32), [c_void_p, POINTER(c_int32)]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_token_to_piece": (c_int32, [c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool]),
}


@cache
def llama_functions() -> ctypes.CDLL:
    """The library with its functions declared. Raises ReleaseError when it is not installed, ToolError when it lacks
    one of them."""
    library = llama_library()
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise _unknown(f"it has no {name}") from None
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    return library


def model_parameters() -> ModelParameters:
    """llama.cpp's defaults. Raises ToolError where they are not in the fields where they belong."""
    return _proven(llama_functions().llama_model_default_params())


def context_parameters() -> ContextParameters:
    """As `model_parameters`."""
    return _proven(llama_functions().llama_context_default_params())


def _proven(parameters: Parameters) -> Parameters:
    parameters.beyond = (c_uint8 * 256)()  # memory that ctypes has not cleared
    check_defaults(parameters)
    return parameters


def new_batch(tokens: int) -> Batch:
    """A batch for so many tokens of one sequence each, to be freed by `llama_batch_free`. Raises ToolError as
    `model_parameters`."""
    batch: Batch = llama_functions().llama_batch_init(tokens, 0, 1)
    arrays = (batch.token, batch.pos, batch.n_seq_id, batch.seq_id, batch.logits)
    if batch.n_tokens or batch.embd or not all(arrays) or batch.seq_id[tokens]:  # a null pointer ends seq_id
        raise _unknown("it has another llama_batch than expected")
    return batch


def check_defaults(parameters: ModelParameters | ContextParameters) -> None:
    """Raise ToolError where a field does not hold what llama.cpp writes into it as its default."""
    found = {name: getattr(parameters, name) or 0 for name, *_ in parameters._fields_ if name != _BEYOND[0]}
    if wrong := [name for name, value in found.items() if value != parameters.defaults.get(name, 0)]:
        raise _unknown(f"it has another {parameters.name} than expected, from {wrong[0]} on")


def load_model(path: Path, *, vocab_only: bool = False) -> int:
    """A GGUF on the processor, with its weights mapped, or without them; to be freed by `llama_model_free`. What is
    mapped is read from the disk at once. Raises ToolError with what llama.cpp says."""
    parameters = model_parameters()
    parameters.n_gpu_layers = 0
    parameters.load_mode = LOAD_MODE_MMAP
    parameters.use_extra_bufts = False
    parameters.vocab_only = vocab_only
    silence()
    model = llama_functions().llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise failure(f"llama.cpp cannot load {path.name}", remedy="export it anew")
    return int(model)


def _unknown(how: str) -> ToolError:
    return ToolError(f"the installed xllamacpp is another than tagship knows: {how}", remedy=how_to_install("gguf"))


def silence() -> None:
    """Keep what llama.cpp logs away from people, until something fails. Its own server takes the log for itself, so
    this is done for each model."""
    _logged.clear()
    llama_functions().llama_log_set(_keep, None)


def failure(what: str, *, remedy: str | None = None) -> ToolError:
    """The error for something that llama.cpp has refused, with the last that it said."""
    return ToolError(": ".join([what, *_logged]), remedy=remedy)
