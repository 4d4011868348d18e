"""Taking a machine's places out of what is kept: folders in records and configs, and overrides that name them."""

import re
from collections.abc import Sequence
from typing import Any

from fer_lab.schema import VOLATILE

#: An absolute path, a home's, one on a Windows drive, or one that leaves its folder; the last part is kept.
_PATH = re.compile(r"(?<![\w.:/])(?:~[\w-]*|\.{1,2}|[A-Za-z]:|)(?:[/\\][\w.+@=,-]+)+[/\\]?")


def scrub(value: Any) -> Any:
    """Plain data with every machine-specific path in its strings cut to its last part."""
    if isinstance(value, dict):
        return {key: scrub(child) for key, child in value.items()}
    if isinstance(value, list):
        return [scrub(child) for child in value]
    return (
        _PATH.sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], value)
        if isinstance(value, str)
        else value
    )


def without_places(overrides: Sequence[str]) -> list[str]:
    """Overrides that decide a result, as typed; those that only say where or how, or whose value is a path, are left
    out: another machine has its own."""

    def kept(override: str) -> bool:
        key = override.lstrip("+~").split("=")[0].split("@")[0]
        return not any(key == name or key.startswith(f"{name}.") for name in VOLATILE) and scrub(override) == override

    return [override for override in overrides if kept(override)]
