"""`invoke hub`: cleaning up."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from tagship.cli.hub import clean_hub
from tagship.cli.session import open_session
from tagship.hub_server.app import EmbeddedHub
from tagship.release.options import Options
from tagship.release.step import hub_root
from tagship.system.console import Console
from tagship.system.errors import UsageError

from tests.conftest import POLICY, GitFolder

pytestmark = pytest.mark.usefixtures("quiet_client")


def test_gc(repository: GitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """What a deleted repository had is freed, and it is told how much; without a Hub there is nothing to clean."""
    repository.write("release.toml", POLICY)
    repository.commit("Begin")
    with open_session(str(repository.folder / "release.toml"), Options(), Console()) as session:
        with pytest.raises(UsageError, match="there is no embedded Hub"):
            clean_hub(session, None)
        with EmbeddedHub(root=hub_root(session.config)) as hub:
            api = HfApi(endpoint=hub.url, token="anything")
            api.create_repo("acme/model")
            operation = CommitOperationAdd("model.bin", b"\0" * 3_000_000 + bytes(range(256)) * 1000)
            api.create_commit("acme/model", [operation], commit_message="x")
            api.delete_repo("acme/model")
            clean_hub(session, None)
    said = " ".join(capsys.readouterr().err.split())
    assert "files that no commit has any longer" in said
    assert "freed 0 B" not in said
