"""What is changed of a card after its release, and taken off again."""

import pytest
from tagship.artifacts.card_changes import (
    changed,
    is_withdrawn,
    leads_to,
    restored_notice,
    same_but_for_changes,
    withdrawn_notice,
)

CARD = "---\nlicense: mit\nmodel_name: 'It: the model'\n---\n\n# It\n\nSays `---` and <!-- a comment -->.\n"
BARE = "# It\n"
CRLF = "---\r\nlicense: mit\r\n---\r\n\r\n# It\r\n"
NO_BODY = "---\nlicense: mit\n---"
NOTICE = withdrawn_notice("v2.0.0", "[acme/it-v1.0.0](https://huggingface.co/acme/it-v1.0.0)")


@pytest.mark.parametrize("card", [CARD, BARE, CRLF, "---\n---\n# It\n", f"\n{CARD}"])
def test_changed_and_back(card: str) -> None:
    """What was added is taken off again to the byte, whatever the card; twice is as once."""
    there = changed(card, next_version="acme/it-v2.0.0", notice=NOTICE)
    assert leads_to(there) == "acme/it-v2.0.0" and is_withdrawn(there)
    assert "This is v2.0.0" in there and there != card
    assert changed(there, next_version="acme/it-v2.0.0", notice=NOTICE) == there
    back = changed(there, next_version=None)
    assert leads_to(back) is None and not is_withdrawn(back)
    assert back in (card, card.removeprefix("---\n---\n"))


def test_what_else_was_changed_shows() -> None:
    """A card is the released one but for what was added, or it is another."""
    there = changed(CARD, next_version="acme/it-v2.0.0", notice=NOTICE)
    assert same_but_for_changes(there, CARD) and same_but_for_changes(CARD, there)
    for other in (there.replace("mit", "apache-2.0"), there + "More.\n", there.replace("# It", "# That")):
        assert not same_but_for_changes(other, CARD)


def test_a_version_that_it_named_before() -> None:
    """The next version is said once, in the place of the one before."""
    there = changed("---\nnew_version: acme/other\nlicense: mit\n---\n# It\n", next_version="acme/it-v2.0.0")
    assert there.count("new_version") == 1 and leads_to(there) == "acme/it-v2.0.0"
    for said in ("new_version: >-\n  acme/other", '"new_version": acme/other', "new_version:\n  acme/other"):
        there = changed(f"---\n{said}\nlicense: mit\n---\n# It\n", next_version="acme/b")
        assert there == '---\nlicense: mit\nnew_version: "acme/b"\n---\n# It\n'
    assert changed(NO_BODY, next_version="acme/b").startswith("---\nlicense: mit\nnew_version")


def test_restored_is_not_withdrawn() -> None:
    """A repo with an earlier version again says so, and is live."""
    there = changed(CARD, next_version=None, notice=restored_notice("v1.0.0", "v2.0.0"))
    assert "v1.0.0 again: v2.0.0 was taken back" in there and not is_withdrawn(there)
