"""A transformer encoder with a classification head: tokens, windows, batches. Shared by several kinds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..artifacts import UNCALIBRATED, Calibration
from ._halving import is_out_of_memory
from ._torch import TorchBackend, load_pretrained, pick_device, quiet_transformers
from ._windows import Ids, TextInput, Window, windows_of
from .base import FloatArray, calibrate

__all__ = [
    "Backend",
    "Encoder",
    "Ids",
    "TextInput",
    "Vocabulary",
    "load_pretrained",
    "pick_device",
    "quiet_transformers",
]

DECIMALS = 4
ROUNDING = 10.0**-DECIMALS

log = logging.getLogger("healdag")


@runtime_checkable
class Backend(Protocol):
    """What runs the network: one forward pass over a padded batch. Safe to share between threads.

    It may have ``free()``, which gives memory back that it holds for later passes, and ``prefers_few_shapes``, which
    is True where batches of a shape that it has not seen lately cost it time.

    Attributes:
        num_labels: Columns of the logits.
        hidden_size: Dimensions of a hidden state.
    """

    num_labels: int
    hidden_size: int

    def run(self, ids: Ids, mask: Ids, types: Ids, layers: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Logits of shape (n, labels), and the rows' mean hidden states of the layers side by side, (n, layers * d).

        Args:
            ids: Tokens, shape (n, length).
            mask: 1 for a token, 0 for padding.
            types: 0 for the first text of a pair, 1 for the second.
            layers: 0 for the embeddings, then one per layer.
        """
        ...


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer without what transformers adds to it.

    Attributes:
        content: Of ``tokenizer.json``.
        pad_id: Token that fills a batch up; masked, so any will do.
        unknown_id: Token for what is not in the vocabulary; None where everything is.
    """

    content: str
    pad_id: int
    unknown_id: int | None

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """That of a fast tokenizer of transformers."""
        content = tokenizer.backend_tokenizer.to_str()
        return cls(content, int(tokenizer.pad_token_id or 0), tokenizer.unk_token_id)


@dataclass(frozen=True, slots=True)
class _Row:
    """A window, and of which text it is."""

    text: int
    window: Window


class Encoder:
    """Runs a sequence-classification model over texts of any length.

    A text longer than the model reads is cut into overlapping windows and the windows' probabilities are averaged,
    weighted by their tokens. Batches are filled by padded tokens, texts of like length together.

    Args:
        model: A Hugging Face sequence-classification model, which torch runs; or what runs another.
        tokenizer: Its fast tokenizer, or what is left of it without transformers.
        max_length: Tokens per window, special tokens included.
        overlap: Tokens that neighbouring windows share.
        tokens_per_batch: Padded tokens in one forward pass.
        device: Where torch runs a model; see :func:`pick_device`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        overlap: int = 32,
        tokens_per_batch: int = 4096,
        device: str = "auto",
    ) -> None:
        self.backend: Backend = model if isinstance(model, Backend) else TorchBackend(model, pick_device(device))
        self.vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else Vocabulary.of(tokenizer)
        self.max_length = max_length
        self._tokens_per_batch = tokens_per_batch
        self._windows = windows_of(self.vocabulary.content, max_length, min(overlap, max_length // 4))

    @property
    def model(self) -> Any:
        """The Hugging Face model, where torch runs it."""
        assert isinstance(self.backend, TorchBackend)
        return self.backend.model

    def predict_proba(
        self,
        texts: Sequence[TextInput],
        calibration: Calibration = UNCALIBRATED,
        *,
        multi_label: bool = False,
    ) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), number of labels); see :func:`base.calibrate`.

        To four decimals, none below 0.0001 (multi-label: nor above 0.9999): matrix products of other sizes differ in
        the seventh digit, and a text's answer should not depend on what else is in its batch.
        """
        exact = self.pooled(texts, lambda logits: calibrate(logits, calibration, multi_label=multi_label))
        return _rounded(exact, multi_label=multi_label)

    def examine(
        self, texts: Sequence[TextInput], layers: Sequence[int], calibration: Calibration, *, multi_label: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """The same, and from the same pass each text's mean hidden states of some layers, side by side.

        Args:
            layers: 0 for the embeddings, then one per layer.

        Returns:
            Probabilities, and an array of shape (len(texts), len(layers) * d).
        """
        values, hidden = self.exact(texts, layers, calibration, multi_label=multi_label)
        return _rounded(values, multi_label=multi_label), hidden

    def exact(
        self, texts: Sequence[TextInput], layers: Sequence[int], calibration: Calibration, *, multi_label: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Like :meth:`examine`, not rounded."""
        return self._pooled(texts, lambda logits: calibrate(logits, calibration, multi_label=multi_label), layers)

    def pooled(self, texts: Sequence[TextInput], function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Means of ``function(logits)`` over each text's windows, weighted by their tokens.

        Args:
            texts: Texts, or pairs of which only the first is cut into windows.
            function: Takes and returns an array of shape (windows, labels).

        Returns:
            Array of shape (len(texts), number of labels); NaN for a text of which the tokenizer leaves no token.
        """
        return self._pooled(texts, function, ())[0]

    def _pooled(
        self, texts: Sequence[TextInput], function: Callable[[FloatArray], FloatArray], layers: Sequence[int]
    ) -> tuple[FloatArray, FloatArray]:
        cut = self._windows.cut(texts)
        rows = [_Row(i, window) for i, windows in enumerate(cut) for window in windows]
        rows.sort(key=lambda row: len(row.window.ids))
        if not rows:
            widths = self.backend.num_labels, len(layers) * self.backend.hidden_size
            return np.full((len(texts), widths[0]), np.nan), np.full((len(texts), widths[1]), np.nan)
        passes = [self._forward(batch, layers) for batch in self._batches(rows)]
        values = function(np.concatenate([logits for logits, _ in passes]))
        states = np.concatenate([states for _, states in passes])
        of = np.array([row.text for row in rows])
        lengths = np.array([len(row.window.ids) for row in rows], dtype=np.float64)
        return _averaged(values, of, lengths, len(texts)), _averaged(states, of, lengths, len(texts))

    def length(self, text: str) -> int:
        """Tokens of a text, special tokens included, counted up to one window."""
        return sum(len(window.ids) for window in self._windows.cut([text])[0][:1])

    def exceeds_window(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is longer than the model reads at once."""
        return [len(windows) > 1 for windows in self._windows.cut(texts)]

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Share, 0 to 1, of each text's tokens that are not in the vocabulary."""
        unknown = self.vocabulary.unknown_id
        if unknown is None:
            return [0.0] * len(texts)
        shares = []
        for windows in self._windows.cut(texts):
            real = len(windows[0].ids) - windows[0].special if windows else 0
            shares.append(float((windows[0].ids == unknown).sum()) / real if real else 1.0)
        return shares

    def _batches(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Runs of windows, sorted by length, whose padded size stays within the token budget."""
        batch: list[_Row] = []
        for row in rows:
            if batch and (len(batch) + 1) * len(row.window.ids) > self._tokens_per_batch:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _forward(self, batch: list[_Row], layers: Sequence[int] = ()) -> tuple[FloatArray, FloatArray]:
        """Logits of shape (n, labels), and the windows' mean hidden states of the layers, (n, layers * d).

        Where memory runs out the batch is halved, down to one window.
        """
        try:
            return self._run(batch, layers)
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            log.warning("out of memory: %d windows at once instead of %d", len(batch) // 2, len(batch))
        # Here, where the error no longer keeps what the failed pass had allocated.
        free = getattr(self.backend, "free", None)
        if free is not None:
            free()
        middle = len(batch) // 2
        halves = [self._forward(half, layers) for half in (batch[:middle], batch[middle:])]
        return np.concatenate([logits for logits, _ in halves]), np.concatenate([states for _, states in halves])

    def _run(self, batch: list[_Row], layers: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        length = self._padded(max(len(row.window.ids) for row in batch))
        ids: Ids = np.full((len(batch), length), self.vocabulary.pad_id, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for i, row in enumerate(batch):
            n = len(row.window.ids)
            ids[i, :n], types[i, :n], mask[i, :n] = row.window.ids, row.window.types, 1
        return self.backend.run(ids, mask, types, layers)

    def _padded(self, length: int) -> int:
        """The length that a batch is given: one of fewer, for a backend that prepares itself for each shape anew."""
        if not getattr(self.backend, "prefers_few_shapes", False):
            return length
        return max(length, min(-(-length // 4) * 4, self.max_length))


def _averaged(values: FloatArray, rows: npt.NDArray[np.int64], weights: FloatArray, n: int) -> FloatArray:
    """Weighted means, shape (n, k), of the values, (windows, k), that belong to each row; NaN where there are none."""
    result: FloatArray = np.full((n, values.shape[1]), np.nan)
    if np.bincount(rows).max() == 1:
        result[rows] = values
        return result
    sums, totals = np.zeros_like(result), np.zeros((n, 1))
    np.add.at(sums, rows, values * weights[:, None])
    np.add.at(totals, rows, weights[:, None])
    return np.divide(sums, totals, out=result, where=totals > 0)


def _rounded(exact: FloatArray, *, multi_label: bool) -> FloatArray:
    if multi_label:
        return np.asarray(np.clip(exact, ROUNDING, 1.0 - ROUNDING).round(DECIMALS), dtype=np.float64)
    rounded = np.round(np.maximum(exact, ROUNDING), DECIMALS)
    result: FloatArray = rounded / rounded.sum(axis=1, keepdims=True)
    return result
