"""The training loss: cross entropy or focal, weighted by class, for one label per text or several."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch.nn import functional

IGNORED = -100
"""Label of a row without one: torch's cross entropy leaves it out."""


def class_weights(targets: torch.Tensor, k: int, power: float) -> torch.Tensor:
    """Loss weight per class from how rare it is. Shape (k,).

    Args:
        targets: Single-label: columns of shape (n,), ``IGNORED`` for rows without one; then the weight is
            (1 / share) ** power, scaled to a mean of 1. Multi-label: 0 or 1 of shape (n, k), NaN for rows without
            labels; then it is the weight of a label's positive rows, (negative / positive) ** power.
        k: Number of labels.
        power: 0 (no weights) to 1 (each class counts the same).
    """
    if targets.ndim == 2:
        known = targets[~torch.isnan(targets).any(dim=1)]
        positive = known.sum(dim=0).clamp(min=1.0)
        return ((len(known) - positive).clamp(min=1.0) / positive) ** power
    counts = np.bincount(targets[targets != IGNORED].numpy(), minlength=k).astype(float)
    weights = (counts.sum() / np.maximum(counts, 1)) ** power
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def classification_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    kind: Literal["cross_entropy", "focal"] = "cross_entropy",
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean loss of a batch; 0 where no row has a label.

    The focal loss is Lin et al. 2017, arXiv:1708.02002: the loss of a row times (1 - probability of what is right)
    to the power ``gamma``.

    Args:
        logits: Shape (n, k).
        targets: Columns of shape (n,), or 0 and 1 of shape (n, k); see :func:`class_weights`.
        weights: Per class, shape (k,).
        label_smoothing: Share of the target that goes to all labels alike.
    """
    exponent = gamma if kind == "focal" else 0.0
    if targets.ndim == 2:
        return _multi_label(logits, targets, weights, exponent, label_smoothing)
    known = targets != IGNORED
    if not known.any():
        return logits.new_zeros(())
    if exponent == 0.0:
        return functional.cross_entropy(
            logits, targets, weight=weights, ignore_index=IGNORED, label_smoothing=label_smoothing
        )
    logits, targets = logits[known], targets[known]
    each = functional.cross_entropy(logits, targets, weight=weights, label_smoothing=label_smoothing, reduction="none")
    right = logits.softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
    return ((1 - right) ** exponent * each).sum() / weights[targets].sum()


def _multi_label(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, exponent: float, smoothing: float
) -> torch.Tensor:
    known = ~torch.isnan(targets).any(dim=1)
    if not known.any():
        return logits.new_zeros(())
    logits, targets = logits[known], targets[known]
    smooth = targets * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="none")
    if exponent:
        positive = logits.sigmoid()
        each = (1 - torch.where(targets > 0.5, positive, 1 - positive)) ** exponent * each
    return each.mean()
