"""`invoke name`: what names say, and the names of training runs to come."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tagship.cli.names import described, name, new_name
from tagship.cli.session import open_session
from tagship.release.options import Options
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, UsageError

from tests.conftest import POLICY, RUN, GitFolder, WriteRun
from tests.end_to_end.conftest import AT, NEWEST_RUN, Project

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
SAID = {"dataset": "avro", "rank": "16", "alpha": "32", "epochs": "3"}
PHI3 = "microsoft/Phi-3-mini-4k-instruct"

NewName = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(repository: GitFolder, write_run: WriteRun) -> GitFolder:
    """A project with one run."""
    repository.write("release.toml", POLICY)
    write_run(repository.folder / "adapters" / RUN)
    repository.commit("Train")
    return repository


@pytest.fixture
def new(folder: GitFolder, monkeypatch: pytest.MonkeyPatch) -> NewName:
    """A function that makes a run's name from options and the policy's own fields, at a fixed time."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(NOW.timestamp())))
    monkeypatch.chdir(folder.folder)

    def make(*own: str, base: str | None = None, run: str | None = None, at: Any = None, **said: str) -> dict[str, Any]:
        given = {key: said.get(key) for key in SAID}
        with open_session(None, Options(base=base, run=run, at=at), Console(interactive=False)) as session:
            return new_name(session, given, own)

    return make


def read(folder: GitFolder, given: str) -> dict[str, Any]:
    with open_session(str(folder.folder / "release.toml"), Options(), Console(interactive=False)) as session:
        return name(session, given)


# As users call it


def test_name_of_each_kind(project: Project) -> None:
    """`invoke name NAME` says on one line what a name is, of which format, and its fields."""
    project.replace(
        "release.toml", "[formats.lora]", '[tags]\nsemantic = { pattern = "выпуск/v{version}" }\n[formats.lora]'
    )
    for given, line in (
        ("vllm-adapter-20250915", "artifact of vllm in an older style: prefix=vllm, exported=2025-09-15"),
        ("acme/phi3-avro-vllm-20250915", "repo of vllm in an older style: base=phi3, dataset=avro, label=vllm"),
        (
            f"ollama-q4_k_m-{NEWEST_RUN}-v2.0.0.tar.gz",
            f"artifact of ollama q4_k_m: run={NEWEST_RUN}, ",
        ),
        ("выпуск/v1.0.0-rc.1", "tag: version=1.0.0-rc.1"),
    ):
        done = project.invoke("name", given)
        assert (done.code, done.stderr) == (0, "")
        assert done.stdout.startswith(line) and done.stdout.count("\n") == 1


def test_name_for_training_code(project: Project) -> None:
    """Training code asks for its run's name before it trains, and the run is then found under it."""
    options = (
        "--base",
        "acme/phi3avro",
        "--dataset",
        "avro",
        "--rank",
        "8",
        "--alpha",
        "16",
        "--epochs",
        "3",
        "--at",
        AT,
    )
    done = project.invoke("name", "--new", *options)
    assert (done.code, done.stdout) == (0, f"phi3avro-avro-r8-a16-e3-{AT}\n")
    document = project.invoke("name", "--new", *options, "--json").document
    assert document["name"] == done.stdout.strip()
    assert document["fields"]["trained"] == "2025-09-15T12:40:51+00:00"
    (project.folder / document["path"]).mkdir()
    assert project.invoke("runs", "--json").document[0]["run"] == document["name"]


def test_mistakes(project: Project) -> None:
    """A name that nothing makes ends with 1, a mistake in the options with 2; standard output stays empty."""
    for options, code, words in (
        (("nightly",), 1, "no pattern of release.toml makes the name 'nightly'"),
        (("--bogus",), 2, "name has no option --bogus"),
        (("--new", "--rank", "8"), 2, "--dataset …"),
        (("--new", "--at", "today"), 2, "--at must be YYYYMMDD-HHMMSS"),
    ):
        done = project.invoke("name", *options)
        assert (done.code, done.stdout) == (code, "")
        assert words in done.stderr and "Traceback" not in done.stderr


# What names say


def test_document(folder: GitFolder) -> None:
    """The document has every reading, with its pattern and its fields; dates are ISO 8601."""
    assert read(folder, "phi3-avro-vllm-20250915") == {
        "name": "phi3-avro-vllm-20250915",
        "readings": [
            {
                "what": "repo",
                "style": "older",
                "tagged": False,
                "format": "vllm",
                "quant": None,
                "pattern": "{base}-{dataset}-{label}-{exported:%Y%m%d}",
                "fields": {
                    "base": "phi3",
                    "dataset": "avro",
                    "label": "vllm",
                    "exported": "2025-09-15T00:00:00+00:00",
                },
            }
        ],
    }


def test_two_readings(folder: GitFolder) -> None:
    """A name that two kinds of things may have is described by a line for each."""
    lines = described(read(folder, f"{RUN}-vllm-20250915-124051"))
    assert [line.split(":")[0] for line in lines] == ["export of vllm", "repo of vllm"]


# New names


def test_base_by_its_id(new: NewName) -> None:
    """A base's short name is in the run's name, and the time is now."""
    document = new(base=PHI3, **SAID)
    assert document["name"] == "phi3mini4k-avro-r16-a32-e3-20250915-124051"
    assert document["path"].endswith("/adapters/" + document["name"])


def test_base_by_its_folder(folder: GitFolder, new: NewName) -> None:
    """A base that is given by its folder is known by the policy's id for it."""
    folder.write("bases/phi/config.json", "{}")
    folder.write("release.toml", POLICY + f'[bases."{PHI3}"]\npath = "bases/phi"\n')
    assert new(base="bases/phi", **SAID)["fields"]["base"] == "phi3mini4k"


def test_base_by_another_name(folder: GitFolder, new: NewName) -> None:
    """A quantized form of a base is that base; what nothing knows stands for itself, but for a folder."""
    folder.write("release.toml", POLICY + f'[bases."{PHI3}"]\nquantized = ["other/phi-3-bnb-4bit"]\n')
    assert new(base="other/phi-3-bnb-4bit", **SAID)["fields"]["base"] == "phi3mini4k"
    assert new(base="/models/on/another/Machine", **SAID)["fields"]["base"] == "machine"
    folder.write("bases/phi/config.json", "{}")
    with pytest.raises(ReleaseError, match="nothing says which model on the Hub it is"):
        new(base="bases/phi", **SAID)


def test_from_a_run_s_record(new: NewName) -> None:
    """What --run recorded fills what the options leave open, and they go before it: also the time."""
    assert new(run=RUN)["name"] == RUN
    assert new(run=RUN, rank="8", base="org/Other-Base")["name"] == RUN.replace("r32", "r8").replace(
        "phi3mini4k", "otherbase"
    )
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert new(run=RUN, at=at)["name"] == RUN.replace("20250914-132416", "20260102-030405")


def test_own_fields(folder: GitFolder, new: NewName) -> None:
    """--field gives the policy's own fields."""
    naming = '[naming]\nrun = "{dataset}-s{seed}-{team}"\n[naming.fields]\nseed = "number"\nteam = "word"\n'
    folder.write("release.toml", POLICY + naming)
    assert new("seed=7", "team=search", **SAID)["name"] == "avro-s7-search"
    with pytest.raises(UsageError) as caught:
        new("seed=7", **SAID)
    assert caught.value.remedy == "add --field team=…"
    for own, words in (("seed", "'seed'"), ("sed=7", "did you mean 'seed'"), ("seed=x", "{seed} cannot be 'x'")):
        with pytest.raises(UsageError, match=words):
            new(own, "team=search", **SAID)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({**SAID, "dataset": "two-words"}, "{dataset} cannot be 'two-words'"),
        ({**SAID, "dataset": ""}, "{dataset} cannot be ''"),
        ({**SAID, "rank": "many"}, "{rank} cannot be 'many'"),
        ({**SAID, "epochs": "-1"}, "{epochs} cannot be '-1'"),
        ({**SAID, "alpha": "1.5"}, "{alpha} cannot be '1.5'"),
    ],
)
def test_what_no_name_can_have(new: NewName, said: dict[str, str], words: str) -> None:
    """A value that could not be read back is refused by its field."""
    with pytest.raises(UsageError, match=words):
        new(base=PHI3, **said)


def test_run_that_is_not_there(new: NewName) -> None:
    """A run to take the record from must be there."""
    with pytest.raises(ReleaseError, match="there is no training run 'nowhere'"):
        new(run="nowhere")
