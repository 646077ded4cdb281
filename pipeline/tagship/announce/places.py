"""The places that a policy names, with what lets one in, from the environment."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tagship.announce.announcement import Place
from tagship.announce.github import GitHubReleases
from tagship.announce.gitlab import GitLabReleases
from tagship.announce.webhook import Webhook
from tagship.policy.announce import AnnouncePolicy
from tagship.system.errors import ReleaseError
from tagship.system.forge_api import Environment, github_api, gitlab_api


def places_of(policy: AnnouncePolicy, source: str | None, state: Path, environment: Environment) -> tuple[Place, ...]:
    """Where a release is told of; `source` is the page of the repository, `state` a folder for what is remembered.
    Raises ReleaseError, which names every variable that is missing."""
    missing: list[str] = []
    places = [*_forges(policy, source, environment, missing), *_webhook(policy, state, environment, missing)]
    if missing:
        raise ReleaseError(
            f"[announce] needs {'; '.join(missing)}", remedy="set them, or take that place out of [announce]"
        )
    return tuple(places)


def _forges(
    policy: AnnouncePolicy, source: str | None, environment: Environment, missing: list[str]
) -> Iterator[Place]:
    if policy.github:
        page = _page(source, environment("GITHUB_SERVER_URL"), environment("GITHUB_REPOSITORY"), "https://github.com")
        if page is None:
            missing.append("GITHUB_REPOSITORY (owner/name), as no remote of this repository is on the web")
        elif not (api := github_api(page, environment)).has_token:
            missing.append(f"GITHUB_TOKEN, which may write releases of {page}")
        else:
            yield GitHubReleases(api)
    if policy.gitlab:
        page = _page(source, environment("CI_SERVER_URL"), environment("CI_PROJECT_PATH"), "https://gitlab.com")
        if page is None:
            missing.append("CI_PROJECT_PATH (group/name), as no remote of this repository is on the web")
        elif not (api := gitlab_api(page, environment)).has_token:
            missing.append(f"GITLAB_TOKEN or CI_JOB_TOKEN, which may write releases of {page}")
        else:
            yield GitLabReleases(api)


def _page(source: str | None, server: str | None, path: str | None, default: str) -> str | None:
    """The page of the repository: as the job of CI has it, else as its remote has it."""
    if path:
        return f"{(server or default).rstrip('/')}/{path}"
    return source if source and urlsplit(source).hostname else None


def _webhook(policy: AnnouncePolicy, state: Path, environment: Environment, missing: list[str]) -> Iterator[Place]:
    if policy.webhook is None:
        return
    url, secret = environment(policy.webhook), None
    if policy.webhook_secret and not (secret := environment(policy.webhook_secret)):
        missing.append(f"{policy.webhook_secret}, the webhook's secret")
    if not url:
        missing.append(f"{policy.webhook}, the webhook's address")
    else:
        yield Webhook(url, secret, state / "delivered.json")
