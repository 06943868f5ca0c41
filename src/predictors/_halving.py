"""Smaller batches where a whole one fails: because memory ran out, or because of one text in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from ..errors import PredictorError

MOST_FAILURES = 64
"""Failed calls after which nothing is halved any more: what fails then is given up as it is."""
DOWN = 3
"""Texts that failed each alone, far from each other, before any was answered: the rest is not asked."""
_NO_MEMORY = re.compile(
    r"out of memory|(can't|cannot|failed to) allocate memory|not enough memory|bad.?alloc|ALLOC_FAILED", re.IGNORECASE
)
T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a device.

    torch raises RuntimeErrors (of which its OutOfMemoryError is one) and onnxruntime kinds that are no part of its
    interface: they are told by their messages.

    >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def in_halves(call: Callable[[slice], T], n: int) -> list[tuple[slice, T | Exception]]:
    """What ``call`` gives for n texts, asked together, and by halves where that raises; the parts in order.

    One text that cannot be read costs about 2 log2(n) calls, and costs the others nothing. Where memory runs out, no
    later part is as large. A failure that is none of a text's is not looked into: a :class:`PredictorError`, which says
    that the whole batch failed, and what networks raise (OSError, TimeoutError among them). Nor is one that
    :data:`DOWN` texts alone meet with before any was answered.

    Args:
        call: Answers the texts of a slice, or raises.

    Returns:
        Slices that cover all n, each with its answer or with what was raised.
    """
    found: list[tuple[slice, T | Exception]] = []
    pending = [slice(0, n)]
    largest, failures, alone, answered = n, 0, 0, False
    while pending:
        # After a text that failed alone, one far from it: bad texts may stand side by side.
        part = pending.pop(0 if alone and not answered else -1)
        size = part.stop - part.start
        if size > largest:
            pending += reversed([slice(i, min(i + largest, part.stop)) for i in range(part.start, part.stop, largest)])
            continue
        try:
            found.append((part, call(part)))
            answered = True
            continue
        except Exception as error:
            # Without its traceback, which keeps what the failed call had allocated.
            failure = error.with_traceback(None)
        failures += 1
        alone += size == 1
        no_memory = is_out_of_memory(failure)
        if no_memory:
            largest = max(size // 2, 1)
        if size > 1 and failures < MOST_FAILURES and (no_memory or not isinstance(failure, PredictorError | OSError)):
            middle = part.start + size // 2
            pending += [slice(middle, part.stop), slice(part.start, middle)]
        else:
            found.append((part, failure))
        if alone == DOWN and not answered:
            found += [(rest, failure) for rest in pending]
            break
    return sorted(found, key=lambda one: one[0].start)
