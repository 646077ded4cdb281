"""A Collection on the Hub for each model: what was released of it, on one page."""

from collections.abc import Mapping

from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.system.errors import ReleaseError


def collect(hub: Hub, namespace: str, title: str, repos: Mapping[str, str], *, private: bool) -> tuple[str, list[str]]:
    """Have a namespace's collection of that title hold these repos, each with a note; it is made where there is none,
    and what is in it stays as it is. Returns its slug, and the repos that it did not have.

    Raises ReleaseError where what is private would be listed to everybody, ToolError when the Hub refuses.
    """
    with hub_errors(f"look for the collection {title} of {namespace}"):
        listed = hub.api.list_collections(owner=namespace)
        slug = next((each.slug for each in listed if each.title == title), None)
    with hub_errors(f"make the collection {title} of {namespace}"):
        if slug is None:
            found = hub.api.create_collection(title, namespace=namespace, private=private, exists_ok=True)
        else:
            found = hub.api.get_collection(slug)
    if private and not found.private:
        raise ReleaseError(
            f"the release is private, and the collection {found.slug} is public",
            remedy="make the collection private on the Hub, or leave [hub] collection out",
        )
    there = {item.item_id for item in found.items}
    missing = [repo_id for repo_id in repos if repo_id not in there]
    for repo_id in missing:
        with hub_errors(f"add {repo_id} to the collection {found.slug}"):
            hub.api.add_collection_item(found.slug, repo_id, "model", note=repos[repo_id], exists_ok=True)
    return str(found.slug), missing
