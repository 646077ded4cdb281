"""The two programs, `tagship` and `invoke`, in processes of their own: help, lists, completion, mistakes."""

import fcntl
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import GitFolder, InstallPackage

REPOSITORY = Path(__file__).parents[2]
TAGSHIP = [sys.executable, "-c", "import sys; sys.argv[0] = 'tagship'; from tagship.cli.program import main; main()"]
INVOKE = [sys.executable, "-m", "invoke"]
STRANGER = """
from invoke import task
from tagship.cli.program import collection

@task
def train(context):
    \"\"\"Train it.\"\"\"

namespace = collection()
namespace.add_task(train)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(project: GitFolder) -> Run:
    """A function that runs a program in a stranger's project, which has tasks of its own."""
    project.write("tasks.py", STRANGER)

    def run(program: list[str], *line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*program, *line],
            cwd=project.folder,
            env={**os.environ, "COLUMNS": "80", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("program", "line"), [(TAGSHIP, ["--help"]), (TAGSHIP, ["--list"]), (INVOKE, []), (INVOKE, ["--list"])]
)
def test_help_begins_with_the_verbs(run: Run, program: list[str], line: list[str]) -> None:
    """Verbs stand in groups, in the order of a release, before any option; those of tagship's own repository are not
    shown to strangers, whose own tasks come last."""
    for columns in (60, 80, 120):
        done = run(program, *line, COLUMNS=str(columns))
        assert done.returncode == 0, done.stderr
        shown = done.stdout.splitlines()
        assert shown.index("Release") < shown.index("Parts of a release") < shown.index("What was released")
        assert shown.index("Release") <= 6
        verbs = [text.split()[0] for text in shown if text.startswith("  ") and not text.startswith("   ")]
        assert verbs.index("release") < verbs.index("plan") < verbs.index("export") < verbs.index("audit")
        assert not {"test", "bench", "lint-code"} & set(verbs)
        assert ("Of this repository" in shown) == ("train" in verbs) == (program is INVOKE)
        assert max(map(len, shown)) <= columns
        assert all(text == text.rstrip() for text in shown)


def test_help_of_a_verb(run: Run) -> None:
    """It can be asked for before and behind the verb, also of one that takes a word, and shows its options."""
    for program in (TAGSHIP, INVOKE):
        helps = {run(program, *line).stdout for line in (["--help", "tag"], ["tag", "--help"], ["tag", "-h"])}
        (shown,) = helps
        assert shown.startswith(f"Usage: {'tagship' if program is TAGSHIP else 'invoke'} tag NAME [OPTIONS]\n\n  Check")
        assert "  --push" in shown and "--message MESSAGE" in shown
    assert "release [TAG] [OPTIONS]" in run(TAGSHIP, "release", "--help").stdout


def test_own_tasks_of_the_repository() -> None:
    """Who works on tagship has its tasks, too."""
    done = subprocess.run([*INVOKE, "--list"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "lint-code" in done.stdout.partition("Of this repository")[2]


@pytest.mark.parametrize("program", [TAGSHIP, INVOKE])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("relase", "there is no verb 'relase': did you mean release?"),
        ("release --formt vllm", "release has no option --formt: did you mean --format?"),
        ("release --format=vllm --qant q8_0", "release has no option --qant: did you mean --quant?"),
        ("tag --psh v1.0.0", "tag has no option --psh: did you mean --push?"),
        ("release v1.0.0 pln", "release does not take 'pln', and no verb has that name: did you mean plan?"),
        ("release --tag", "--tag needs a value"),
        ("plan --base", "--base needs a value"),
        ("tag", "tag needs a name"),
        ("--help relase", "there is no verb 'relase': did you mean release?"),
        ("--bogus release", "there is no option --bogus before a verb"),
        ("--hub embedded release", "--hub stands before the verb"),
    ],
)
def test_mistakes(run: Run, program: list[str], line: str, words: str) -> None:
    """What was probably meant is named, and the exit code is that of a mistake; with --json it is a document, too."""
    done = run(program, *line.split(), COLUMNS="200")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {words}" in done.stderr and "Traceback" not in done.stderr
    assert f"remedy: {'tagship' if program is TAGSHIP else 'invoke'}" in done.stderr or "put it behind" in done.stderr


def test_mistake_as_a_document(run: Run) -> None:
    """With --json a mistake of the command line and one of the policy are documents with what mends them."""
    for line, words in (
        ("release --json --formt x", "release has no option --formt"),
        ("plan --json --config no.toml", "no no.toml"),
    ):
        done = run(TAGSHIP, *line.split())
        document = json.loads(done.stdout)
        assert (done.returncode, document.keys()) == (2, {"error", "remedy"})
        assert words in document["error"] and document["remedy"]


@pytest.mark.parametrize("program", [TAGSHIP, INVOKE])
def test_policy_before_the_verb(run: Run, project: GitFolder, program: list[str]) -> None:
    """--config means the policy wherever it stands."""
    (project.folder / "release.toml").rename(project.folder / "other.toml")
    for line in (
        ["--config", "other.toml", "runs"],
        ["runs", "--config", "other.toml"],
        ["--config=other.toml", "runs"],
    ):
        done = run(program, *line)
        assert (done.returncode, "phi3mini4k" in done.stdout) == (0, True), done.stderr
    assert run(program, "--config", "none.toml", "runs").returncode == 2


def test_invoke_s_own_configuration(run: Run, project: GitFolder) -> None:
    """What Invoke reads as its own configuration stays that."""
    project.write("invoke-own.yaml", "run: {echo: true}\n")
    assert run(INVOKE, "--config", "invoke-own.yaml", "runs").returncode == 0


def test_tag_as_a_word(run: Run) -> None:
    """`version`, `plan` and `release` take the tag as a word; the name of a task is the next task."""
    for line in (
        ["version", "v2.0.0"],
        ["version", "--tag", "v2.0.0"],
        ["version", "--config", "release.toml", "v2.0.0"],
    ):
        assert run(TAGSHIP, *line).stdout == "2.0.0\n"
    for verb in ("plan", "release"):
        done = run(TAGSHIP, verb, "v9.9.9")
        assert (done.returncode, "there is no tag v9.9.9" in done.stderr.replace("'", "")) == (1, True)
    both = run(TAGSHIP, "version", "v2.0.0", "version", "v3.0.0")
    assert both.stdout == "2.0.0\n3.0.0\n"
    chained = run(TAGSHIP, "plan", "runs")
    assert chained.returncode == 0 and "phi3mini4k" in chained.stdout


def test_messages_name_the_program(run: Run) -> None:
    """What a message says to call is the program that was called."""
    assert "remedy: tagship version --tag v1.0.0" in run(TAGSHIP, "version").stderr
    assert "remedy: invoke version --tag v1.0.0" in run(INVOKE, "version").stderr


@pytest.mark.parametrize("program", [TAGSHIP, INVOKE], ids=["tagship", "invoke"])
def test_compiled_once(run: Run, tmp_path: Path, program: list[str]) -> None:
    """What a command compiles of tagship is kept for the next one, which Invoke by itself forbids; not where Python is
    told to keep nothing."""
    kept = {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert run(program, "plan", **kept, PYTHONDONTWRITEBYTECODE="1").returncode == 0
    assert not list(tmp_path.rglob("*.pyc"))
    assert run(program, "plan", **kept, PYTHONDONTWRITEBYTECODE="").returncode == 0
    assert [path for path in tmp_path.rglob("steps.*.pyc") if path.parent.name == "release"]


def test_libraries_keep_to_themselves(run: Run, install_package: InstallPackage) -> None:
    """What other packages warn of, or log, is not printed; who asks for it by Python's own means gets it."""
    text = (
        "import logging, warnings\nfrom tagship.formats.options import FormatOption\n"
        "warnings.warn('a library warns')\nlogging.getLogger('library').warning('Unknown RoPE type: x')\n"
        "BITS = FormatOption(help='how many bits', format='vllm')\n"
    )
    install_package("bits_options", text, {"tagship.options": "bits = bits_options:BITS"})
    for program in (TAGSHIP, INVOKE):
        done = run(program, "plan", "--bits", "4")
        assert "Plan" in done.stderr and "Unknown RoPE" not in done.stderr and "warns" not in done.stderr
    assert "a library warns" in run(TAGSHIP, "runs", PYTHONWARNINGS="default").stderr


@pytest.mark.parametrize(
    ("line", "environment", "code", "words"),
    [
        ("hub --port 99999", {}, 2, "--port must be a number from 0 to 65535, not '99999'"),
        ("hub --port -1", {}, 2, "--port must be a number"),
        ("hub --port http", {}, 2, "--port must be a number"),
        ("hub --port ²", {}, 2, "--port must be a number"),
        ("plan", {"SOURCE_DATE_EPOCH": "9" * 30}, 2, "SOURCE_DATE_EPOCH is after the year 9999"),
        ("plan", {"SOURCE_DATE_EPOCH": "9" * 5000}, 2, "SOURCE_DATE_EPOCH is after the year 9999"),
        ("plan", {"SOURCE_DATE_EPOCH": "-1"}, 2, "SOURCE_DATE_EPOCH must be seconds since 1970"),
        ("plan", {"SOURCE_DATE_EPOCH": "tomorrow"}, 2, "SOURCE_DATE_EPOCH must be seconds since 1970"),
        ("plan", {"SOURCE_DATE_EPOCH": "²"}, 2, "SOURCE_DATE_EPOCH must be seconds since 1970"),
        ("plan --config adapters", {}, 2, "adapters cannot be read: Is a directory"),
        ("audit --hub http://127.0.0.1:9", {"HF_TOKEN": "hf_ключ"}, 1, "the token of the Hub has characters"),
        ("audit --hub http://127.0.0.1:9", {"HF_TOKEN": "hf_a b"}, 1, "the token of the Hub has characters"),
    ],
)
def test_what_a_user_can_do(run: Run, line: str, environment: dict[str, str], code: int, words: str) -> None:
    """What is wrong outside of the files is one message, too."""
    done = run(TAGSHIP, *line.split(), COLUMNS="200", **environment)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_dry_runs_say_what_they_would_do(run: Run, project: GitFolder) -> None:
    """`bump`, `tag` and `notes` say what they leave undone, and leave it."""
    project.write("CHANGELOG.md", "# Changelog\n\n## v0.1.0\n\n- It.\n")
    project.commit("feat: it")
    before = project.git("status", "--short")
    for line in ("tag v0.1.0 --dry-run", "bump --tag --dry-run", "--dry tag v0.1.0"):
        done = run(TAGSHIP, *line.split())
        assert (done.returncode, " would be tagged as v0.1.0" in done.stderr) == (0, True), done.stderr
    project.write("CHANGELOG.md", "# Changelog\n")
    written = run(TAGSHIP, "notes", "--write", "--dry-run")
    assert "The entry for 0.1.0 would be written into CHANGELOG.md" in written.stderr
    assert "### Changed" in written.stdout
    assert project.git("tag") == ""
    project.git("checkout", "--quiet", "CHANGELOG.md")
    assert project.git("status", "--short") == before


def test_port_that_is_taken(run: Run) -> None:
    """A port that somebody listens on is told with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(TAGSHIP, "hub", "--port", str(port), COLUMNS="200")
    assert done.returncode == 1
    assert (
        f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr and "Traceback" not in done.stderr
    )


def test_dates(run: Run, project: GitFolder) -> None:
    """Dates in a document are ISO 8601."""
    (found,) = json.loads(run(TAGSHIP, "runs", "--json").stdout)
    assert found["trained"] == "2025-09-14T13:24:16+00:00"


def test_list_that_nobody_reads_to_its_end(run: Run, project: GitFolder) -> None:
    """A pipe that is closed is no traceback."""
    for program in ([sys.executable, "-m", "invoke", "--list"], [*TAGSHIP, "--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            program, cwd=project.folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writing)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_plan_in_a_terminal(project: GitFolder, columns: int) -> None:
    """No line is padded, no name is broken, and nothing but names is wider than the terminal; paths begin where one
    stands."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "CI")}
    started = subprocess.Popen(
        [*TAGSHIP, "plan", "--at", "20250915-124051"],
        cwd=project.folder,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1"},
        stderr=slave,
        stdout=subprocess.DEVNULL,
        stdin=slave,
    )
    os.close(slave)
    seen = b""
    try:
        while block := os.read(master, 65536):
            seen += block
    except OSError:  # how Linux tells that the other end is closed
        pass
    os.close(master)
    assert started.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()).replace("\r\n", "\n")
    lines = text.splitlines()
    assert all(line == line.rstrip() for line in lines)
    name = "phi3mini4k-minimal-r32-a64-e20-20250914-132416"
    assert f"    exports/{name}-vllm-20250915-124051" in lines
    assert f"    dist/vllm-{name}.tar.gz" in lines
    assert f"    acme/{name}-vllm-20250915-124051" in lines
    assert all(len(line) <= columns or len(line.split()) == 1 for line in lines)


def test_completion(run: Run, project: GitFolder) -> None:
    """Verbs, options, and values of the project, for the word that the line ends with."""
    project.tag("v1.0.0")
    project.tag("v$(touch,hacked)")
    for words, wanted in (
        (["rel"], ["release"]),
        (["release", "--for"], ["--format"]),
        (["release", "--format", ""], ["vllm", "ollama", "lora"]),
        (["release", "--format", "vllm", "--quant", "q5"], ["q5_k_m", "q5_k_s"]),
        (["release", "v"], ["v1.0.0"]),
        (["rollback", "--to", ""], ["v1.0.0"]),
        (["plan", "--run", ""], ["phi3mini4k-minimal-r32-a64-e20-20250914-132416"]),
        (["bump", "--stream", "mod"], ["model"]),
        (["runs", "--config", ""], []),
    ):
        done = run(TAGSHIP, "--complete", "--", "tagship", *words)
        assert (done.returncode, done.stdout.split()) == (0, wanted), words
    assert "--format" in run(INVOKE, "--complete", "--", "invoke", "release").stdout.split()
    policy = (project.folder / "release.toml").read_text()
    (project.folder / "out1" / "night" / "checkpoint-200").mkdir(parents=True)
    (project.folder / "out1" / "night" / "checkpoint-200" / "adapter_config.json").write_text("{}")
    (project.folder / "release.toml").write_text(policy.replace("[project]", '[project]\nruns = "out?/*/check*"'))
    assert run(TAGSHIP, "--complete", "--", "tagship", "plan", "--run", "").stdout.split() == ["night"]
    (project.folder / "release.toml").write_text("[formats")
    broken = run(TAGSHIP, "--complete", "--", "tagship", "release", "--format", "")
    assert (broken.returncode, broken.stdout.strip(), broken.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_completion_script(run: Run, project: GitFolder, tmp_path: Path) -> None:
    """Bash gets what begins as its word does; a shell that is not known is a mistake."""
    program = tmp_path / "bin" / "tagship"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom tagship.cli.program import main\nmain()\n")
    program.chmod(0o755)
    script = run(TAGSHIP, "--print-completion-script", "bash").stdout
    asked = (
        f'{script}\nCOMP_WORDS=(tagship release --format v) COMP_CWORD=3\n_complete_tagship\necho "${{COMPREPLY[@]}}"'
    )
    # Other names are on the path before ours.
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = run(["bash", "-c", asked], PATH=path)
    assert (done.stdout, done.stderr) == ("vllm\n", "")
    for shell in ("zsh", "fish"):
        assert "tagship --complete --" in run(TAGSHIP, "--print-completion-script", shell).stdout
    assert run(TAGSHIP, "--print-completion-script", "csh").returncode == 2
