"""Snapshots of the weights that are trained: their running average, and the best of them so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

Weights: TypeAlias = dict[str, torch.Tensor]


def trained_weights(model: Any) -> Weights:
    """The parameters that the optimiser changes, by name; not copies."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def put(weights: Weights, model: Any) -> None:
    """Copies weights into the model."""
    own = trained_weights(model)
    for name, value in weights.items():
        own[name].copy_(value)


class WeightAverage:
    """Exponential moving average of the trained weights (Polyak & Juditsky 1992), started after a tenth of the steps.

    After n steps the past weighs (1 + n) / (10 + n) at most: or in a short training the average would still be made
    of weights from its beginning.

    Args:
        decay: Weight of the past at each step; 0 keeps no average.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: Weights | None = None

    def update(self, model: Any, step: int, steps: int) -> None:
        """Takes in the weights after an optimiser step."""
        n = step - 0.1 * steps
        if not self.decay or n < 0:
            return
        current = trained_weights(model)
        if self.weights is None:
            self.weights = {name: value.clone() for name, value in current.items()}
            return
        decay = min(self.decay, (1 + n) / (10 + n))
        for name, value in current.items():
            self.weights[name].mul_(decay).add_(value, alpha=1 - decay)

    @contextmanager
    def applied(self, model: Any) -> Iterator[None]:
        """The model has the average for the block's time; without one it stays as it is."""
        if self.weights is None:
            yield
            return
        own = {name: value.clone() for name, value in trained_weights(model).items()}
        put(self.weights, model)
        try:
            yield
        finally:
            put(own, model)


class BestWeights:
    """The weights with the best score so far, and how many evaluations have passed since."""

    def __init__(self) -> None:
        self.weights: Weights | None = None
        self.score = float("-inf")
        self.step = 0
        self.waited = 0

    def update(self, model: Any, score: float, step: int) -> None:
        """Keeps the model's weights where the score is better than every earlier one."""
        if score > self.score:
            self.weights = {name: value.clone() for name, value in trained_weights(model).items()}
            self.score, self.step, self.waited = score, step, 0
        else:
            self.waited += 1
