"""sbom.cdx.json: the bill of materials of a model, CycloneDX 1.6: what it was made of, under which licenses.

The library writes components, licenses and what depends on what; it has no model cards, so that those are put in after
it (`bill_card.py`). The number of a bill is of its content: the same release has the same bill.
"""

import importlib.util
import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tagship.artifacts.manifest import BILL_FILE, Manifest, digest_of
from tagship.artifacts.trust.bill_card import model_card
from tagship.artifacts.trust.provenance import Materials
from tagship.policy.card import CardPolicy
from tagship.runs.base import HUGGING_FACE
from tagship.runs.base_folder import BaseFolder
from tagship.system.errors import ReleaseError
from tagship.system.installation import how_to_install

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

_MODEL, _BASE, _ADAPTER = "model", "base", "adapter"
_NAMESPACE = uuid.UUID("8d3f0c62-6a5b-5d0e-9a5c-0d6a4f5b7c11")


class BillSources(Struct, frozen=True, kw_only=True):
    """What a bill is made of: a repo's manifest, the base on this disk, what the policy says in `[card]`, the files of
    the run, and the names of the data sets that the run recorded."""

    manifest: Manifest
    base: BaseFolder
    card: CardPolicy
    materials: Materials
    recorded_datasets: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """What the model was trained on, as far as anybody said."""
        return tuple(dict.fromkeys((*self.card.datasets, *self.recorded_datasets)))


def check_installed() -> None:
    """Raise ReleaseError where what writes bills of materials is not installed."""
    if importlib.util.find_spec("cyclonedx") is None:
        raise ReleaseError("not installed: cyclonedx, which [publish] sbom needs", remedy=how_to_install("trust"))


def bill_of_materials(sources: BillSources) -> str:
    """The text of the bill."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    manifest = sources.manifest
    model, parts = _model(sources), list(_parts(sources))
    application = ComponentType.APPLICATION
    tagship = Component(name="tagship", version=manifest.tagship, type=application, bom_ref="tool/tagship")
    number = uuid.uuid5(_NAMESPACE, f"{manifest.repo_id} {manifest.exported.isoformat()} {digest_of(manifest.files)}")
    metadata = BomMetaData(timestamp=manifest.exported, component=model, tools=ToolRepository(components=[tagship]))
    bom = Bom(components=parts, metadata=metadata, serial_number=number)
    bom.register_dependency(model, parts)
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"]["component"]["modelCard"] = model_card(
        manifest, sources.base, sources.card, [_dataset_ref(name) for name in sources.datasets]
    )
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _model(sources: BillSources) -> "Component":
    """What is published: with its files, and the base that it descends from."""
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    manifest = sources.manifest
    group, _, name = manifest.repo_id.rpartition("/")
    return Component(
        bom_ref=_MODEL,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        group=group,
        name=name,
        version=manifest.version,
        description=sources.card.description,
        licenses=_licenses(manifest.license, sources.base),
        purl=_on_the_hub(manifest.repo_id, None),
        pedigree=Pedigree(ancestors=[_base(sources, f"{_BASE}/ancestor")]),
        components=[_file(entry.path, entry.sha256) for entry in manifest.files if entry.path != BILL_FILE],
    )


def _parts(sources: BillSources) -> "Iterator[Component]":
    """The base, the adapter, the data, and what made the files."""
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    manifest = sources.manifest
    yield _base(sources, _BASE)
    yield Component(
        bom_ref=_ADAPTER,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=manifest.run,
        description="the LoRA adapter that was trained on the base model",
        components=[_file(path, sha, "run/") for path, sha in sorted(sources.materials.run_files.items())],
    )
    for name in sources.datasets:
        on_the_hub = name in sources.card.datasets
        page = ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(f"{HUGGING_FACE}/datasets/{name}"))
        yield Component(
            bom_ref=_dataset_ref(name),
            type=ComponentType.DATA,
            name=name,
            external_references=[page] if on_the_hub else [],
        )
    for name, version in sorted(manifest.tools.items()):
        yield Component(
            bom_ref=f"tool/{name}",
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=PackageURL("pypi", None, name, version),
        )


def _base(sources: BillSources, ref: str) -> "Component":
    from cyclonedx.model.component import Component, ComponentType

    base = sources.base
    group, _, name = base.id.rpartition("/")
    return Component(
        bom_ref=ref,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        group=group or None,
        name=name,
        version=base.revision,
        licenses=_licenses(base.license, base),
        purl=_on_the_hub(base.id, base.revision),
    )


def _on_the_hub(repo_id: str, revision: str | None) -> Any:
    """The package URL of a repo, whose version is a commit."""
    from packageurl import PackageURL

    group, _, name = repo_id.rpartition("/")
    return PackageURL("huggingface", group or None, name, revision)


def _file(path: str, sha256: str, within: str = "") -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        bom_ref=f"file/{within}{path}",
        type=ComponentType.FILE,
        name=path,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
    )


def _licenses(license_id: str, base: BaseFolder) -> list[Any]:
    """A license by its SPDX id, where the Hub's has one; else by the name that the base's own page gives it."""
    from cyclonedx.model import XsUri
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.spdx import fixup_id

    if (spdx := fixup_id(license_id)) is not None:
        return [DisjunctiveLicense(id=spdx)]
    link = base.license_link if base.license_link and "://" in base.license_link else None
    return [DisjunctiveLicense(name=base.license_name or license_id, url=XsUri(link) if link else None)]


def _dataset_ref(name: str) -> str:
    return f"data/{name}"
