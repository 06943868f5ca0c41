"""How far a text lies from the texts that a model was trained on, in a layer that its forward pass makes anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._stored import read_stored
from .base import FloatArray, sigmoid

FAMILIARITY = "familiarity.safetensors"


@dataclass(frozen=True)
class Familiarity:
    """The Mahalanobis distance to the training texts' mean (Lee et al. 2018, arXiv:1807.03888), on one hidden layer.

    Attributes:
        layer: The hidden state, averaged over a text's tokens, that is looked at; 0 is the embeddings.
        mean: Of the training texts, shape (d,).
        whitening: Turns a deviation from it into one of unit covariance, shape (d, d).
        limit: Distance that 99 % of held-out texts stay below.
        slope: Of log(distance / limit) in the log-odds that a text is foreign.
        offset: Those log-odds at the limit.
    """

    layer: int
    mean: FloatArray
    whitening: FloatArray
    limit: float
    slope: float
    offset: float

    def distance(self, features: FloatArray) -> FloatArray:
        """Distance in units of the limit, shape (n,): above 1 a text is unfamiliar.

        Args:
            features: Mean hidden states of the layer, shape (n, d).
        """
        return self.length(self.whitened(features))

    def length(self, whitened: FloatArray) -> FloatArray:
        """The same, of deviations in units of the spread, shape (n, d)."""
        return np.asarray(np.sqrt((whitened**2).sum(axis=1)) / self.limit)

    def whitened(self, features: FloatArray) -> FloatArray:
        """The deviations from the training texts' mean, in units of their spread in each direction, shape (n, d)."""
        return np.asarray((features - self.mean) @ self.whitening)

    def foreign(self, distance: FloatArray) -> FloatArray:
        """Probability, 0 to 1, that a text at this distance is none that the task is about, shape (n,)."""
        return sigmoid(self.offset + self.slope * np.log(np.maximum(distance, 1e-6)))

    def save(self, folder: Path) -> None:
        """Writes ``familiarity.safetensors``; the matrix in half precision, which moves a distance by under 0.1 %."""
        from safetensors.numpy import save_file

        numbers = {name: str(getattr(self, name)) for name in ("layer", "limit", "slope", "offset")}
        tensors: dict[str, npt.NDArray[Any]] = {
            "mean": self.mean.astype(np.float32),
            "whitening": self.whitening.astype(np.float16),
        }
        save_file(tensors, str(folder / FAMILIARITY), metadata=numbers)


def read_familiarity(folder: Path) -> Familiarity | None:
    """The artefact's; None where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """

    def make(numbers: Mapping[str, str], tensor: Callable[[str], FloatArray]) -> Familiarity:
        limit, slope, offset = (float(numbers[name]) for name in ("limit", "slope", "offset"))
        return Familiarity(int(numbers["layer"]), tensor("mean"), tensor("whitening"), limit, slope, offset)

    return read_stored(folder / FAMILIARITY, "familiarity file", make)
