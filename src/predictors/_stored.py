"""Arrays and numbers that lie beside a model in one safetensors file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import ArtifactError
from .base import FloatArray

T = TypeVar("T")


def read_stored(path: Path, what: str, make: Callable[[Mapping[str, str], Callable[[str], FloatArray]], T]) -> T | None:
    """What ``make`` makes of the file's numbers, as text by name, and of its arrays by name; None without the file.

    Args:
        what: Names the file in the error, with its article.

    Raises:
        ArtifactError: the file is not valid.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="numpy") as stored:
            return make(stored.metadata(), lambda name: np.asarray(stored.get_tensor(name), dtype=np.float64))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} is not a valid {what}: {error}; restore it or train again") from None
