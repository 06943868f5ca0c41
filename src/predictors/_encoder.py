"""A transformer encoder with a classification head: tokens, windows, batches. Shared by several kinds."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from ..artifacts import UNCALIBRATED, Calibration
from ..errors import ArtifactError, ConfigError
from .base import FloatArray, calibrate

DECIMALS = 4
ROUNDING = 10.0**-DECIMALS
TextInput = str | tuple[str, str]


def pick_device(device: str) -> str:
    """``auto`` as the best device that torch finds; any other name as it is.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    import torch

    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            problem = str(error).splitlines()[0]
            raise ConfigError(
                f"device {device!r} cannot be used ({problem}); 'auto' takes the best one, 'cpu' always works"
            ) from None
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar and no report of fresh head weights: that they are fresh is checked here instead."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # peft reads a property that transformers 5 deprecates; a caller can do nothing about it.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def load_pretrained(folder: Path) -> tuple[Any, Any]:
    """The finished classifier in a folder and its tokenizer; no code of the model's own is run, nothing unpickled.

    Raises:
        ArtifactError: no safetensors weights, an unknown architecture, no fast tokenizer, or no trained head.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(folder), use_safetensors=True, output_loading_info=True, dtype="float32", **safe
            )
    except Exception as error:  # transformers raises many kinds; each means that this folder holds no such model
        raise ArtifactError(f"cannot load a text classifier from {str(folder)!r}: {error}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ArtifactError(
            f"the model in {str(folder)!r} holds no trained {missing}: its answers would be random; "
            "take one that was trained for text classification"
        )
    if not tokenizer.is_fast:
        raise ArtifactError(f"the model in {str(folder)!r} has no fast tokenizer (tokenizer.json)")
    if tokenizer.pad_token_id is None:  # decoders have none, and any will do: padding is masked
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


@dataclass(frozen=True)
class _Window:
    text: int
    encoding: Encoding


class Encoder:
    """Runs a sequence-classification model over texts of any length.

    A text longer than the model reads is cut into overlapping windows and the windows' probabilities are averaged,
    weighted by their tokens. Batches are filled by padded tokens, texts of like length together.

    Args:
        model: A Hugging Face sequence-classification model, in evaluation mode.
        tokenizer: Its fast tokenizer.
        max_length: Tokens per window, special tokens included.
        overlap: Tokens that neighbouring windows share.
        tokens_per_batch: Padded tokens in one forward pass.
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
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.max_length = max_length
        self._tokens_per_batch = tokens_per_batch
        # A private copy whose window length is set once: changing it per call is what makes a shared fast
        # tokenizer fail with "Already borrowed" under threads.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, stride=min(overlap, max_length // 4), strategy="only_first")
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._unknown_id = tokenizer.unk_token_id
        self._takes_types = "token_type_ids" in inspect.signature(model.forward).parameters

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
        self, texts: Sequence[TextInput], layer: int, calibration: Calibration, *, multi_label: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """The same, and in the same pass each text's mean hidden state of a layer: shape (len(texts), d).

        Args:
            layer: 0 for the embeddings, then one per layer.
        """
        values, hidden = self._pooled(
            texts, lambda logits: calibrate(logits, calibration, multi_label=multi_label), layer
        )
        return _rounded(values, multi_label=multi_label), hidden

    def pooled(self, texts: Sequence[TextInput], function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Means of ``function(logits)`` over each text's windows, weighted by their tokens.

        Args:
            texts: Texts, or pairs of which only the first is cut into windows.
            function: Takes and returns an array of shape (windows, labels).

        Returns:
            Array of shape (len(texts), number of labels); NaN for a text of which the tokenizer leaves no token.
        """
        return self._pooled(texts, function, None)[0]

    def _pooled(
        self, texts: Sequence[TextInput], function: Callable[[FloatArray], FloatArray], layer: int | None
    ) -> tuple[FloatArray, FloatArray]:
        encodings = self._tokenizer.encode_batch(list(texts))
        windows = [_Window(i, e) for i, first in enumerate(encodings) for e in (first, *first.overflowing) if e.ids]
        windows.sort(key=lambda window: len(window.encoding.ids))
        width = 0 if layer is None else int(self.model.config.hidden_size)
        result: FloatArray = np.zeros((len(encodings), int(self.model.config.num_labels)))
        hidden: FloatArray = np.zeros((len(encodings), width))
        weights: FloatArray = np.zeros((len(encodings), 1))
        for batch in self._batches(windows):
            logits, states = self._forward(batch, layer)
            for window, row, state in zip(batch, function(logits), states, strict=True):
                weight = len(window.encoding.ids)
                result[window.text] += weight * row
                hidden[window.text] += weight * state
                weights[window.text] += weight
        means = (
            np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0) for sums in (result, hidden)
        )
        return next(means), next(means)

    def length(self, text: str) -> int:
        """Tokens of a text, special tokens included, counted up to one window."""
        return len(self._tokenizer.encode(text).ids)

    def exceeds_window(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is longer than the model reads at once."""
        return [bool(encoding.overflowing) for encoding in self._tokenizer.encode_batch(list(texts))]

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Share, 0 to 1, of each text's tokens that are not in the vocabulary."""
        if self._unknown_id is None:
            return [0.0] * len(texts)
        shares = []
        for encoding in self._tokenizer.encode_batch(list(texts)):
            real = [t for t, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special]
            shares.append(real.count(self._unknown_id) / len(real) if real else 1.0)
        return shares

    def _batches(self, windows: list[_Window]) -> Iterator[list[_Window]]:
        """Runs of windows, sorted by length, whose padded size stays within the token budget."""
        batch: list[_Window] = []
        for window in windows:
            if batch and (len(batch) + 1) * len(window.encoding.ids) > self._tokens_per_batch:
                yield batch
                batch = []
            batch.append(window)
        if batch:
            yield batch

    def _forward(self, batch: list[_Window], layer: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Logits of shape (n, labels), and the windows' mean hidden states of the layer, (n, d); d is 0 without one."""
        import torch

        length = max(len(window.encoding.ids) for window in batch)
        ids = torch.full((len(batch), length), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(batch), length), dtype=torch.long)
        types = torch.zeros((len(batch), length), dtype=torch.long)
        for i, window in enumerate(batch):
            n = len(window.encoding.ids)
            ids[i, :n] = torch.tensor(window.encoding.ids)
            types[i, :n] = torch.tensor(window.encoding.type_ids)
            mask[i, :n] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._takes_types:
            inputs["token_type_ids"] = types
        with torch.inference_mode():
            inputs = {key: value.to(self.device) for key, value in inputs.items()}
            outputs = self.model(**inputs, output_hidden_states=layer is not None)
            logits: FloatArray = outputs.logits.double().cpu().numpy()
            if layer is None:
                return logits, np.zeros((len(batch), 0))
            shares = inputs["attention_mask"].unsqueeze(2).float()
            means = (outputs.hidden_states[layer].float() * shares).sum(1) / shares.sum(1)
            return logits, means.double().cpu().numpy()


def _rounded(exact: FloatArray, *, multi_label: bool) -> FloatArray:
    if multi_label:
        return np.asarray(np.clip(exact, ROUNDING, 1.0 - ROUNDING).round(DECIMALS), dtype=np.float64)
    rounded = np.round(np.maximum(exact, ROUNDING), DECIMALS)
    result: FloatArray = rounded / rounded.sum(axis=1, keepdims=True)
    return result
