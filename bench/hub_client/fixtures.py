"""The repositories of huggingface.co that huggingface_hub's tests download from, remade in an embedded Hub."""

import json
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi

_LAYOUT = "hf-internal-testing/hfh-cache-layout"
_RENAMED = "hf-internal-testing/dummy-will-be-renamed"
_DUMMY = "julien-c/dummy-unknown"
_XET = "celinah/dummy-xet-testing"
# The tests compare sizes: 851 bytes.
_CONFIG = json.dumps({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "padding": ""})
_CONFIG = _CONFIG.replace('"padding": ""', '"padding": "' + "x" * (851 - len(_CONFIG)) + '"')


def _commit(api: HfApi, repo_id: str, files: dict[str, bytes], **options: Any) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(repo_id, operations, commit_message="files", **options).oid


def _cache_layout(api: HfApi) -> None:
    """Three branches that differ in one file each."""
    api.create_repo(_LAYOUT)
    _commit(api, _LAYOUT, {"file_0.txt": b"File 0\n", "file_1.txt": b"File 1\n"})
    for number in (2, 3):
        api.create_branch(_LAYOUT, branch=f"file-{number}")
        _commit(api, _LAYOUT, {f"file_{number}.txt": b"File %d\n" % number}, revision=f"file-{number}")


def make_fixtures(api: HfApi) -> dict[str, str]:
    """Make them; the constants of the tests that must name what is in this Hub."""
    _cache_layout(api)
    api.create_repo(_DUMMY)
    one = _commit(
        api,
        _DUMMY,
        {"config.json": _CONFIG.encode(), "pytorch_model.bin": b"\0weights" * 1000, "README.md": b"# Dummy\n"},
    )
    _commit(api, _DUMMY, {"vocab.json": b"{}", "merges.txt": b"#version: 0.2\n", "tf_model.h5": b"\0tf" * 1000})
    api.create_repo(_RENAMED)
    _commit(api, _RENAMED, {"config.json": b"{}"})
    api.move_repo(_RENAMED, _RENAMED.replace("will-be-", ""))
    api.create_repo(_XET)
    _commit(api, _XET, {"dummy.safetensors": b"\0xet" * 500_000, "config.json": b"{}"})
    return {"DUMMY_MODEL_ID_REVISION_ONE_SPECIFIC_COMMIT": one}
