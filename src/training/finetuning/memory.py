"""Smaller batches where memory runs out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeVar

from ...config import TrainingSettings
from ...errors import HealdagError, MissingExtraError

T = TypeVar("T")

log = logging.getLogger("healdag")


def fit_batch(attempt: Callable[[TrainingSettings], T], settings: TrainingSettings) -> T:
    """What ``attempt`` returns for the settings; each time memory runs out it is called again with half the batch.

    Passes are accumulated instead: the rows per step stay the same.

    Raises:
        HealdagError: not even one row fits into memory.
        MissingExtraError: the extra 'train' is not installed.
    """
    try:
        from accelerate.utils import find_executable_batch_size
    except ImportError:
        raise MissingExtraError("accelerate", "train") from None
    effective = settings.batch_size * settings.gradient_accumulation
    size = settings.batch_size

    def halve() -> int:
        nonlocal size
        size //= 2
        if size:
            log.warning("out of memory: batch %d instead, %d passes per step", size, math.ceil(effective / size))
        return size

    def sized(batch_size: int) -> T:
        accumulation = math.ceil(effective / batch_size)
        return attempt(settings.model_copy(update={"batch_size": batch_size, "gradient_accumulation": accumulation}))

    try:
        outcome: T = find_executable_batch_size(sized, size, halve)()
    except RuntimeError as error:
        if "No executable batch size" in str(error):
            raise HealdagError(
                "not even one row fits into memory; lower lora.max_length or take a smaller base"
            ) from error
        raise
    return outcome
