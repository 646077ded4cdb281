"""What people copy to have other schedulers do units."""

import subprocess
from pathlib import Path

import pytest
import yaml

TEMPLATES = Path(__file__).parents[2] / "templates/fleet"


def test_kubernetes() -> None:
    """The indexed job is one, by Kubernetes' own schema, in which nothing that it does not know may stand."""
    # 108 MB of schemas, which is why it is no part of the extra `dev`: pip install kubernetes-validate
    validating = pytest.importorskip("kubernetes_validate")
    job = yaml.safe_load((TEMPLATES / "kubernetes.yaml").read_text())
    validating.validate(job, validating.latest_version(), strict=True)
    assert job["spec"]["completionMode"] == "Indexed"


def test_slurm() -> None:
    """The array's script is one that bash can read."""
    subprocess.run(["bash", "-n", TEMPLATES / "slurm.sh"], check=True)
