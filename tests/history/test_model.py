"""What of a model changed between two releases, in git where runs are committed, else by manifests."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tagship.history.conventional import Part
from tagship.history.line import choose_stream, line_of
from tagship.history.model import ModelState, changes
from tagship.history.model_lookup import Recorded, disk_state
from tagship.history.unreleased import Unreleased, gather
from tagship.policy.config import load_config
from tagship.runs.run import choose_run
from tagship.system.git import Repository

from tests.conftest import POLICY, RUN, GitFolder, WriteRun

BASE = "acme/tiny"
LOCAL_BASE = f'[bases."{BASE}"]\npath = "base"\n'
LATER = RUN.replace("20250914", "20251001")
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAJOR, MINOR = Part.MAJOR, Part.MINOR


def gathered(
    repository: GitFolder,
    *,
    folder: str = ".",
    at: str = "HEAD",
    version: str | None = None,
    recorded: Recorded = lambda release: None,
) -> Unreleased:
    """What the first stream has come to at a commit, by the newest run on disk."""
    config = load_config(repository.folder / folder / "release.toml", {})
    with Repository(config.root) as opened:
        line = line_of(config, choose_stream(config, None), opened)
        repository.git("tag", "--force", "here", at)
        commit = opened.tag("here").commit
        run = choose_run(config.runs, config.naming, None)
        coming = gather(config, opened, line.stream, commit, run=run, version=version, recorded=recorded)
    repository.git("tag", "--delete", "here")
    return coming


def changed(repository: GitFolder, **options: Any) -> list[tuple[Part, str]]:
    """What changed in the model since the last release: the part, and the file that says so."""
    return [(change.part, change.file) for change in gathered(repository, **options).model_changes()]


def configure(folder: Path, **values: Any) -> None:
    """Change the adapter's configuration; None takes a key out."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps({key: config[key] for key in config if config[key] is not None}), encoding="utf-8")


@pytest.fixture
def run(project: GitFolder) -> Path:
    """The run of a project that is released as v1.0.0."""
    project.tag("v1.0.0", "First")
    return project.folder / "adapters" / RUN


@pytest.fixture
def base(project: GitFolder, run: Path) -> Path:
    """A base model in the repository, by which the run was trained, released as v1.1.0."""
    project.write("release.toml", POLICY + LOCAL_BASE)
    configure(run, base_model_name_or_path="base")
    project.write("base/config.json", "{}")
    project.write("base/model.safetensors", "weights")
    project.write("base/tokenizer.json", '{"vocab": 1}')
    project.write("base/tokenizer_config.json", json.dumps({"bos": "<s>", "chat_template": "one"}))
    project.commit("Base")
    project.tag("v1.1.0", "With its base")
    return project.folder / "base"


# The adapter


def test_nothing_changed(project: GitFolder, run: Path) -> None:
    """A run that is the same has not changed, whatever else was committed."""
    project.write("README.md")
    project.commit()
    assert changed(project) == []


def test_no_release_before(project: GitFolder) -> None:
    """Before the first release there is nothing to compare with."""
    model = gathered(project).model
    assert model is not None
    assert (model[0], model[1].run, model[1].architecture["r"]) == (None, RUN, 32)
    assert changed(project) == []


def test_weights(project: GitFolder, run: Path, write_run: WriteRun) -> None:
    """Other weights of the same architecture are a minor change."""
    shutil.rmtree(run)
    write_run(run)
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes().replace(b"\x80\x3f", b"\x00\x40"))
    project.commit()
    assert changed(project) == [(MINOR, WEIGHTS)]


@pytest.mark.parametrize("values", [{"lora_alpha": 128}, {"alpha_pattern": {"proj": 3}}])
def test_scale(project: GitFolder, run: Path, values: dict[str, Any]) -> None:
    """Another scale changes what the model answers, as other weights do."""
    configure(run, **values)
    project.commit()
    assert changed(project) == [(MINOR, CONFIG)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peft_type", "IA3"),
        ("r", 64),
        ("rank_pattern", {"proj": 8}),
        ("target_modules", ["q_proj", "k_proj"]),
        ("target_parameters", ["experts.down_proj"]),
        ("exclude_modules", ["lm_head"]),
        ("layers_to_transform", 0),
        ("layers_to_transform", [0, 1]),
        ("layers_pattern", "blocks"),
        ("modules_to_save", ["lm_head"]),
        ("trainable_token_indices", [3]),
        ("bias", "all"),
        ("lora_bias", True),
        ("use_dora", True),
        ("use_rslora", True),
        ("fan_in_fan_out", True),
        ("task_type", "CAUSAL_LM"),
    ],
)
def test_architecture(project: GitFolder, run: Path, key: str, value: Any) -> None:
    """Each key that is the adapter's shape is a major change, which is told with both values."""
    before = json.loads((run / CONFIG).read_text(encoding="utf-8")).get(key)
    configure(run, **{key: value})
    project.commit()
    (change,) = gathered(project).model_changes()
    assert (change.part, change.file) == (MAJOR, CONFIG)
    shown = sorted(value) if isinstance(value, list) and isinstance(value[0], str) else value
    assert change.what == f"the adapter's {key} is {json.dumps(shown)}, and was {json.dumps(before)}"


def test_order_of_modules(project: GitFolder, run: Path) -> None:
    """PEFT writes sets in any order, which changes nothing."""
    configure(run, target_modules=["a", "b"])
    project.commit()
    project.tag("v1.1.0")
    configure(run, target_modules=["b", "a"])
    project.commit()
    assert changed(project) == []


def test_defaults_of_a_newer_peft(project: GitFolder, run: Path) -> None:
    """A newer PEFT writes more keys: a default is no change, nor is what only matters in training."""
    defaults: dict[str, Any] = {"lora_bias": False, "use_dora": False, "bias": "none", "rank_pattern": {}}
    config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    more: dict[str, Any] = {"exclude_modules": None, "trainable_token_indices": None, "modules_to_save": []}
    training = {"lora_dropout": 0.1, "init_lora_weights": False, "inference_mode": True, "peft_version": "0.18"}
    (run / CONFIG).write_text(json.dumps(config | defaults | more | training), encoding="utf-8")
    project.commit()
    assert changed(project) == []


@pytest.mark.parametrize("values", [{"base_model_name_or_path": "microsoft/phi-4"}, {"revision": "abc123"}])
def test_base_model(project: GitFolder, run: Path, values: dict[str, str]) -> None:
    """Another base model, or another revision of it, is a major change."""
    configure(run, **values)
    project.commit()
    (change,) = gathered(project).model_changes()
    assert (change.part, change.file) == (MAJOR, CONFIG)
    assert all(value in change.what for value in values.values())


def test_revision_in_the_policy(project: GitFolder, run: Path) -> None:
    """A revision of the base that the policy pins is the one that is released, before and now."""
    pinned = '[bases."microsoft/Phi-3-mini-4k-instruct"]\nrevision = "{}"\n'
    project.write("release.toml", POLICY + pinned.format("one"))
    project.commit()
    (change,) = gathered(project).model_changes()
    assert change.part is MAJOR
    assert change.what.endswith("instruct@one, and was microsoft/Phi-3-mini-4k-instruct")
    project.tag("v2.0.0")
    project.write("release.toml", POLICY + pinned.format("two") + 'license = "mit"\n')
    project.commit()
    (change,) = gathered(project).model_changes()
    assert "instruct@two, and was " in change.what
    assert change.what.endswith("instruct@one")
    project.tag("v3.0.0")
    project.write("release.toml", POLICY + pinned.format("two"))
    project.commit()
    assert changed(project) == []


def test_policy_that_could_not_be_read(project: GitFolder, run: Path) -> None:
    """A policy that was broken at the last release pins nothing, and stops no bump."""
    project.write("release.toml", "[broken")
    project.commit()
    project.tag("v1.0.1")
    project.write("release.toml", POLICY)
    project.commit()
    assert changed(project) == []


# The tokenizer and the chat template


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "special_tokens_map.json", "vocab.txt"])
def test_tokenizer(project: GitFolder, run: Path, name: str) -> None:
    """A changed file of the run's own tokenizer is a major change, and so is a new one."""
    project.write(f"adapters/{RUN}/{name}", "1")
    project.commit()
    assert changed(project) == [(MAJOR, name)]
    project.tag("v2.0.0")
    project.write(f"adapters/{RUN}/{name}", "2")
    project.commit()
    assert changed(project) == [(MAJOR, name)]


def test_template_in_the_tokenizer(project: GitFolder, run: Path) -> None:
    """A chat template inside tokenizer_config.json counts as the template alone, in any JSON layout."""
    name = f"adapters/{RUN}/tokenizer_config.json"
    project.write(name, json.dumps({"bos": "<s>", "chat_template": "one"}))
    project.commit()
    project.tag("v2.0.0")
    project.write(name, json.dumps({"chat_template": "two", "bos": "<s>"}, indent=2))
    project.commit()
    assert changed(project) == [(MAJOR, "chat_template.jinja")]
    project.tag("v3.0.0")
    project.write(name, json.dumps({"chat_template": "two", "bos": "<b>"}))
    project.commit()
    assert changed(project) == [(MAJOR, "tokenizer_config.json")]


def test_template_that_moves(project: GitFolder, run: Path) -> None:
    """A template that moves from tokenizer_config.json into a file of its own is the same one."""
    folder = f"adapters/{RUN}"
    project.write(f"{folder}/tokenizer_config.json", json.dumps({"bos": "<s>", "chat_template": "größe\n"}))
    project.commit()
    project.tag("v2.0.0")
    project.write(f"{folder}/tokenizer_config.json", json.dumps({"bos": "<s>"}))
    project.write(f"{folder}/chat_template.jinja", "größe\n")
    project.commit()
    assert changed(project) == []
    project.tag("v2.0.1")
    project.write(f"{folder}/chat_template.jinja", "other\n")
    project.commit()
    assert changed(project) == [(MAJOR, "chat_template.jinja")]


def test_tokenizer_that_is_no_json(project: GitFolder, run: Path) -> None:
    """A pointer of git LFS tells a changed tokenizer_config.json by its bytes."""
    name = f"adapters/{RUN}/tokenizer_config.json"
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\n"
    project.write(name, pointer.format("1"))
    project.commit()
    project.tag("v2.0.0")
    project.write(name, pointer.format("2"))
    project.commit()
    assert changed(project) == [(MAJOR, "tokenizer_config.json")]


# A base model in the repository


@pytest.mark.parametrize(
    ("name", "text", "file"),
    [
        ("config.json", '{"layers": 3}', "base/config.json"),
        ("model.safetensors", "other weights", "base/model.safetensors"),
        ("tokenizer.json", '{"vocab": 2}', "tokenizer.json"),
        ("tokenizer_config.json", '{"bos": "<s>", "chat_template": "two"}', "chat_template.jinja"),
        ("chat_template.jinja", "two", "chat_template.jinja"),
    ],
)
def test_local_base(project: GitFolder, base: Path, name: str, text: str, file: str) -> None:
    """A changed file of a base in the repository is a major change: its weights, its tokenizer, its template."""
    assert changed(project) == []
    (base / name).write_text(text, encoding="utf-8")
    project.commit()
    assert changed(project) == [(MAJOR, file)]


def test_other_files_of_a_base(project: GitFolder, base: Path) -> None:
    """What only describes a base is no change of the model."""
    (base / "README.md").write_text("Text", encoding="utf-8")
    project.commit()
    assert changed(project) == []


def test_tokenizer_of_the_run(project: GitFolder, run: Path, base: Path) -> None:
    """Where the run brings its own tokenizer, the base's does not count."""
    project.write(f"adapters/{RUN}/tokenizer.json", '{"vocab": 1}')
    project.commit()
    project.tag("v2.0.0")
    (base / "tokenizer.json").write_text('{"vocab": 9}', encoding="utf-8")
    project.commit()
    assert changed(project) == []


def test_template_of_the_run(project: GitFolder, run: Path, base: Path) -> None:
    """Where the run brings its own template, the base's does not count, whosever the tokenizer is."""
    project.write(f"adapters/{RUN}/chat_template.jinja", "run")
    (base / "chat_template.jinja").write_text("base", encoding="utf-8")
    project.commit()
    project.tag("v2.0.0")
    (base / "chat_template.jinja").write_text("other", encoding="utf-8")
    project.commit()
    assert changed(project) == []
    project.write(f"adapters/{RUN}/chat_template.jinja", "another")
    project.commit()
    assert changed(project) == [(MAJOR, "chat_template.jinja")]


# Which run


def test_new_run(project: GitFolder, run: Path, write_run: WriteRun) -> None:
    """The newest run now is held against the newest one at the release, by the dates in their names."""
    write_run(run.with_name(RUN.replace("20250914", "20240101")), rank=8)
    project.commit()
    assert changed(project) == []
    write_run(run.with_name(LATER), rank=64)
    project.commit()
    assert changed(project) == [(MAJOR, CONFIG), (MINOR, WEIGHTS)]
    model = gathered(project).model
    assert model is not None and model[0] is not None
    assert (model[0].run, model[1].run) == (RUN, LATER)


def test_recorded_dates(repository: GitFolder, write_run: WriteRun) -> None:
    """Runs without a date in their names are told apart by the recorded one."""
    repository.write("release.toml", POLICY)
    for name, date, rank in (("a-newer", "2025-09-02", 8), ("z-older", "2025-09-01T12:00:00+00:00", 4)):
        folder = write_run(repository.folder / "adapters" / name, rank=rank)
        (folder / "experiment_metadata.json").write_text(json.dumps({"trained": date}), encoding="utf-8")
    repository.commit()
    repository.tag("v1.0.0")
    model = gathered(repository).model
    assert model is not None and model[0] is not None
    assert (model[0].run, model[0].architecture["r"]) == ("a-newer", 8)
    assert changed(repository) == []


def test_model_of_an_old_release(project: GitFolder, run: Path, write_run: WriteRun) -> None:
    """An old release's model is the one of its own time, not the one that is on disk now."""
    configure(run, r=16)
    project.commit()
    project.tag("v2.0.0")
    shutil.rmtree(run)
    write_run(run.with_name(LATER), rank=64)
    project.commit()
    model = gathered(project, at="v2.0.0", version="2.0.0").model
    assert model is not None and model[0] is not None
    assert (model[0].architecture["r"], model[1].run, model[1].architecture["r"]) == (32, RUN, 16)


def test_project_in_a_subfolder(repository: GitFolder, write_run: WriteRun) -> None:
    """The runs of a project in a subfolder are read, and so are those beside it."""
    for number, runs in enumerate(("adapters", "../runs"), start=1):
        repository.write("models/release.toml", POLICY.replace("[formats.vllm]", f'runs = "{runs}"\n[formats.vllm]'))
        folder = write_run(repository.folder / "models" / runs / RUN)
        repository.commit()
        repository.tag(f"v{number}.0.0")
        configure(folder, r=64)
        repository.commit()
        assert changed(repository, folder="models") == [(MAJOR, CONFIG)]


def test_runs_outside_of_the_repository(project: GitFolder, tmp_path: Path, write_run: WriteRun) -> None:
    """Runs elsewhere on the disk count by manifests, also for a project in a subfolder."""
    elsewhere = write_run(tmp_path / "elsewhere" / RUN)
    project.write(
        "models/release.toml", POLICY.replace("[formats.vllm]", f'runs = "{elsewhere.parent}"\n[formats.vllm]')
    )
    project.commit()
    project.tag("v1.0.0")
    config = load_config(project.folder / "models" / "release.toml", {})
    before = disk_state(config, elsewhere)
    configure(elsewhere, r=64)
    assert changed(project, folder="models", recorded=lambda release: before) == [(MAJOR, CONFIG)]


def test_paths_of_a_format(project: GitFolder, run: Path) -> None:
    """Where a format's `paths` leave out the runs, its model changes do not count; where they have them, they do."""
    configure(run, r=64)
    for paths, counted in (('["gguf"]', []), ('["gguf", "adapters"]', [(MAJOR, CONFIG)])):
        policy = f'stream = "ollama-v{{version}}"\npaths = {paths}\n'
        project.write("release.toml", POLICY.replace("[formats.ollama]\n", f"[formats.ollama]\n{policy}"))
        project.git("tag", "--force", "ollama-v1.0.0", "v1.0.0")
        project.commit()
        config = load_config(project.folder / "release.toml", {})
        with Repository(config.root) as opened:
            line = line_of(config, choose_stream(config, "ollama"), opened)
            coming = gather(config, opened, line.stream, opened.head(), run=run)
        assert [(change.part, change.file) for change in coming.model_changes()] == counted
        assert changed(project) == [(MAJOR, CONFIG)]


# Runs that are not in git


@pytest.fixture
def ignored(repository: GitFolder, write_run: WriteRun) -> Path:
    """The run of a released project whose runs are gitignored."""
    repository.write("release.toml", POLICY)
    repository.write(".gitignore", "adapters/\n")
    repository.commit()
    repository.tag("v1.0.0")
    return write_run(repository.folder / "adapters" / RUN)


def manifest_of(repository: GitFolder, run: Path) -> Mapping[str, Any]:
    """A run's state as a manifest has it, after JSON."""
    state = disk_state(load_config(repository.folder / "release.toml", {}), run)
    document: Mapping[str, Any] = json.loads(json.dumps(state.document()))
    return document


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ({}, False, []),
        ({"alpha_pattern": {}, "bias": "none"}, False, []),
        ({}, True, [(MINOR, WEIGHTS)]),
        ({"r": 8, "target_modules": ["b", "a"]}, False, [(MAJOR, CONFIG), (MAJOR, CONFIG)]),
        ({"base_model_name_or_path": "acme/other"}, True, [(MAJOR, CONFIG), (MINOR, WEIGHTS)]),
    ],
)
def test_manifest(
    repository: GitFolder, ignored: Path, values: dict[str, Any], weights: bool, expected: list[tuple[Part, str]]
) -> None:
    """Runs that are not in git are held against what the last release's manifest says, once it went through JSON."""
    recorded = manifest_of(repository, ignored)
    configure(ignored, **values)
    if weights:
        (ignored / WEIGHTS).write_bytes((ignored / WEIGHTS).read_bytes() + b" ")
    assert changed(repository, recorded=lambda release: ModelState(**recorded)) == expected


def test_no_manifest(repository: GitFolder, ignored: Path) -> None:
    """Where nothing tells of the last release's model, the present one is known and nothing is compared."""
    model = gathered(repository).model
    assert model is not None
    assert (model[0], model[1].run) == (None, RUN)
    assert changed(repository) == []


def test_run_that_is_committed_later(repository: GitFolder, ignored: Path) -> None:
    """A run that is in git now, and was not then, is compared by the manifest."""
    recorded = manifest_of(repository, ignored)
    (repository.folder / ".gitignore").unlink()
    configure(ignored, r=8)
    repository.commit()
    assert changed(repository, recorded=lambda release: ModelState(**recorded)) == [(MAJOR, CONFIG)]


def test_no_model_of_an_old_release(repository: GitFolder, ignored: Path) -> None:
    """Of an old release whose run is not in git, the run that is on disk now says nothing."""
    repository.commit("Later")
    assert gathered(repository, at="v1.0.0", version="1.0.0").model is None


# Weights that are not in git


def test_base_whose_weights_are_not_in_git(project: GitFolder, base: Path) -> None:
    """Where runs are committed and a base's weights are not, the last release's manifest tells that those changed: the
    merged model would have others than the adapter's base of that name."""
    project.write(".gitignore", "base/*.safetensors\n")
    project.git("rm", "--cached", "--quiet", "base/model.safetensors")
    project.commit()
    project.tag("v1.2.0")
    recorded = manifest_of(project, project.folder / "adapters" / RUN)
    assert changed(project, recorded=lambda release: ModelState(**recorded)) == []
    (base / "model.safetensors").write_text("Weights")  # of the same size
    assert changed(project, recorded=lambda release: ModelState(**recorded)) == [(MAJOR, "base/model.safetensors")]
    assert changed(project) == []  # nothing tells what they were


def test_base_outside_of_the_repository(project: GitFolder, run: Path, tmp_path: Path) -> None:
    """So it is with a base elsewhere on the disk."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/config.json").write_text("{}")
    weights = tmp_path / "elsewhere/model.safetensors"
    weights.write_text("weights")
    project.write("release.toml", POLICY + LOCAL_BASE.replace('"base"', f'"{tmp_path}/elsewhere"'))
    configure(run, base_model_name_or_path=BASE)
    project.commit()
    project.tag("v1.1.0")
    recorded = manifest_of(project, run)
    weights.write_text("Weights")
    assert changed(project, recorded=lambda release: ModelState(**recorded)) == [(MAJOR, "base/model.safetensors")]


def test_manifest_without_the_weights_of_the_base(project: GitFolder, base: Path) -> None:
    """A manifest of an older tagship, which did not tell of a base's weights, says nothing of them."""
    project.write(".gitignore", "base/*.safetensors\n")
    project.git("rm", "--cached", "--quiet", "base/model.safetensors")
    project.commit()
    project.tag("v1.2.0")
    recorded = manifest_of(project, project.folder / "adapters" / RUN)
    older = {**recorded, "base_files": {"config.json": recorded["base_files"]["config.json"], "x.index.json": "?"}}
    assert changed(project, recorded=lambda release: ModelState(**older)) == []
    (base / "config.json").write_text('{"layers": 2}')
    assert changed(project, recorded=lambda release: ModelState(**older)) == [(MAJOR, "base/config.json")]


def test_same_state_on_disk_and_in_git(project: GitFolder, run: Path, base: Path) -> None:
    """A run in git and the same on disk are the same model but for how files are hashed."""
    model = gathered(project).model
    assert model is not None
    on_disk = disk_state(load_config(project.folder / "release.toml", {}), run)
    left_out = ("base_files", "tokenizer", "weights")
    one, other = ({k: v for k, v in it.document().items() if k not in left_out} for it in (model[1], on_disk))
    assert one == other
    assert list(changes(on_disk, on_disk)) == []
