"""Finds vectors that point the same way, among ten thousand of them, in a fraction of a millisecond."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..predictors import FloatArray

Vectors = npt.NDArray[np.float32]

_SKETCH = 96
"""Numbers of a sketch."""
_SMALLEST = 256
"""With fewer vectors every one is compared in full."""
_SLACK = 0.3
"""How far two sketches may be from as similar as their vectors. They estimate a cosine c with a standard deviation of
(1 - c^2) / sqrt(96), which is 0.05 at 0.7: of two vectors just at such a limit not one pair in a million is missed."""
_MOST_PAIRS = 0.02
"""Share of all pairs up to which they are compared one by one, beyond it all together."""
_AT_ONCE = 256


class TwinIndex:
    """Unit vectors by key, searched for those of at least a given cosine similarity.

    Sketches are compared first: random projections to a quarter of the numbers (Johnson & Lindenstrauss 1984). What
    comes near is then compared in full.

    Not safe to share between threads by itself.

    Args:
        dimensions: Of the vectors.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._rows: Vectors = np.zeros((16, dimensions), dtype=np.float32)
        self._projection = np.random.default_rng(0).normal(size=(dimensions, _SKETCH)).astype(np.float32)
        self._sketches: Vectors = np.zeros((16, _SKETCH), dtype=np.float32)
        self._keys: list[str] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, vectors: Iterable[tuple[str, Vectors]]) -> None:
        """Takes vectors in, in place of those with the same keys."""
        for key, vector in vectors:
            place = self._places.setdefault(key, len(self._keys))
            if place == len(self._keys):
                self._keys.append(key)
                if place == len(self._rows):
                    self._grow()
            self._rows[place] = vector
            self._sketches[place] = self._sketch(vector[None])[0]

    def remove(self, key: str) -> None:
        """Forgets a vector, if it is there; the last one takes its place."""
        place = self._places.pop(key, None)
        if place is None:
            return
        last = self._keys.pop()
        if last != key:
            self._keys[place], self._places[last] = last, place
            self._rows[place] = self._rows[len(self._keys)]
            self._sketches[place] = self._sketches[len(self._keys)]

    def search(self, vectors: Vectors, least: float) -> list[list[tuple[str, float]]]:
        """Per vector the keys with at least this similarity, the most similar first.

        Args:
            vectors: Unit vectors, shape (n, dimensions).
            least: Cosine similarity, -1 to 1.
        """
        found: list[list[tuple[str, float]]] = [[] for _ in range(len(vectors))]
        if not self._keys or vectors.shape[1] != self.dimensions:  # of nothing but texts without a vector
            return found
        for start in range(0, len(vectors), _AT_ONCE):
            part = vectors[start : start + _AT_ONCE]
            for i, place, similarity in self._pairs(part, least):
                found[start + i].append((self._keys[place], similarity))
        for one in found:
            one.sort(key=lambda pair: -pair[1])
        return found

    def _pairs(self, vectors: Vectors, least: float) -> list[tuple[int, int, float]]:
        rows = self._rows[: len(self._keys)]
        if len(rows) >= _SMALLEST:
            near = self._sketch(vectors) @ self._sketches[: len(rows)].T
            asked, places = np.nonzero(near >= least - _SLACK)
            if len(asked) <= max(_MOST_PAIRS * near.size, 64):
                similar = np.einsum("ij,ij->i", vectors[asked], rows[places])
                kept = similar >= least
                return list(zip(asked[kept].tolist(), places[kept].tolist(), similar[kept].tolist(), strict=True))
        every = vectors @ rows.T
        asked, places = np.nonzero(every >= least)
        return list(zip(asked.tolist(), places.tolist(), every[asked, places].tolist(), strict=True))

    def _grow(self) -> None:
        self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._sketches = np.concatenate([self._sketches, np.zeros_like(self._sketches)])

    def _sketch(self, vectors: Vectors) -> Vectors:
        return unit(vectors @ self._projection)


def unit(vectors: FloatArray | Vectors) -> Vectors:
    """The vectors in length 1, shape (n, d); one without a direction is all 0, and like no other."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    divided = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=np.isfinite(lengths) & (lengths > 0))
    return np.asarray(divided, dtype=np.float32)


def stack(vectors: Sequence[FloatArray | None]) -> Vectors:
    """Vectors in length 1 as rows; None, or what is no number, becomes a row of 0."""
    width = next((len(vector) for vector in vectors if vector is not None), 1)
    return unit(np.array([np.zeros(width) if vector is None else vector for vector in vectors]).reshape(-1, width))
