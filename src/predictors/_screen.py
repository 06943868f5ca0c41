"""What a classifier's own pass tells of sarcasm: enough to see which texts the detector need not be asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._stored import read_stored
from .base import FloatArray, sigmoid

SCREEN = "sarcasm_screen.safetensors"


@dataclass(frozen=True)
class Screen:
    """A linear probe (Alain & Bengio 2016, arXiv:1610.01644) of the hidden states for what a sarcasm detector says.

    Attributes:
        layers: Whose hidden states, averaged over a text's tokens, it reads side by side.
        weights: Of these numbers in the log-odds that the text is sarcastic, shape (len(layers) * d,).
        offset: Added to them.
        threshold: Below this probability, 0 to 1, the detector need not be asked.
        detector: SHA-256 of the manifest of the detector that it was fitted to; it says nothing of another.
        flagged_from: The detector's probability from which a text counted as flagged.
        texts: Held-out texts that the rest was measured on.
        asked: Share of them about which the detector has to be asked, 0 to 1.
        missed: Share, of those that the detector flags, about which it is not asked.
    """

    layers: tuple[int, ...]
    weights: FloatArray
    offset: float
    threshold: float
    detector: str
    flagged_from: float
    texts: int
    asked: float
    missed: float

    def suspicion(self, states: FloatArray) -> FloatArray:
        """How likely the detector is to find each text sarcastic, as far as these states show it: 0 to 1, shape (n,).

        Args:
            states: Mean hidden states of ``layers``, side by side, shape (n, len(layers) * d).
        """
        return sigmoid(self.offset + states @ self.weights)

    def save(self, folder: Path) -> None:
        """Writes ``sarcasm_screen.safetensors``."""
        from safetensors.numpy import save_file

        numbers = ("offset", "threshold", "detector", "flagged_from", "texts", "asked", "missed")
        told = {name: str(getattr(self, name)) for name in numbers} | {"layers": " ".join(map(str, self.layers))}
        save_file({"weights": self.weights.astype(np.float32)}, str(folder / SCREEN), metadata=told)


def read_screen(folder: Path) -> Screen | None:
    """The artefact's; None where it has none.

    Raises:
        ArtifactError: the file is not valid.
    """

    def make(told: Mapping[str, str], tensor: Callable[[str], FloatArray]) -> Screen:
        numbers = {name: float(told[name]) for name in ("offset", "threshold", "flagged_from", "asked", "missed")}
        layers = tuple(int(layer) for layer in told["layers"].split())
        return Screen(layers, tensor("weights"), detector=told["detector"], texts=int(told["texts"]), **numbers)

    return read_stored(folder / SCREEN, "screen", make)


def every_layer(count: int) -> tuple[int, ...]:
    """The hidden states that a screen reads, of a model with so many layers: all but the embeddings."""
    return tuple(range(1, count + 1))


def columns(of: Sequence[int], within: Sequence[int], size: int) -> slice | list[int]:
    """Where the states of some layers are among those of others, each ``size`` numbers wide."""
    if tuple(of) == tuple(within):
        return slice(None)
    return [place for layer in of for place in range(within.index(layer) * size, (within.index(layer) + 1) * size)]
