"""A configuration's part about text: models that see or hear as well have it inside."""

from collections.abc import Mapping
from typing import Any


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of the text model; what its part does not say, the whole does."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else dict(config)
