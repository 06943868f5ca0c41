"""What the benchmarks share: taking turns, times and ratios over rounds, and what the machine is."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from healdag.artifacts.exports import processor
from healdag.config import asked_threads

PACKAGES = ("torch", "onnxruntime", "openvino", "tokenizers", "transformers", "scikit-learn", "langgraph", "numpy")
_Found = TypeVar("_Found")


def seconds(function: Callable[[], Any]) -> float:
    """On the clock."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def processor_seconds(function: Callable[[], Any]) -> float:
    """Of the processor, in all threads of this process."""
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turns(ways: dict[str, Callable[[], _Found]], rounds: int) -> dict[str, list[_Found]]:
    """What each way gave in each round; every round begins with another one."""
    found: dict[str, list[_Found]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for name in rotated(names, turn):
            found[name].append(ways[name]())
    return found


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The names, beginning with another one at every turn."""
    first = turn % max(1, len(names))
    return [*names[first:], *names[:first]]


def milliseconds(times: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile of times in seconds."""
    ordered = sorted(times)
    return {f"p{q}_ms": round(ordered[int(q / 100 * len(ordered))] * 1e3, 3) for q in (50, 99)}


def over_rounds(values: Sequence[float]) -> dict[str, float]:
    """The median over the rounds, and between what the rounds lie, to three digits."""
    named = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: float(f"{value:.3g}") for name, value in named.items()}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Those of each round: what disturbs a round disturbs both."""
    return over_rounds([one / other for one, other in zip(above, below, strict=True)])


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": asked_threads() or os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def say(line: str) -> None:
    """On stderr: how far it is."""
    print(line, file=sys.stderr, flush=True)
