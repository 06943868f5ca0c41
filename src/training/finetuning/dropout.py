"""Dropout that costs little on a CPU.

torch draws a random number per activation and step; on a CPU that takes a third of a LoRA training's time. Here the
masks are runs of one long random sequence, drawn once, each starting at a random place.
"""

from __future__ import annotations

import re
from typing import Any

import torch

LENGTH = 1 << 23
"""Entries of the sequence, 32 MB as 32-bit numbers; longer activations fall back on torch's dropout."""
_ATTENTION = re.compile(r"attention(\.self)?\.(attn_)?dropout$")


class PooledDropout(torch.nn.Module):
    """Like ``torch.nn.Dropout``, with masks out of a shared random sequence.

    Args:
        p: Share of entries set to 0.
        masks: Entries 0 with probability ``p`` and else 1 / (1 - p), shape (length,).
    """

    def __init__(self, p: float, masks: torch.Tensor) -> None:
        super().__init__()
        self.p = p
        self._masks = masks  # no buffer: it is no part of the model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Entries of ``x`` at random set to 0, the others scaled up; ``x`` itself outside training."""
        if not self.training or self.p == 0:
            return x
        n = x.numel()
        if n >= len(self._masks):
            return torch.nn.functional.dropout(x, self.p)
        start = int(torch.randint(len(self._masks) - n, (1,)))
        return x * self._masks[start : start + n].view(x.shape).to(x.dtype)


def cheapen_dropout(model: Any, seed: int) -> None:
    """Replaces the model's dropout layers; drops that on attention weights, which keeps attention off its fast path."""
    generator = torch.Generator().manual_seed(seed)
    pools: dict[float, torch.Tensor] = {}
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)]
    for name, layer in layers:
        parent, _, child = name.rpartition(".")
        p = 0.0 if _ATTENTION.search(name) else layer.p
        if p not in pools:
            pools[p] = torch.empty(LENGTH if p else 1).bernoulli_(1 - p, generator=generator) / (1 - p)
        setattr(model.get_submodule(parent), child, PooledDropout(p, pools[p]))
