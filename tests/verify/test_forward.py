"""Passes over many sequences at once, and on from where one ended: the numbers of passes one by one."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tagship.verify.questions import Tokens  # noqa: E402
from tagship.verify.runtimes.forward import Forward  # noqa: E402
from tagship.verify.runtimes.protocol import Model  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")]

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96}
GROUPED = SIZES | {"num_key_value_heads": 2}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GROUPED),
    "phi3 with a window": ("Phi3Config", SIZES | {"pad_token_id": 0, "sliding_window": 6}),
    "qwen3": ("Qwen3Config", GROUPED | {"head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2Config", GROUPED | {"head_dim": 8, "sliding_window": 64}),
    "gemma3 with a short window": ("Gemma3TextConfig", GROUPED | {"head_dim": 8, "sliding_window": 4}),
    "gpt2": ("GPT2Config", GPT2),
    "gpt_neox": ("GPTNeoXConfig", SIZES),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96}),
    "falcon": ("FalconConfig", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96}),
    "olmo2": ("Olmo2Config", GROUPED),
    "cohere": ("CohereConfig", GROUPED | {"logit_scale": 0.5}),
    "granite": ("GraniteConfig", GROUPED | {"logits_scaling": 3.0}),
    "mixtral": ("MixtralConfig", GROUPED | {"num_local_experts": 4}),
    "opt": ("OPTConfig", GROUPED | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "mamba": ("MambaConfig", {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "vocab_size": 96}),
    "jamba": ("JambaConfig", GROUPED | {"use_mamba_kernels": False, "num_experts": 2, "mamba_d_state": 4}),
}


def model_of(name: str) -> Any:
    config, sizes = MODELS[name]
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**sizes))
    return model.float().eval()


def ids(number: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(1, 95, (number,), generator=torch.Generator().manual_seed(seed)).tolist())


def one_by_one(model: Any, sequences: list[Tokens]) -> Any:
    """The logits of each sequence by itself."""
    with torch.inference_mode():
        made = [model(input_ids=torch.tensor([each.ids]), use_cache=False).logits[0] for each in sequences]
    return (
        torch.cat([logits[each.since - 1 : -1] for logits, each in zip(made, sequences, strict=True)]).float().numpy()
    )


def rows(forward: Forward, sequences: list[Tokens]) -> Any:
    with torch.inference_mode():
        return np.concatenate(list(forward.rows(sequences)))


@pytest.mark.parametrize("name", MODELS)
def test_rows(name: str) -> None:
    """Sequences of several lengths together have the logits that each has by itself, in the order that was asked."""
    model = model_of(name)
    sequences = [Tokens(ids=ids(9, 1), since=3), Tokens(ids=ids(14, 2), since=1), Tokens(ids=ids(5, 3), since=4)]
    found = rows(Forward(model), sequences)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one(model, sequences), atol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_going_on(name: str) -> None:
    """Sequences that go on from others, or leave them on the way, are computed as if from the beginning: also twice,
    and also a part of them."""
    model = model_of(name)
    forward = Forward(model)
    first, second = ids(8, 1), ids(11, 2)
    turns = [
        [Tokens(ids=first, since=4), Tokens(ids=second, since=4)],
        [Tokens(ids=first[:6] + ids(7, 3), since=7), Tokens(ids=second + ids(2, 4), since=12)],
        [Tokens(ids=second + ids(2, 4)[:1] + ids(3, 5), since=13)],
    ]
    for sequences in turns:
        with torch.inference_mode():
            said = forward.greedy(sequences)
        for tokens, each in zip(said, sequences, strict=True):
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([each.ids]), use_cache=False).logits[0, each.since - 1 :]
            assert tokens == logits.argmax(dim=-1).tolist()
    for sequences in turns:
        np.testing.assert_allclose(rows(forward, sequences), one_by_one(model, sequences), atol=2e-4)


def test_passes_are_few() -> None:
    """What was computed is not computed again, nor are tokens that a sequence goes on from."""
    model = model_of("llama")
    read: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda module, given, made: read.append(given[0].numel()))
    forward = Forward(model)
    beginning = Tokens(ids=ids(20, 1), since=10)
    longer = Tokens(ids=beginning.ids + ids(3, 2), since=20)
    with torch.inference_mode():
        forward.greedy([beginning])
        assert read.pop() == 20
        forward.greedy([beginning])
        assert not read
        forward.greedy([longer])
        assert sum(read) == 3
        read.clear()
        list(forward.rows([longer, beginning]))
        assert not read


@pytest.mark.parametrize("name", MODELS)
def test_passes_abreast(name: str) -> None:
    """What is expected is computed with the next pass, of this model and another one, to the same last digit: layer by
    layer, so that one reading of a layer's weights does for all."""
    model, other = model_of(name), model_of(name)
    answers = [Tokens(ids=ids(9, 1), since=3), Tokens(ids=ids(6, 2), since=3)]
    text = [Tokens(ids=ids(14, 3), since=1), Tokens(ids=ids(7, 4), since=1)]
    apart, alone = Forward(model), Forward(other)
    with torch.inference_mode():
        said = apart.greedy(answers)
    wanted = [rows(apart, text), rows(alone, text[1:]), rows(apart, answers)]
    order: list[int] = []
    for part in (model, other):
        for number, layer in enumerate(max(lists_of(part), key=len)):
            layer.register_forward_hook(lambda module, given, made, number=number: order.append(number))
    together, beside = Forward(model), Forward(other)
    beside.expect(text[1:])
    together.expect(text)
    with torch.inference_mode():
        assert together.greedy(answers) == said
    assert order[:6] == [0, 0, 0, 1, 1, 1]
    done = len(order)
    for found, expected in zip(
        (rows(together, text), rows(beside, text[1:]), rows(together, answers)), wanted, strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert len(order) == done


def lists_of(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]


def test_what_is_expected_in_vain() -> None:
    """What fails ahead of time is told when it is asked for, and what nobody will ask for is not computed."""
    forward, gone = Forward(model_of("llama")), Forward(model_of("llama"))
    forward.expect([Tokens(ids=(5, 400, 5), since=1)])  # which the vocabulary does not have
    gone.expect([Tokens(ids=ids(5, 1), since=1)])
    gone.close()
    with torch.inference_mode():
        assert forward.greedy([Tokens(ids=ids(6, 2), since=3)]) == Forward(model_of("llama")).greedy(
            [Tokens(ids=ids(6, 2), since=3)]
        )
        with pytest.raises(IndexError):
            list(forward.rows([Tokens(ids=(5, 400, 5), since=1)]))
    assert not gone._hidden


def test_what_is_packed_has_no_padding() -> None:
    """Sequences of unlike lengths are read behind each other, in one pass without padding."""
    model = model_of("llama")
    read: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda module, given, made: read.append(given[0].numel()))
    sequences = [Tokens(ids=ids(number, number), since=1) for number in (41, 5, 4, 3)]
    found = rows(Forward(model), sequences)
    assert read == [40 + 4 + 3 + 2 + 16]
    np.testing.assert_allclose(found, one_by_one(model, sequences), atol=2e-4)


def test_model_that_looks_at_all_of_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes positions and does not tell sequences apart by them is asked with padding, from then on."""
    model = model_of("llama")
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None)
    read: list[tuple[int, ...]] = []
    model.model.embed_tokens.register_forward_hook(lambda module, given, made: read.append(tuple(given[0].shape)))
    sequences = [Tokens(ids=ids(number, number), since=1) for number in (21, 5)]
    forward = Forward(model)
    found = rows(forward, sequences)
    rows(forward, [Tokens(ids=ids(number, number), since=1) for number in (11, 6)])
    assert read == [(1, 20 + 4 + 16), (2, 20), (2, 10)]
    np.testing.assert_allclose(found, one_by_one(model, sequences), atol=2e-4)


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits come in blocks of bounded size, and sequences are read in passes of bounded size."""
    monkeypatch.setattr("tagship.verify.runtimes.forward._BLOCK", 4 * 96 * 3)
    monkeypatch.setattr("tagship.verify.runtimes.forward._TOKENS", 12)
    model = model_of("llama")
    sequences = [Tokens(ids=ids(8, seed), since=1) for seed in range(4)]
    with torch.inference_mode():
        blocks = list(Forward(model).rows(sequences))
    assert max(map(len, blocks)) == 3
    np.testing.assert_allclose(np.concatenate(blocks), one_by_one(model, sequences), atol=2e-4)


class Reads(Model):
    """A model of no more than the abstract methods."""

    def __init__(self, model: Any) -> None:
        self._forward = Forward(model)

    def read(self, questions: Any) -> Any:
        raise NotImplementedError

    def ends(self, tokens: Any) -> Any:
        return ()

    def rows(self, sequences: Any) -> Any:
        return self._forward.rows(sequences)


def test_greedy_of_any_model() -> None:
    """A runtime that brings rows alone has the likeliest tokens too, with the one after the last."""
    model = model_of("gpt2")
    sequences = [Tokens(ids=ids(6, 1), since=2), Tokens(ids=ids(4, 2), since=4)]
    with torch.inference_mode():
        assert Reads(model).greedy(sequences) == Forward(model).greedy(sequences)


def test_logits_that_are_made_of_more() -> None:
    """A model whose logits are not made of its last hidden states alone is read as a whole."""
    model = model_of("llama")
    original = model.forward

    def forward(input_ids: Any, attention_mask: Any = None, **more: Any) -> Any:
        made = original(input_ids=input_ids, attention_mask=attention_mask, **more)
        made.logits = made.logits + input_ids[..., None] / 50
        return made

    model.forward = forward
    sequences = [Tokens(ids=ids(9, 1), since=3), Tokens(ids=ids(14, 2), since=1)]
    np.testing.assert_allclose(rows(Forward(model), sequences), one_by_one(model, sequences), atol=2e-4)
