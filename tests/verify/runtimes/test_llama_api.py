"""llama.cpp by the functions of llama.h: its logits and answers are those of its own server."""

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tagship.gguf.conversion import GgufMetadata, write_ggufs
from tagship.system.errors import ReleaseError, ToolError
from tagship.verify.runtimes.llama_api import LlamaModel
from tagship.verify.runtimes.llama_functions import (
    ContextParameters,
    ModelParameters,
    check_defaults,
    context_parameters,
    model_parameters,
)
from tagship.weights.checkpoint import open_checkpoint
from tagship.weights.lora import read_adapter
from tagship.weights.merge import MergedWeights

from tests import tiny

xllamacpp = pytest.importorskip("xllamacpp")
gguf = pytest.importorskip("gguf")
pytest.importorskip("conversion")
pytest.importorskip("torch")

pytestmark = pytest.mark.slow

PROMPTS = ("the quick brown fox", "dogs", "over lazy walks the fox", "x", "brown leaps over the lazy dogs")
METADATA = GgufMetadata(general={"general.name": "tiny phi3"}, license="mit", add_bos=False)
BLOCK = 80 << 20

Array = np.ndarray[Any, np.dtype[Any]]
Serve = Callable[[Path], "Server"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Phi-3 in float32."""
    folder = tmp_path_factory.mktemp("llama")
    base = tiny.phi3(folder / "base", dtype=tiny.FLOAT32)
    tiny.tokenizer(base)
    adapter = tiny.adapter(base, folder / "adapter", size=0.3)
    weights = MergedWeights(open_checkpoint(base), read_adapter(adapter))
    write_ggufs(weights, base, {"f32": folder / "model.gguf"}, METADATA, lambda _: None)
    return folder / "model.gguf"


def copied(source: Path, target: Path, fields: Mapping[str, Any], tensors: Mapping[str, Array] | None = None) -> Path:
    """A GGUF with other fields, those of its tokenizer included, and with other tensors, if any are given."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, fields.get("general.architecture", "phi3"))
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in fields and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0], field.types[-1] if field.types[1:] else None)
    kinds = {list: gguf.GGUFValueType.ARRAY, int: gguf.GGUFValueType.UINT32}
    for key, value in fields.items():
        if key != "general.architecture":
            writer.add_key_value(key, value, kinds.get(type(value)) or gguf.GGUFValueType.get_type(value))
    for name, array in (tensors or {tensor.name: tensor.data for tensor in reader.tensors}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


class Server:
    """llama-server, as anyone runs it."""

    def __init__(self, path: Path) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = 512
        parameters.n_parallel = 1
        parameters.warmup = False
        self._server = xllamacpp.Server(parameters)

    def ask(self, path: str, **document: Any) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path,
            data=json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def answer(self, ids: Sequence[int], most: int, **more: Any) -> Any:
        asked = {"prompt": list(ids), "n_predict": most, "temperature": 0, "return_tokens": True}
        return self.ask("/completion", **asked | more)

    def after(self, ids: Sequence[int]) -> dict[int, float]:
        """The log-probabilities of all next tokens."""
        # A token that is a whole character, as the server tells nothing of others.
        letter = self.ask("/tokenize", content="a")["tokens"][-1]
        answer = self.answer(ids, 1, n_probs=tiny.VOCABULARY, logit_bias=[[letter, 1e6]])
        return {top["id"]: top["logprob"] for top in answer["completion_probabilities"][0]["top_logprobs"]}


@pytest.fixture(scope="module")
def serve() -> Serve:
    return Server


def log_softmax(rows: Array) -> Array:
    shifted = rows.astype(np.float64) - rows.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


# As the server


def test_rows_are_the_servers(model: Path, serve: Serve) -> None:
    """Each row is what llama-server tells of the next token."""
    server = serve(model)
    with LlamaModel(model, context=100) as llama:
        ids = llama.tokens("<|user|>\nthe quick brown fox jumps over lazy dogs<|end|>\n<|assistant|>\n")
        rows = np.concatenate(list(llama.rows([(ids, 3)])))
    assert rows.shape == (len(ids) - 2, tiny.VOCABULARY)
    assert rows.dtype == np.float32
    for row, count in zip(log_softmax(rows), range(3, len(ids) + 1), strict=True):
        told = server.after(ids[:count])
        assert len(told) == tiny.VOCABULARY
        assert np.abs(row[list(told)] - list(told.values())).max() < 1e-3


def test_answers_are_the_servers(model: Path, serve: Serve, tmp_path: Path) -> None:
    """Tokens, the greedy answer, where it ends, and what a GGUF forbids, are as llama-server has them."""
    with LlamaModel(model, context=100) as llama:
        ids = llama.tokens(PROMPTS[0])
        (free,) = llama.generate([ids], 30)
        assert (len(free), llama.ends(free[-1])) == (30, False)
    assert free == serve(model).answer(ids, 30)["tokens"]

    changed = {"tokenizer.ggml.suppress_tokens": [free[0]], "tokenizer.ggml.eos_token_id": free[8]}
    other = copied(model, tmp_path / "other.gguf", changed)
    server = serve(other)
    with LlamaModel(other, context=100) as llama:
        assert llama.ends(free[8])
        assert llama.tokens(PROMPTS[0]) == server.ask("/tokenize", content=PROMPTS[0], add_special=True)["tokens"]
        for prompt in (ids, ids + free[:1], ids + free[:4]):
            (answer,) = llama.generate([prompt], 30)
            assert answer == server.answer(prompt, 30)["tokens"]
            assert free[0] not in answer
        assert answer == free[4 : free.index(free[8], 4) + 1]


def test_text_is_the_servers(model: Path, serve: Serve) -> None:
    """Text of tokens: special ones are not read, and half a character is U+FFFD."""
    server = serve(model)
    with LlamaModel(model, context=100) as llama:
        ids = llama.tokens("<|user|>\nfox \u00e9\u4e2d")
        assert ids == server.ask("/tokenize", content="<|user|>\nfox \u00e9\u4e2d", add_special=True)["tokens"]
        assert llama.text(ids).endswith("fox \u00e9\u4e2d")
        assert "user" not in llama.text(ids)
        assert llama.text(ids[:-1]).endswith("fox \u00e9\ufffd")


# Together, and in parts


def test_prompts_together(model: Path) -> None:
    """Answers of several prompts are those of each alone, in the prompts' order, though some end sooner."""
    with LlamaModel(model, context=60) as llama:
        prompts = [llama.tokens(prompt) for prompt in PROMPTS]
        alone = [llama.generate([prompt], 20)[0] for prompt in prompts]
    assert len({tuple(answer) for answer in alone}) == len(PROMPTS)
    with LlamaModel(model, context=180, sequences=3) as llama:
        assert llama.generate(prompts, 20) == alone
        assert llama.generate(prompts, 1) == [answer[:1] for answer in alone]
        assert llama.generate(prompts, 0) == [[], [], [], [], []]


def test_going_on(model: Path) -> None:
    """What goes on from a text of the call before, or leaves it somewhere, is answered as if it were new; only what was
    not read before is computed."""
    with LlamaModel(model, context=180, sequences=3) as llama:
        prompts = [llama.tokens(prompt) for prompt in PROMPTS[:3]]
        first = llama.generate(prompts, 9)
        begun = [[*prompt, *answer] for prompt, answer in zip(prompts, first, strict=True)]
        left = [[*begun[2][:-4], 30], [*begun[0][:-6], 40, 41], begun[1]]
        known = [known for _, known in llama._memory.places(left)]
        assert known == [len(left[0]) - 1, len(left[1]) - 2, len(left[2]) - 1]
        went_on = llama.generate(left, 9)
        assert llama.generate(left[1:], 9) == went_on[1:]
        list(llama.rows([(left[0], 1)]))
        assert llama.generate(left, 9) == went_on
    with LlamaModel(model, context=60) as llama:
        assert [llama.generate([ids], 9)[0] for ids in left] == went_on


def test_prompts_that_end_apart(model: Path, tmp_path: Path) -> None:
    """An answer that has ended gets nothing more while others go on."""
    with LlamaModel(model, context=60) as llama:
        prompts = [llama.tokens(prompt) for prompt in PROMPTS]
        free = llama.generate(prompts, 20)
    last = free[1][4]
    ending = copied(model, tmp_path / "ending.gguf", {"tokenizer.ggml.eos_token_id": last})
    expected = [answer[: answer.index(last) + 1] if last in answer else answer for answer in free]
    assert len({len(answer) for answer in expected}) > 1
    with LlamaModel(ending, context=300, sequences=5) as llama:
        assert llama.generate(prompts, 20) == expected


@pytest.mark.parametrize("since", [1, 2, 639, 640, 641, 642, 800])
def test_rows_wherever_they_begin(model: Path, since: int) -> None:
    """A long text has the rows that each of its beginnings has, wherever its blocks are cut."""
    with LlamaModel(model, context=800) as llama:
        ids = (llama.tokens(" ".join(PROMPTS)) * 60)[:800]
        assert len(ids) == 800
        rows = np.concatenate(list(llama.rows([(ids, since)])))
        assert len(rows) == 801 - since
        for count in {since, 640, 641, 700, 800}:
            if count >= since:
                (alone,) = llama.rows([(ids[:count], count)])
                assert np.abs(alone[0] - rows[count - since]).max() < 1e-3


def test_rows_of_texts_together(model: Path) -> None:
    """Texts that share the room have the rows of each alone, in their order, however many fit into it at once."""
    with LlamaModel(model, context=60) as llama:
        texts = [(llama.tokens(prompt), since) for prompt, since in zip(PROMPTS, (1, 3, 2, 1, 4), strict=True)]
        alone = np.concatenate([block for text in texts for block in llama.rows([text])])
    for context, sequences in ((60, 2), (100, 3), (600, 8)):
        with LlamaModel(model, context=context, sequences=sequences) as llama:
            together = np.concatenate(list(llama.rows(texts)))
            assert np.abs(together - alone).max() < 1e-3


@pytest.fixture(scope="module")
def large_vocabulary(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The model with a vocabulary of 2**17 tokens."""
    tensors = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(model).tensors}
    for name in ("token_embd.weight", "output.weight"):
        tensors[name] = tiny.formula((1 << 17, tensors[name].shape[1]), len(name)) / np.float32(1024)
    fields = {"tokenizer.ggml.model": "none", "phi3.vocab_size": 1 << 17}
    return copied(model, tmp_path_factory.mktemp("large") / "large.gguf", fields, tensors)


def test_blocks_are_small(large_vocabulary: Path) -> None:
    """However large a vocabulary is, no more than 80 MiB of logits are held, and they are the same."""
    with LlamaModel(large_vocabulary, context=300) as llama:
        ids = [token * 441 for token in range(1, 290)]
        blocks = list(llama.rows([(ids, 5)]))
        assert llama.vocabulary == 1 << 17
        assert [block.nbytes for block in blocks] == [BLOCK, 125 * 4 << 17]
        for count in (5, 164, 165, 289):
            (alone,) = llama.rows([(ids[:count], count)])
            assert np.abs(alone[0] - np.concatenate(blocks)[count - 5]).max() < 1e-2 < alone.std()


# Recurrent models


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A Mamba, whose memory is a state in place of keys and values."""
    random = np.random.default_rng(0)
    width, inner, states, rank, kernel = 32, 64, 8, 4, 4
    shapes = {
        "ssm_in": (2 * inner, width),
        "ssm_conv1d": (inner, kernel),
        "ssm_x": (rank + 2 * states, inner),
        "ssm_dt": (inner, rank),
        "ssm_out": (width, inner),
    }
    tensors: dict[str, Array] = {"token_embd.weight": random.normal(size=(tiny.VOCABULARY, width))}
    tensors["output_norm.weight"] = np.ones(width)
    for layer in range(2):
        block = {f"{name}.weight": random.normal(size=shape) * 0.3 for name, shape in shapes.items()}
        block |= {"attn_norm.weight": np.ones(width), "ssm_conv1d.bias": np.zeros(inner), "ssm_dt.bias": np.ones(inner)}
        block |= {"ssm_a": -np.ones((inner, states)), "ssm_d": np.ones(inner)}
        tensors |= {f"blk.{layer}.{name}": array for name, array in block.items()}
    facts = {"context_length": 512, "embedding_length": width, "block_count": 2, "feed_forward_length": 0}
    facts |= {"attention.head_count": 0, "ssm.conv_kernel": kernel, "ssm.inner_size": inner}
    facts |= {"ssm.state_size": states, "ssm.time_step_rank": rank}
    fields = {"general.architecture": "mamba", "mamba.attention.layer_norm_rms_epsilon": 1e-5}
    fields |= {f"mamba.{name}": value for name, value in facts.items()}
    in_float32 = {name: array.astype(np.float32) for name, array in tensors.items()}
    return copied(model, tmp_path_factory.mktemp("mamba") / "mamba.gguf", fields, in_float32)


def test_recurrent_model(mamba: Path, serve: Serve) -> None:
    """A model that has a state, not a cache, begins anew with each text, also of several at a time."""
    server = serve(mamba)
    with LlamaModel(mamba, context=200, sequences=3) as llama:
        prompts = [llama.tokens(prompt) for prompt in PROMPTS]
        answers = llama.generate(prompts, 8)
        assert answers == [server.answer(prompt, 8)["tokens"] for prompt in prompts]
        begun = [[*prompt, *answer[:4], 30] for prompt, answer in zip(prompts[:3], answers, strict=False)]
        went_on = llama.generate(begun, 8)
        assert went_on == [llama.generate([ids], 8)[0] for ids in begun]
        ids = prompts[0] * 12
        rows = np.concatenate(list(llama.rows([(ids, 60)])))
        for row, count in list(zip(log_softmax(rows), range(60, len(ids) + 1), strict=True))[::5]:
            told = server.after(ids[:count])
            assert np.abs(row[list(told)] - list(told.values())).max() < 1e-3


# What is refused


def test_no_gguf(tmp_path: Path) -> None:
    """A file that is no GGUF is told in llama.cpp's words, and so is one that ends too soon."""
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ToolError, match=r"llama.cpp cannot load model\.gguf: .*invalid magic") as caught:
        LlamaModel(tmp_path / "model.gguf", context=8)
    assert caught.value.remedy
    with pytest.raises(ToolError, match=r"llama.cpp cannot load none\.gguf: .*No such file"):
        LlamaModel(tmp_path / "none.gguf", context=8)


def test_truncated(model: Path, tmp_path: Path) -> None:
    """A GGUF whose last bytes are missing is not loaded."""
    (tmp_path / "model.gguf").write_bytes(model.read_bytes()[:-64])
    with pytest.raises(ToolError, match=r"cannot load model\.gguf: .*not within the file bounds"):
        LlamaModel(tmp_path / "model.gguf", context=8)


def test_too_long(model: Path) -> None:
    """A text, or a prompt with its answer, has to fit into the context that was asked for: exactly."""
    with LlamaModel(model, context=20, sequences=2) as llama:
        assert sum(len(block) for block in llama.rows([([7] * 20, 1)])) == 20
        with pytest.raises(ReleaseError, match="a text of 21 tokens does not fit into the 20"):
            llama.rows([([7] * 21, 1)])
        assert [len(answer) for answer in llama.generate([[7] * 15, [8] * 15], 5)] == [5, 5]  # one after the other
        with pytest.raises(ReleaseError, match="a text of 21 tokens does not fit into the 20"):
            llama.generate([[7], [7] * 15], 6)
        with pytest.raises(ReleaseError, match="without a token"):
            llama.generate([[7], []], 6)


def test_unknown_token(model: Path) -> None:
    """A token that the vocabulary does not have is an error with llama.cpp's words, after which the model goes on."""
    with LlamaModel(model, context=20) as llama:
        with pytest.raises(ToolError, match=r"cannot compute 2 tokens .*invalid token\[1\] = 99999"):
            llama.generate([[7, 99999]], 2)
        assert [len(block) for block in llama.rows([([7, 8], 1)])] == [2]


def test_room(model: Path) -> None:
    """A model gets more room, and less, without being loaded anew, and answers as before."""
    with LlamaModel(model, context=20) as llama:
        short = llama.generate([[7, 8]], 4)
        rows = np.concatenate(list(llama.rows([([7] * 20, 1)])))
        llama.make_room(60, 3)
        assert llama.generate([[7, 8], [7, 8], [9]], 4)[:2] == [short[0], short[0]]
        assert len(np.concatenate(list(llama.rows([([7] * 60, 1)])))) == 60
        llama.make_room(20, 1)
        np.testing.assert_array_equal(np.concatenate(list(llama.rows([([7] * 20, 1)]))), rows)
        with pytest.raises(ToolError, match=r"no room for 20 tokens of 257 texts with model\.gguf"):
            llama.make_room(20, 257)
        with pytest.raises(RuntimeError, match="is closed"):
            list(llama.rows([([7], 1)]))


def test_too_many_sequences(model: Path) -> None:
    """More texts at a time than llama.cpp can have is its own error."""
    with pytest.raises(ToolError, match=r"no room for 20 tokens of 257 texts with model\.gguf: .*n_seq_max"):
        LlamaModel(model, context=20, sequences=257)


def unfinished(llama: LlamaModel) -> Iterator[Array]:
    rows = llama.rows([([7] * 1100, 1)])
    next(rows)
    return rows


def test_rows_that_were_left(model: Path) -> None:
    """Rows of a text cannot go on when the model has read another one since, or is closed."""
    with LlamaModel(model, context=1100) as llama:
        rows = unfinished(llama)
        llama.generate([[7]], 1)
        with pytest.raises(RuntimeError, match="before all rows were taken"):
            next(rows)
        rows = unfinished(llama)
    with pytest.raises(RuntimeError, match="before all rows were taken"):
        next(rows)
    with pytest.raises(RuntimeError, match="is closed"):
        llama.generate([[7]], 1)


def test_silent(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """llama.cpp's log is not for people."""
    with LlamaModel(model, context=20) as llama:
        llama.generate([[7]], 2)
    assert capfd.readouterr() == ("", "")


# The pinned library


def test_structures() -> None:
    """The fields of structures are where the pinned library has them; one that is not is told by its name."""
    check_defaults(model_parameters())
    check_defaults(context_parameters())
    with pytest.raises(ToolError, match="another llama_model_params than expected, from n_gpu_layers on"):
        check_defaults(ModelParameters())
    moved = context_parameters()
    moved.type_v, moved.moe_cache_size = 0, 1
    with pytest.raises(ToolError, match="another llama_context_params than expected, from type_v on"):
        check_defaults(moved)
    assert ContextParameters.beyond.offset == 168
    assert ModelParameters.beyond.offset == 78


def test_adapter_beside_its_base(tmp_path: Path) -> None:
    """A GGUF with an adapter's beside it says what the merged model's says; an adapter of another model is refused."""
    from tagship.gguf.adapter_conversion import write_adapter
    from tagship.weights.lora import without_changes

    base = tiny.tokenizer(tiny.llama(tmp_path / "base", dtype=tiny.FLOAT32))
    merged = MergedWeights(open_checkpoint(base), read_adapter(tiny.adapter(base, tmp_path / "adapter", size=0.3)))
    alone = MergedWeights(merged.base, without_changes(merged.adapter))
    files = {name: tmp_path / f"{name}.gguf" for name in ("merged", "base", "lora")}
    write_ggufs(merged, base, {"f32": files["merged"]}, METADATA, lambda _: None)
    write_ggufs(alone, base, {"f32": files["base"]}, METADATA, lambda _: None)
    write_adapter(merged, base, {"f32": files["lora"]}, METADATA, lambda _: None)

    def rows(path: Path, **more: Path) -> Array:
        with LlamaModel(path, context=64, **more) as running:
            return np.concatenate(list(running.rows([(range(4, 36), 1)])))

    expected, found, untrained = rows(files["merged"]), rows(files["base"], adapter=files["lora"]), rows(files["base"])
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(untrained - expected).max() > 0.5
    with pytest.raises(ToolError, match=r"cannot load the adapter merged\.gguf"):
        rows(files["base"], adapter=files["merged"])
