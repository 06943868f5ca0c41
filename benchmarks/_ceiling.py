"""How many operations an encoder needs for a text, and how many per second the machine's matrix products reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

ROWS = (256, 1024, 4096)
"""Tokens in a batch, as encoders see them; the ceiling is that of the fastest."""


@dataclass(frozen=True)
class Shape:
    """An encoder of the BERT family.

    Attributes:
        inner: Width of the feed-forward layers.
    """

    layers: int
    width: int
    inner: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """That of a Hugging Face configuration."""
        return cls(config.num_hidden_layers, config.hidden_size, config.intermediate_size)

    @property
    def products(self) -> list[tuple[int, int]]:
        """Shapes of a layer's weights: query, key, value and output, then the feed-forward layers."""
        return [(self.width, self.width)] * 4 + [(self.width, self.inner), (self.inner, self.width)]

    def operations(self, tokens: int) -> float:
        """Floating-point operations of a text: two per weight and token, and attention, which grows with the square."""
        weights = sum(a * b for a, b in self.products)
        return self.layers * (2.0 * weights * tokens + 4.0 * self.width * tokens**2)


def mean_operations(shape: Shape, lengths: Iterable[int]) -> float:
    """Of a text, on average; padding is no use and does not count."""
    found = [shape.operations(length) for length in lengths]
    return sum(found) / len(found)


def ceiling(shape: Shape, *, device: str = "cpu", dtype: str = "float32", budget: float = 0.2) -> float:
    """Operations per second of an encoder layer's products alone, the best over several numbers of tokens.

    Args:
        budget: Seconds for each number of tokens.
    """
    import torch

    kind = getattr(torch, dtype)
    weights = [torch.randn(size, device=device).to(kind) for size in shape.products]
    best = 0.0
    for rows in ROWS if device == "cpu" else (65536,):
        inputs = {width: torch.randn(rows, width, device=device).to(kind) for width, _ in shape.products}
        operations = 2.0 * rows * sum(a * b for a, b in shape.products)

        def layer(inputs: dict[int, Any] = inputs) -> None:
            for weight in weights:
                torch.mm(inputs[weight.shape[0]], weight)

        with torch.inference_mode():
            best = max(best, operations / _fastest(layer, device, budget))
    return best


def square_ceiling(device: str, dtype: str, size: int = 8192, budget: float = 1.0) -> float:
    """Operations per second of large square products: what a GPU can do at most."""
    import torch

    one, other = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    with torch.inference_mode():
        return 2.0 * size**3 / _fastest(lambda: torch.mm(one, other), device, budget)


def _fastest(function: Callable[[], Any], device: str, budget: float) -> float:
    """Seconds of the fastest of as many calls as fit into the budget; at least three."""
    import torch

    def timed() -> float:
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize()  # a GPU returns before it is done
        return time.perf_counter() - start

    timed()  # warm
    found, end = [timed() for _ in range(3)], time.perf_counter() + budget
    while time.perf_counter() < end:
        found.append(timed())
    return min(found)
