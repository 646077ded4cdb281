"""What exports are made from, of models and adapters that tests have made."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagship.formats.protocol import ExportJob, ExportPolicy, Lineage
from tagship.naming.variant import Variant
from tagship.runs.base_folder import BaseFolder
from tagship.runs.run import Run
from tagship.system.templating import Templates
from tagship.weights.adapter_config import read_adapter_config


def job_of(base: Path, run: Path, *, variant: Variant, settings: Any = None, relation: str = "finetune") -> ExportJob:
    """The export of a run of a base, in folders beside each other, without a version."""
    return ExportJob(
        lineage=Lineage(parent="acme/base", relation=relation),
        run=Run(name="run", path=run, adapter=read_adapter_config(run), fields={}, recorded={}),
        base=BaseFolder(id="org/phi-3", path=base, revision=None, license="mit"),
        variant=variant,
        settings=settings,
        policy=ExportPolicy(),
        title="title",
        repo_id="org/title",
        version=None,
        moment=datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC),
        namespace="org",
        templates=Templates(base.parent),
    )
