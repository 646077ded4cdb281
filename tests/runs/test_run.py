"""Training runs on disk: which is the newest, and what a run says of itself."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tagship.naming.names import NamingPolicy
from tagship.policy.naming import read_naming
from tagship.runs.places import RunPlaces
from tagship.runs.run import choose_run, find_runs, read_run
from tagship.system.errors import ReleaseError
from tagship.system.toml_reader import Reader

from tests.conftest import PHI3, RUN, WriteRun


def policy(**naming: Any) -> NamingPolicy:
    """The naming policy of a release.toml whose `[naming]` says so much."""
    problems: list[str] = []
    made = read_naming(Reader(naming, "naming", problems))
    assert problems == []
    return made


NAMING = policy()


def record(run: Path, name: str = "experiment_metadata.json", **recorded: Any) -> Path:
    (run / name).write_text(json.dumps(recorded), encoding="utf-8")
    return run


def names(folder: Path) -> list[str]:
    return [path.name for path in find_runs(RunPlaces.of(folder), NAMING)]


def test_newest_by_the_date_in_the_name(tmp_path: Path, write_run: WriteRun) -> None:
    """The newest run is the one whose name has the last date, whatever its name begins with and the files' times."""
    dates = ["20250101-000000", "20250914-132416", "20250914-132415"]
    for letter, date in zip("zab", dates, strict=True):
        write_run(tmp_path / f"{letter}-minimal-r32-a64-e20-{date}")
    newest = tmp_path / f"a-minimal-r32-a64-e20-{dates[1]}"
    os.utime(newest, (0, 0))
    assert [name[-15:] for name in names(tmp_path)] == [dates[1], dates[2], dates[0]]
    assert choose_run(RunPlaces.of(tmp_path), NAMING, None) == newest


def test_newest_by_the_recorded_date(tmp_path: Path, write_run: WriteRun) -> None:
    """A run whose name has no date is as old as its trainer recorded, beside those with dates in their names."""
    write_run(tmp_path / RUN)
    record(write_run(tmp_path / "earlier"), trained="2025-09-14T13:24:15")
    record(write_run(tmp_path / "later"), trained="2025-09-14T15:24:17+02:00")
    assert names(tmp_path) == ["later", RUN, "earlier"]


def test_newest_without_any_date(tmp_path: Path, write_run: WriteRun) -> None:
    """Runs that nobody dated go by their folders' times, and come after those that are dated."""
    write_run(tmp_path / RUN)
    for name, time in (("old", 1_000), ("new", 3_000), ("middle", 2_000)):
        os.utime(write_run(tmp_path / name), (time, time))
    assert names(tmp_path) == [RUN, "new", "middle", "old"]


def test_other_folders_are_no_runs(tmp_path: Path, write_run: WriteRun) -> None:
    """Files, and folders that neither have an adapter nor are named as a run, are no runs."""
    write_run(tmp_path / "run")
    (tmp_path / "logs").mkdir()
    (tmp_path / "README.md").write_text("x")
    assert names(tmp_path) == ["run"]


def test_unfinished_newest_run_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    """The newest run without an adapter is chosen and refused by name, and never passed over for an older one."""
    write_run(tmp_path / RUN)
    unfinished = tmp_path / RUN.replace("20250914", "20250915")
    unfinished.mkdir()
    chosen = choose_run(RunPlaces.of(tmp_path), NAMING, None)
    assert chosen == unfinished
    with pytest.raises(ReleaseError, match=r"20250915-132416 has no adapter_config\.json") as caught:
        read_run(chosen, NAMING)
    assert "finish the training" in str(caught.value.remedy)


def test_no_runs(tmp_path: Path) -> None:
    """Where there is no run, or not even the folder, the error says where runs were looked for."""
    for folder in (tmp_path, tmp_path / "missing"):
        assert find_runs(RunPlaces.of(folder), NAMING) == []
        with pytest.raises(
            ReleaseError, match=f"no training run found: there is no folder {folder}/\\* with an adapter_config.json$"
        ) as caught:
            choose_run(RunPlaces.of(folder), NAMING, None)
        assert "--run" in str(caught.value.remedy)


def test_run_by_name(tmp_path: Path, write_run: WriteRun) -> None:
    """--run chooses an older run by its name."""
    older = write_run(tmp_path / "adapters" / RUN)
    write_run(tmp_path / "adapters" / RUN.replace("20250914", "20250915"))
    assert choose_run(RunPlaces.of(tmp_path / "adapters"), NAMING, RUN) == older


def test_run_by_path(tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """--run chooses a folder anywhere by its path, absolute or from where one is."""
    elsewhere = write_run(tmp_path / "elsewhere" / "mine")
    monkeypatch.chdir(tmp_path)
    for wanted in (str(elsewhere), "elsewhere/mine", "elsewhere/mine/"):
        assert choose_run(RunPlaces.of(tmp_path / "adapters"), NAMING, wanted) == elsewhere


def test_run_by_link(tmp_path: Path, write_run: WriteRun) -> None:
    """A link to a run, such as `latest`, is the run under its own name."""
    run = write_run(tmp_path / "adapters" / RUN)
    (tmp_path / "adapters" / "latest").symlink_to(RUN)
    assert choose_run(RunPlaces.of(tmp_path / "adapters"), NAMING, "latest") == run


def test_no_such_run(tmp_path: Path, write_run: WriteRun) -> None:
    """A run that is not there is told, with those that are."""
    write_run(tmp_path / RUN)
    with pytest.raises(ReleaseError, match="there is no training run 'typo'") as caught:
        choose_run(RunPlaces.of(tmp_path), NAMING, "typo")
    assert RUN in str(caught.value.remedy)


def test_fields_of_the_name(tmp_path: Path, write_run: WriteRun) -> None:
    """A run that is named by the policy has its fields from its name."""
    run = read_run(write_run(tmp_path / RUN), NAMING)
    assert run.name == RUN
    assert run.adapter.base_model == PHI3
    assert run.fields == {
        "base": "phi3mini4k",
        "dataset": "minimal",
        "rank": 32,
        "alpha": 64,
        "epochs": 20,
        "trained": datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC),
    }


def test_fields_of_the_record(tmp_path: Path, write_run: WriteRun) -> None:
    """A run of another name has its fields from the adapter and from what was recorded."""
    path = record(write_run(tmp_path / "mine"), dataset={"name": "minimal"}, epochs=3.0, trained="2025-09-14T13:24:16")
    run = read_run(path, NAMING)
    assert run.fields == {
        "dataset": "minimal",
        "rank": 32,
        "alpha": 64,
        "epochs": 3,
        "trained": datetime(2025, 9, 14, 13, 24, 16, tzinfo=UTC),
    }
    assert run.recorded["dataset"] == {"name": "minimal"}


def test_name_goes_before_the_record(tmp_path: Path, write_run: WriteRun) -> None:
    """Where name and record differ, the name has it, as everything else is named after it."""
    path = record(write_run(tmp_path / RUN), dataset="other", epochs=1)
    assert read_run(path, NAMING).fields["dataset"] == "minimal"
    assert read_run(path, NAMING).fields["epochs"] == 20


def test_record_of_the_trainer(tmp_path: Path, write_run: WriteRun) -> None:
    """Without metadata of our own, what transformers' Trainer wrote is read."""
    path = record(
        write_run(tmp_path / "mine"),
        "trainer_state.json",
        num_train_epochs=20,
        train_batch_size=4,
        global_step=160,
        log_history=[{"loss": 2.0}, {"loss": 0.5}, {"train_runtime": 9}],
    )
    run = read_run(path, NAMING)
    assert run.recorded == {"epochs": 20, "batch_size": 4, "steps": 160, "train_loss": 0.5}
    assert run.fields["epochs"] == 20


def test_nothing_recorded(tmp_path: Path, write_run: WriteRun) -> None:
    """A run without any record is a run."""
    run = read_run(write_run(tmp_path / "mine"), NAMING)
    assert (run.recorded, run.fields) == ({}, {"rank": 32, "alpha": 64})


@pytest.mark.parametrize(
    ("adapter", "problem"),
    [
        ({"rank": 16}, "says rank 32, its adapter_config.json says 16"),
        ({"alpha": 16}, "says alpha 64, its adapter_config.json says 16"),
        ({"alpha": 64.5}, "says alpha 64, its adapter_config.json says 64.5"),
    ],
)
def test_name_and_adapter_disagree(tmp_path: Path, write_run: WriteRun, adapter: Any, problem: str) -> None:
    """A run whose name tells another rank or alpha than its adapter has is refused."""
    with pytest.raises(ReleaseError) as caught:
        read_run(write_run(tmp_path / RUN, **adapter), NAMING)
    assert problem in str(caught.value)
    assert "rename" in str(caught.value.remedy)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
@pytest.mark.parametrize("file", ["experiment_metadata.json", "trainer_state.json", "adapter_config.json"])
def test_broken_json(tmp_path: Path, write_run: WriteRun, file: str, text: str) -> None:
    """A file that is no JSON object is refused by its name."""
    run = write_run(tmp_path / RUN)
    (run / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(ReleaseError, match=file):
        read_run(run, NAMING)


@pytest.mark.parametrize(
    "recorded",
    [{"trained": "yesterday"}, {"trained": None}, {"dataset": 3}, {"dataset": {"size": 3}}, {"epochs": "many"}],
)
def test_record_that_says_nothing(tmp_path: Path, write_run: WriteRun, recorded: dict[str, Any]) -> None:
    """What a record says in another form than ours gives no field."""
    run = read_run(record(write_run(tmp_path / "mine"), **recorded), NAMING)
    assert run.fields == {"rank": 32, "alpha": 64}


@pytest.mark.parametrize("epochs", [float("nan"), float("inf"), True])
def test_epochs_that_are_no_number(tmp_path: Path, write_run: WriteRun, epochs: Any) -> None:
    """Epochs that no name could tell are no field."""
    run = read_run(record(write_run(tmp_path / "mine"), epochs=epochs), NAMING)
    assert "epochs" not in run.fields


def test_broken_record_does_not_hide_a_run(tmp_path: Path, write_run: WriteRun) -> None:
    """A run with a broken record is listed, and refused when it is read."""
    (write_run(tmp_path / "mine") / "experiment_metadata.json").write_text("{")
    assert names(tmp_path) == ["mine"]


# Runs in any shape


def test_checkpoints_of_trainers(tmp_path: Path, write_run: WriteRun) -> None:
    """`outputs/*/checkpoint-*`: of a run's checkpoints the last is the newest, by number and not by letters; what the
    run is called and recorded is each checkpoint's, too."""
    run = tmp_path / "outputs" / RUN
    for step in (9, 40):
        write_run(run / f"checkpoint-{step}")
    write_run(tmp_path / "outputs" / RUN.replace("20250914", "20250913") / "checkpoint-100")
    record(run, dataset="minimal", seed=7)
    places = RunPlaces.of(tmp_path / "outputs/*/checkpoint-*")
    assert [path.name for path in find_runs(places, NAMING)] == ["checkpoint-40", "checkpoint-9", "checkpoint-100"]
    found = read_run(choose_run(places, NAMING, None), NAMING)
    assert (found.name, found.recorded["seed"], found.fields["epochs"]) == (RUN, 7, 20)
    for wanted in (RUN, f"{RUN}/checkpoint-40", str(run)):
        assert choose_run(places, NAMING, wanted) == run / "checkpoint-40"
    assert choose_run(places, NAMING, f"{RUN}/checkpoint-9") == run / "checkpoint-9"
    assert choose_run(places, NAMING, "checkpoint-100").parent.name != RUN
    (run / "checkpoint-40" / "experiment_metadata.json").write_text('{"seed": 8}')
    assert read_run(run / "checkpoint-40", NAMING).recorded["seed"] == 8


def test_checkpoints_of_runs_without_a_date(tmp_path: Path, write_run: WriteRun) -> None:
    """Checkpoints of one run go by their numbers, whichever was written last."""
    for step, time in ((100, 1_000), (20, 2_000)):
        os.utime(write_run(tmp_path / "run1" / f"checkpoint-{step}"), (time, time))
    places = RunPlaces.of(tmp_path / "*" / "checkpoint-*")
    assert [path.name for path in find_runs(places, NAMING)] == ["checkpoint-100", "checkpoint-20"]
    assert read_run(tmp_path / "run1" / "checkpoint-100", NAMING).name == "checkpoint-100"


def test_two_runs_of_one_name(tmp_path: Path, write_run: WriteRun) -> None:
    """A name that several runs have is asked for more exactly."""
    for name in ("a", "b"):
        write_run(tmp_path / name / "checkpoint-5")
    places = RunPlaces.of(tmp_path / "*" / "checkpoint-*")
    with pytest.raises(ReleaseError, match="2 training runs are called 'checkpoint-5'") as raised:
        choose_run(places, NAMING, "checkpoint-5")
    assert "a/checkpoint-5" in str(raised.value.remedy)
    assert choose_run(places, NAMING, "b") == tmp_path / "b" / "checkpoint-5"


def test_folder_that_is_itself_the_run(tmp_path: Path, write_run: WriteRun) -> None:
    """`runs` may name the one adapter that there is."""
    run = write_run(tmp_path / "lora-out")
    assert choose_run(RunPlaces.of(run), NAMING, None) == run


def test_no_run_says_where_it_looked(tmp_path: Path, write_run: WriteRun) -> None:
    """With the pattern that would find the adapters which lie deeper."""
    write_run(tmp_path / "outputs" / "run1" / "checkpoint-40")
    with pytest.raises(
        ReleaseError, match=r"no training run found: there is no folder \S*outputs/\* with an"
    ) as raised:
        choose_run(RunPlaces.of(tmp_path / "outputs"), NAMING, None)
    assert str(raised.value.remedy).endswith('[project] runs = "outputs/*/checkpoint-*"')


@pytest.mark.parametrize(
    ("below", "fits"),
    [("run1/checkpoint-2", True), ("run1", False), ("run1/final", False), ("a/b/checkpoint-2", False)],
)
def test_places_in_a_revision(tmp_path: Path, below: str, fits: bool) -> None:
    """What git lists is held against the same pattern."""
    assert RunPlaces.of(tmp_path / "outputs/*/checkpoint-*").fits(below) is fits


def test_epochs_of_a_checkpoint(tmp_path: Path, write_run: WriteRun) -> None:
    """A checkpoint was trained for as many epochs as were done, not as were planned; a part of one is no number for a
    name."""
    for done, known in ((8.0, 8), (8.4, None), (20.0, 20), (None, 20)):
        run = write_run(tmp_path / f"run-{done}")
        record(run, "trainer_state.json", num_train_epochs=20, epoch=done, log_history=None)
        assert read_run(run, NAMING).fields.get("epochs") == known
