"""A release whose units are jobs of Hugging Face, by the unmodified client, on a Hub of the tests."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.end_to_end.conftest import Project
from tests.fleet.jobs_hub import JobsHub

RESULTS = "hf://datasets/acme/results"


@pytest.mark.long
def test_release(make_project: Callable[[], Project], tmp_path: Path) -> None:
    """Each unit is one job, which gets the token as a secret and nothing else of this machine's; one that ends without
    a word is started again, and its log is told. The results are in a private repo, the release is published, and a
    second time no job is started."""
    project = make_project()
    project.replace("release.toml", "[verify]\n", '[fleet]\ninstall = "pip install it"\n\n[verify]\n')
    project.git("commit", "--quiet", "--all", "--message=feat: have jobs")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    with JobsHub(tmp_path, failing={0}) as hub:
        api = HfApi(endpoint=hub.url, token="hf_writer")
        api.create_repo("acme/results", repo_type="dataset", private=True)
        variables = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_writer"}
        options = ("--on", "hf-jobs", "--format", "vllm", "--format", "lora")
        refused = project.invoke("release", *options, **variables)
        assert refused.code == 2 and "see no folder of this machine" in refused.stderr
        done = project.invoke("release", *options, "--results", RESULTS, "--json", **variables)
        assert done.code == 0, done.stderr
        assert "out of memory" in done.stderr and done.stderr.count("(it is done again)") == 1, done.stderr
        assert sorted(unit["tries"] for unit in done.document["fleet"]["units"]) == [1, 2]
        assert len(hub.specs) == 3
        for spec in hub.specs:
            assert spec["dockerImage"] == "python:3.12" and spec["timeoutSeconds"] == 6 * 3600
            assert spec["secrets"] == {"HF_TOKEN": "hf_writer"} and "hf_writer" not in str(spec["command"])
            assert spec["command"][2].startswith("pip install it && exec python -m tagship.fleet.job hf://")
        assert {tag.name for tag in api.list_repo_refs("acme/phi3avro-minimal-vllm-v1.0.0").tags} == {"v1.0.0"}
        again = project.invoke("release", *options, "--results", RESULTS, "--json", **variables)
        assert again.code == 0, again.stderr
        assert len(hub.specs) == 3
        commits = [[entry["commit"] for entry in each.document["formats"]] for each in (done, again)]
        assert commits[0] == commits[1]


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize(
    ("number", "told", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_ended(make_project: Callable[[], Project], tmp_path: Path, number: int, told: str, code: int) -> None:
    """Ctrl-C and SIGTERM cancel the jobs that were started, and one line says that it was ended."""
    project = make_project()
    project.replace("release.toml", "[verify]\n", '[fleet]\ninstall = "exec sleep 600"\n\n[verify]\n')
    project.git("commit", "--quiet", "--all", "--message=feat: have jobs")
    project.git("tag", "v1.0.0", "--message", "Release v1.0.0")
    with JobsHub(tmp_path) as hub:
        HfApi(endpoint=hub.url, token="hf_writer").create_repo("acme/results", repo_type="dataset", private=True)
        running = subprocess.Popen(
            project.command("release", "--on", "hf-jobs", "--format", "vllm", "--format", "lora", "--results", RESULTS),
            cwd=project.folder,
            env={**project.environment, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_writer"},
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(hub.specs) < 2:
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.1)
        time.sleep(0.5)  # until both answers were read, perhaps: a job whose answer was not is cancelled, too
        running.send_signal(number)
        try:
            said = running.communicate(timeout=60)[1]
        finally:
            running.kill()
        assert running.returncode == code and "Traceback" not in said, said
        assert said.strip().splitlines()[-2].strip() == f"error: {told}", said
        assert hub.cancelled == {0, 1}, said
