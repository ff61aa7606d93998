"""Which optional packages are installed here, asked without importing them."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def is_installed(package: str) -> bool:
    """Whether a distribution of this name (as pip knows it) is installed."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True
