"""What is said of answers that are refusals: what would mend them."""

import pytest
from huggingface_hub import HfApi
from tagship.hub.failures import hub_errors
from tagship.hub_server.app import EmbeddedHub
from tagship.system.errors import ToolError

from tests.hub.faulty import Plan, proxy


def refused(url: str) -> ToolError:
    """What becomes of looking up a repo that a Hub at an address does not have."""
    with pytest.raises(ToolError) as caught, hub_errors("look up acme/nope"):
        HfApi(endpoint=url, token=False).model_info("acme/nope")
    return caught.value


def test_repo_that_is_not_there(hub: EmbeddedHub) -> None:
    """Its name, or the right to see it, is what there is to look after."""
    told = refused(hub.url)
    assert "the Hub refused to look up acme/nope" in str(told)
    assert str(told.remedy).startswith("see that the name is right, namespace/name")


def test_nothing_but_a_status(hub: EmbeddedHub) -> None:
    """What answers with a status and no word of its own is probably no Hub; what a status means anyway is told."""
    with proxy(hub.url, Plan(at=0, fault="bare 404")) as url:
        assert str(refused(url).remedy).startswith("127.0.0.1 says no more than that, as what is no Hub would")
    with proxy(hub.url, Plan(at=0, fault="bare 403")) as url:
        assert "see that the token may do this" in str(refused(url).remedy)
