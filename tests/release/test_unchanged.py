"""What exports are made from, changed while they are made: refused where it is another one, and no matter where not."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from tagship.formats.lora import FORMAT
from tagship.formats.protocol import ExportJob
from tagship.history.model import ModelState, read_state
from tagship.release.unchanged import unchanged
from tagship.runs.base import BaseModel
from tagship.runs.folder import DiskFolder
from tagship.system.errors import ReleaseError

from tests import tiny
from tests.formats import jobs

LARGE = "more.safetensors"


@pytest.fixture
def job(tmp_path: Path) -> ExportJob:
    """A run of a base with a file that is no small one."""
    base = tiny.phi3(tmp_path / "base")
    (base / LARGE).write_bytes(os.urandom(2 << 20))
    return jobs.job_of(base, tiny.adapter(base, tmp_path / "run"), variant=FORMAT.variants(None, ())[0])


def states(job: ExportJob, *, local: bool = True) -> Mapping[Path, ModelState]:
    """What the run is made of, of a base in a folder, or of one on the Hub."""
    base = BaseModel(id="acme/base", revision=None, license="mit", path=job.base.path if local else None)
    of_base = DiskFolder(path=job.base.path) if local else None
    return {job.run.path: read_state(job.run.name, DiskFolder(path=job.run.path), base, of_base)}


@pytest.mark.parametrize("name", [LARGE, "config.json", "generation_config.json"])
def test_other_content(job: ExportJob, name: str) -> None:
    """A file with another byte, of the same size and at the same time, is told by its path."""
    path = job.base.path / name
    at = path.stat().st_mtime_ns
    with (
        pytest.raises(ReleaseError, match=rf"{name} changed while") as told,
        unchanged([job], lambda _: states(job)) as of,
    ):
        of(job.run.path)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(at, at))
    assert "run the same command again" in str(told.value.remedy)


def test_gone_or_of_the_run(job: ExportJob) -> None:
    """So is one that is gone, and one of the run."""
    for path in (job.base.path / LARGE, job.run.path / "adapter_model.safetensors"):
        with pytest.raises(ReleaseError, match="changed while"), unchanged([job], lambda _: states(job)) as of:
            of(job.run.path)
            path.unlink()
        path.write_bytes(b"another")


def test_same_content(job: ExportJob) -> None:
    """What was only touched, written again as it was, or is new beside it is no matter."""
    with unchanged([job], lambda _: states(job)) as of:
        of(job.run.path)
        for name in (LARGE, "config.json"):
            path = job.base.path / name
            path.write_bytes(path.read_bytes())
        (job.base.path / "notes.txt").touch()


def test_content_that_nobody_knows(job: ExportJob) -> None:
    """A large file that was written before it was read for its digest may have been another one; so may one of a base
    on the Hub, whose digest is not taken."""

    def late(_: object) -> Mapping[Path, ModelState]:
        (job.base.path / LARGE).touch()
        return states(job)

    with pytest.raises(ReleaseError, match="changed while"), unchanged([job], late):
        pass
    with pytest.raises(ReleaseError, match="changed while"), unchanged([job], lambda _: states(job, local=False)) as of:
        of(job.run.path)
        (job.base.path / LARGE).touch()
