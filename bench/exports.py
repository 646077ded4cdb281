"""One export of a run of a base, by a format as releases use it."""

from datetime import UTC, datetime
from pathlib import Path

from tagship.formats.protocol import ExportJob, ExportPolicy, Lineage
from tagship.formats.registry import find_format
from tagship.runs.base_folder import BaseFolder
from tagship.runs.run import Run
from tagship.system.templating import Templates
from tagship.system.toml_reader import Reader
from tagship.weights.adapter_config import read_adapter_config


def exported(name: str, quant: str | None, base: Path, run: Path, folder: Path) -> Path:
    """Make an export in a new folder, and return that; all settings of the format have their defaults."""
    form = find_format(name)
    settings = form.configure(Reader({}, f"formats.{name}", []), Reader({}, "export", []))
    (variant,) = form.variants(settings, (quant,) if quant else ())
    job = ExportJob(
        run=Run(name="run", path=run, adapter=read_adapter_config(run), fields={}, recorded={}),
        base=BaseFolder(id="org/base", path=base, revision=None, license="mit"),
        variant=variant,
        settings=settings,
        policy=ExportPolicy(),
        title="title",
        repo_id="org/title",
        lineage=Lineage(parent="org/base", relation="finetune"),
        version=None,
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        namespace="org",
        templates=Templates(base),
    )
    folder.mkdir()
    form.export([(job, folder)], lambda _: None)
    return folder
