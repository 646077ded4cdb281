"""adapter_config.json: what is read of it, and what is no configuration at all."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tagship.system.errors import ReleaseError
from tagship.weights.adapter_config import CONFIG_FILE, AdapterConfig, read_adapter_config

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["proj"]}


def write_config(folder: Path, **config: Any) -> Path:
    """A folder with the configuration of an adapter of rank 2, unless told otherwise."""
    (folder / CONFIG_FILE).write_text(json.dumps(PLAIN | config), encoding="utf-8")
    return folder


def test_configuration(tmp_path: Path) -> None:
    """What a release needs of adapter_config.json is read, and target_modules are sorted."""
    config = read_adapter_config(
        write_config(
            tmp_path,
            base_model_name_or_path="acme/base",
            revision="abc",
            lora_dropout=0.25,
            use_rslora=True,
            target_modules=["v", "a"],
            target_parameters=["experts.up", "down"],
            rank_pattern={"a": 8},
            alpha_pattern={"v": 1},
            trainable_token_indices=[3, 5],
            task_type="CAUSAL_LM",
            auto_mapping={"base_model_class": "PhiForCausalLM", "parent_library": "transformers"},
        )
    )
    assert config == AdapterConfig(
        base_model="acme/base",
        revision="abc",
        rank=2,
        alpha=6.0,
        rank_stabilised=True,
        rank_pattern={"a": 8},
        alpha_pattern={"v": 1},
        transposed=False,
        dora=False,
        target_modules=("a", "v"),
        target_pattern=None,
        target_parameters=("down", "experts.up"),
        token_indices={"": (3, 5)},
        keeps_tied=False,
        task="CAUSAL_LM",
        trained_class="PhiForCausalLM",
        unsupported=(),
    )


def test_target_modules_as_one_pattern(tmp_path: Path) -> None:
    """target_modules may be one regular expression."""
    config = read_adapter_config(write_config(tmp_path, target_modules=r".*\.q_proj"))
    assert config.target_pattern == r".*\.q_proj"
    assert config.target_modules == ()


@pytest.mark.parametrize(
    ("targets", "module", "parameters"),
    [
        (["experts.gate_up_proj", "experts.down_proj"], "layers.0.mlp.experts", ("gate_up_proj", "down_proj")),
        (["mlp.experts.down_proj"], "layers.0.mlp.experts", ("down_proj",)),
        (["gate_up_proj", "down_proj", "gate.weight"], "layers.0.mlp.experts", ("gate_up_proj", "down_proj")),
        (["gate_up_proj", "down_proj", "gate.weight"], "layers.0.mlp.gate", ("weight",)),
        (["gate_up_proj"], "layers.0.self_attn.proj", ()),
        (["experts.down_proj"], "layers.0.shared_experts", ()),
        (None, "layers.0.mlp.experts", ()),
    ],
)
def test_parameters_of_a_module(
    tmp_path: Path, targets: list[str] | None, module: str, parameters: tuple[str, ...]
) -> None:
    """What target_parameters name of a module, in PEFT's order; none of one that target_modules name."""
    config = read_adapter_config(write_config(tmp_path, target_parameters=targets))
    assert config.parameters_of(module) == parameters


def test_parameters_of_a_module_that_a_pattern_names(tmp_path: Path) -> None:
    """A module that is adapted as a whole by a pattern has no parameters of its own."""
    config = read_adapter_config(
        write_config(tmp_path, target_modules=r".*\.(q|down)_proj", target_parameters=["down_proj"])
    )
    assert config.parameters_of("layers.0.mlp.down_proj") == ()
    assert config.parameters_of("layers.0.mlp.experts") == ("down_proj",)


def test_scale_by_hand(tmp_path: Path) -> None:
    """alpha / sqrt(rank) where rank-stabilised; the first pattern that fits a module's path or its end decides."""
    config = read_adapter_config(
        write_config(tmp_path, use_rslora=True, rank_pattern={"q": 16, "x.q": 4}, alpha_pattern={"k": 12})
    )
    assert config.scale_of("layers.0.q") == 6 / 4
    assert config.scale_of("layers.0.x.q") == 6 / 4
    assert config.scale_of("layers.0.k") == 12 / math.sqrt(2)
    assert config.scale_of("layers.0.seq") == 6 / math.sqrt(2)


def test_missing_configuration(tmp_path: Path) -> None:
    """A folder without adapter_config.json is no finished training run."""
    with pytest.raises(ReleaseError, match="no finished training run") as caught:
        read_adapter_config(tmp_path)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"peft_type": "LORA", "r": 2}',
        '{"r": "two", "lora_alpha": 1}',
        '{"r": 0, "lora_alpha": 1}',
        '{"r": -2, "lora_alpha": 1}',
        '{"r": 2, "lora_alpha": null}',
        '{"r": 2, "lora_alpha": 1, "rank_pattern": 5}',
        '{"r": 2, "lora_alpha": 1, "rank_pattern": {"q": 0}}',
        '{"r": 2, "lora_alpha": 1, "alpha_pattern": {"q": "x"}}',
        '{"r": 2, "lora_alpha": 1, "alpha_pattern": {"q(": 1}}',
        '{"r": 2, "lora_alpha": 1, "alpha_pattern": {"(?i)q": 1}}',
        '{"r": 2, "lora_alpha": 1, "alpha_pattern": {"q": NaN}}',
        '{"r": 2.5, "lora_alpha": 1}',
        '{"r": Infinity, "lora_alpha": 1}',
        '{"r": 2, "lora_alpha": NaN}',
        '{"r": 2, "lora_alpha": Infinity}',
        '{"r": 2, "lora_alpha": 1' + "0" * 400 + "}",
        '{"r": 2, "lora_alpha": 1, "base_model_name_or_path": 5}',
        '{"r": 2, "lora_alpha": 1, "revision": ["main"]}',
        '{"r": 2, "lora_alpha": 1, "trainable_token_indices": [-1]}',
        '{"r": 2, "lora_alpha": 1, "trainable_token_indices": [1.5]}',
        '{"r": 2, "lora_alpha": 1, "trainable_token_indices": "12"}',
        '{"r": 2, "lora_alpha": 1, "trainable_token_indices": {"embed_tokens": null}}',
        '{"r": 2, "lora_alpha": 1, "trainable_token_indices": 5}',
    ],
)
def test_broken_configuration(tmp_path: Path, text: str) -> None:
    """A configuration that is no JSON, lacks what is needed, or holds impossible numbers is refused."""
    (tmp_path / CONFIG_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(
        ReleaseError, match=rf"{CONFIG_FILE} is not (a PEFT adapter's configuration|valid JSON|a JSON object)"
    ):
        read_adapter_config(tmp_path)


def test_largest_rank(tmp_path: Path) -> None:
    """The largest rank of any module is that of a pattern, where one is larger."""
    assert read_adapter_config(write_config(tmp_path, rank_pattern={"q": 16, "k": 1})).largest_rank == 16
    assert read_adapter_config(write_config(tmp_path)).largest_rank == 2


def test_tokens_by_module(tmp_path: Path) -> None:
    """Trained tokens may be given for each embedding by its name."""
    config = read_adapter_config(
        write_config(tmp_path, trainable_token_indices={"embed_tokens": [1], "lm_head": [2, 0]})
    )
    assert config.token_indices == {"embed_tokens": (1,), "lm_head": (2, 0)}


def test_method_without_rank(tmp_path: Path) -> None:
    """A method that has neither rank nor alpha is read, so that it can be told by its name."""
    (tmp_path / CONFIG_FILE).write_text(
        '{"peft_type": "IA3", "base_model_name_or_path": "acme/base"}', encoding="utf-8"
    )
    config = read_adapter_config(tmp_path)
    assert (config.base_model, config.rank, config.alpha) == ("acme/base", 0, 0.0)
    assert config.unsupported == ("it is IA3, not LORA",)


# What could take for ever, or is not there


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern", "target_modules"])
def test_pattern_that_backtracks(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that would be tried for longer than anyone waits is refused by itself."""
    monkeypatch.setattr("tagship.weights.adapter_config._PATIENCE", 1)
    pattern = r"(((\w+)+)+)+\d!"
    config = read_adapter_config(write_config(tmp_path, **{key: pattern if key == "target_modules" else {pattern: 4}}))
    with pytest.raises(ReleaseError, match="does not come to an end within 1 seconds") as caught:
        config.check_patterns(["proj", "a" * 200])
    assert pattern in str(caught.value)


def test_patterns_that_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real patterns pass, and names alone start no process."""
    told = {"target_modules": r".*language_model.*\.(q_proj|k_proj)", "rank_pattern": {"layers.0.q_proj": 4, "k.*": 2}}
    modules = [f"model.language_model.layers.{layer}.self_attn.q_proj" for layer in range(100)]
    read_adapter_config(write_config(tmp_path, **told)).check_patterns(modules)
    monkeypatch.setattr("subprocess.run", None)
    read_adapter_config(write_config(tmp_path, rank_pattern={"layers.0.q_proj": 4})).check_patterns(modules)


def test_pointer_of_git_lfs(tmp_path: Path) -> None:
    """A configuration that was not fetched is told as that, with the command that fetches it."""
    (tmp_path / CONFIG_FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ReleaseError, match="is a pointer of git LFS, and not the file itself") as caught:
        read_adapter_config(tmp_path)
    assert "git lfs pull" in str(caught.value.remedy)


def test_adapters_below_the_run(tmp_path: Path) -> None:
    """A run that only has checkpoints, or named adapters, offers them by name."""
    for name in ("checkpoint-500", "checkpoint-1000"):
        (tmp_path / name).mkdir()
        write_config(tmp_path / name)
    with pytest.raises(ReleaseError, match=r"in folders below it: checkpoint-1000, checkpoint-500$") as caught:
        read_adapter_config(tmp_path)
    assert f"--run {tmp_path}/checkpoint-500" in str(caught.value.remedy)
