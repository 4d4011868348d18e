"""Packages that not everyone installs."""

import importlib
from types import ModuleType

from fer_lab.errors import FerLabError


def optional(module: str, extra: str) -> ModuleType:
    """Import `module`; raises FerLabError, naming the extra of fer_lab that brings it, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise FerLabError(f"{module} is not installed: pip install 'fer_lab[{extra}]' ({error}).") from error
