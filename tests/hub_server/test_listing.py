"""Lists with the filters and orders of huggingface.co, for models and data sets."""

import json
import struct

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from tagship.hub_server.app import EmbeddedHub

from tests.hub_server.asking import ask, ask_json

pytestmark = pytest.mark.usefixtures("quiet_client")


def safetensors(shapes: dict[str, tuple[str, list[int]]]) -> bytes:
    """A file whose header says more than there is behind it, as reading the header alone needs no more."""
    tensors = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in shapes.items()
    }
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header


def upload(api: HfApi, repo: str, files: dict[str, bytes], repo_type: str = "model") -> None:
    api.create_repo(repo, repo_type=repo_type, exist_ok=True)
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(repo, operations, commit_message="files", repo_type=repo_type)


@pytest.fixture
def api(hub: EmbeddedHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token=False)
    bert = b"---\npipeline_tag: fill-mask\nlanguage: [en, fr]\ntags: [bert]\nlicense: mit\n---\n"
    upload(api, "acme/bert", {"README.md": bert, "model.safetensors": safetensors({"a": ("F16", [7, 10**9])})})
    chat = b"---\npipeline_tag: text-generation\nbase_model: acme/bert\ndatasets: [acme/talk]\n---\n"
    upload(api, "acme/chat", {"README.md": chat, "chat-Q4_K_M.gguf": b"GGUF"})
    upload(api, "other/small", {"model.safetensors": safetensors({"a": ("F32", [10, 20]), "b": ("I64", [3])})})
    return api


def names(api: HfApi, **query: object) -> list[str]:
    return [model.id for model in api.list_models(**query)]  # type: ignore[arg-type]


def test_filters(api: HfApi) -> None:
    """Each filter leaves those that it says; several filters all have to hold."""
    assert names(api, filter="bert") == ["acme/bert"]
    assert names(api, filter=["en", "license:mit"]) == ["acme/bert"]
    assert names(api, filter=["en", "license:apache-2.0"]) == []
    assert names(api, filter="fill-mask") == ["acme/bert"]
    assert names(api, filter="base_model:acme/bert") == ["acme/chat"]
    assert names(api, trained_dataset="acme/talk") == ["acme/chat"]
    assert names(api, pipeline_tag="text-generation") == ["acme/chat"]
    assert names(api, apps="ollama") == ["acme/chat"]
    assert names(api, author="acme", search="BERT") == ["acme/bert"]
    assert names(api, gated=True) == []
    assert len(names(api, gated=False)) == 3
    assert names(api, num_parameters="min:6B,max:128B") == ["acme/bert"]
    assert names(api, num_parameters="max:1K") == ["other/small"]


def test_order(api: HfApi, hub: EmbeddedHub) -> None:
    """The largest comes first; pages go on where the one before ended."""
    upload(api, "acme/bert", {"new.txt": b"x"})
    stamps = [model.last_modified for model in api.list_models(sort="last_modified")]
    assert stamps == sorted(stamps, reverse=True)
    assert [model.created_at is not None for model in api.list_models(sort="created_at")] == [True] * 3
    ask(hub, "/api/models/other/small/like", method="POST")
    assert names(api, sort="likes")[0] == "other/small"
    status, headers, body = ask(hub, "/api/models?sort=likes&limit=2")
    assert status == 200
    following = headers["link"].removeprefix(f"<{hub.url}").removesuffix('>; rel="next"')
    found = [model["id"] for model in json.loads(body) + ask_json(hub, following)]
    assert sorted(found) == ["acme/bert", "acme/chat", "other/small"]


def test_what_is_not_known(api: HfApi, hub: EmbeddedHub) -> None:
    """A question that cannot be answered is refused, rather than answered as if it were another one."""
    for query in ("library=peft", "sort=size", "gated=maybe", "num_parameters=many", "apps=excel", "inference=warm"):
        assert ask(hub, f"/api/models?{query}")[0] == 400, query
    with pytest.raises(BadRequestError, match='expected one of "author"'):
        list(api.list_models(expand=["color"]))  # type: ignore[list-item]
    with pytest.raises(BadRequestError, match="at expand"):
        api.model_info("acme/bert", expand=["color"])  # type: ignore[list-item]


def test_fields(api: HfApi) -> None:
    """Only the fields that were asked for are there."""
    (found,) = api.list_models(author="other", expand=["author", "downloadsAllTime"])
    assert (found.author, found.downloads_all_time, found.downloads, found.created_at) == ("other", 0, None, None)
    upload(
        api, "other/small", {"config.json": b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "x": 1}'}
    )
    (found,) = api.list_models(author="other", fetch_config=True)
    assert found.config == {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    assert api.model_info("acme/chat", expand=["baseModels"]).base_models == {
        "relation": None,
        "models": [{"id": "acme/bert"}],
    }


def test_datasets(api: HfApi, tmp_path: object) -> None:
    """Data sets have the same name as a model if they like, and their own lists, tags, files and redirects."""
    card = b"---\nlanguage: [en]\nlanguage_creators: [crowdsourced]\nsize_categories: [n<1K]\n---\n"
    upload(api, "acme/bert", {"README.md": card, "train.jsonl": b"{}\n"}, repo_type="dataset")
    (found,) = api.list_datasets(language="en", language_creators="crowdsourced")
    assert found.id == "acme/bert"
    assert list(api.list_datasets(language="de")) == []
    assert "train.jsonl" in api.list_repo_files("acme/bert", repo_type="dataset")
    assert "train.jsonl" not in api.list_repo_files("acme/bert")
    api.move_repo("acme/bert", "acme/renamed", repo_type="dataset")
    assert api.dataset_info("acme/bert").id == "acme/renamed"
    assert api.model_info("acme/bert").id == "acme/bert"
    api.delete_repo("acme/renamed", repo_type="dataset")
    assert not api.repo_exists("acme/bert", repo_type="dataset")
    assert api.repo_exists("acme/bert")


def test_names_in_any_case(api: HfApi) -> None:
    """A repository is found whatever case its name is written in, and no other can differ by that alone."""
    assert api.model_info("ACME/Bert").id == "acme/bert"
    upload(api, "Acme/BERT", {"b.txt": b"b"})
    assert "b.txt" in api.list_repo_files("acme/bert")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("acme/BERT")
    api.move_repo("acme/bert", "acme/BERT")
    assert names(api, author="ACME") == ["acme/BERT", "acme/chat"]


def test_codes_of_what_is_missing(api: HfApi, hub: EmbeddedHub) -> None:
    """Ids without a namespace, and other kinds of repositories, are repositories that are not there."""
    for path in ("/api/models/gpt2", "/gpt2/resolve/main/config.json", "/api/models/gpt2/tree/main", "/api/spaces/a/b"):
        status, headers, _ = ask(hub, path)
        assert (status, headers.get("x-error-code")) == (404, "RepoNotFound"), path
    status, headers, _ = ask(hub, "/api/nothing")
    assert (status, "x-error-code" in headers) == (404, False)
    assert ask(hub, "/api/models/gpt2/like", method="DELETE")[0] == 404


def test_request_ids(hub: EmbeddedHub) -> None:
    """Every answer has an id: the one that the client gave, unless it could do harm in a log."""
    assert ask(hub, "/api/models", x_request_id="mine-1")[1]["x-request-id"] == "mine-1"
    assert ask(hub, "/api/nothing", X_Amzn_Trace_Id="Root=1-2")[1]["x-request-id"] == "Root=1-2"
    first, second = (ask(hub, "/api/models", x_request_id="a b")[1]["x-request-id"] for _ in range(2))
    assert first != second
    assert " " not in first


def test_weights(api: HfApi) -> None:
    """The headers of the weights tell how many parameters of which type there are."""
    found = api.model_info("other/small").safetensors
    assert found is not None
    assert (found.parameters, found.total) == ({"F32": 200, "I64": 3}, 203)
    parts = {f"model-0000{n}-of-00002.safetensors": safetensors({f"t{n}": ("BF16", [n, 5])}) for n in (1, 2)}
    weight_map = {"t1": "model-00001-of-00002.safetensors", "t2": "model-00002-of-00002.safetensors"}
    index = {"metadata": {"total_size": 30}, "weight_map": weight_map}
    upload(api, "acme/shards", parts | {"model.safetensors.index.json": json.dumps(index).encode()})
    sharded = api.model_info("acme/shards", expand=["safetensors"]).safetensors
    assert sharded is not None
    assert sharded.parameters == {"BF16": 15}
    headers = api.get_sharded_safetensors_metadata("acme/shards")
    assert headers.parameter_count == {"BF16": 15}
    assert headers.weight_map == weight_map
    assert api.get_safetensors_metadata("acme/shards").files_metadata == headers.files_metadata
    assert api.model_info("acme/chat").safetensors is None


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def test_gguf(api: HfApi) -> None:
    """Of a GGUF the architecture, the context length, the template and the number of parameters are shown."""
    keys = [
        _text("general.architecture") + struct.pack("<I", 8) + _text("llama"),
        _text("tokenizer.ggml.tokens")
        + struct.pack("<IIQ", 9, 8, 3)
        + _text("a")
        + _text("b")
        + _text("c" * 2_000_000),
        _text("tokenizer.ggml.scores") + struct.pack("<IIQ3f", 9, 6, 3, 0.5, 0.5, 0.5),
        _text("llama.context_length") + struct.pack("<II", 4, 4096),
        _text("tokenizer.chat_template") + struct.pack("<I", 8) + _text("{{ messages }}"),
    ]
    tensors = [_text("t") + struct.pack("<IQQIQ", 2, 30, 40, 0, 0), _text("u") + struct.pack("<IQIQ", 1, 5, 0, 0)]
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    upload(api, "acme/gguf", {"m.gguf": data, "broken.txt": b"x"})
    shown = {"total": 1205, "architecture": "llama", "context_length": 4096, "chat_template": "{{ messages }}"}
    assert api.model_info("acme/gguf").gguf == shown
    assert api.model_info("acme/gguf", expand=["gguf"]).gguf == shown
    upload(api, "acme/gguf", {"m.gguf": data[:1_000_000]})
    assert api.model_info("acme/gguf").gguf is None
    assert api.model_info("acme/chat").gguf is None
