"""The untrained base as a classifier: the label whose name means most nearly what the text means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...artifacts import WEIGHTS, sha256
from ...predictors import FloatArray, softmax
from ...predictors._encoder import pick_device, quiet_transformers

SCALE = 20.0
"""Similarities are multiplied by it before the softmax, as in the training of the sentence embeddings (Reimers and
Gurevych 2019, sentence-transformers' MultipleNegativesRankingLoss)."""
_BATCH = 64


class NearestLabel:
    """Zero-shot: cosine similarity of the text's and the labels' names' embeddings, with a softmax.

    An embedding is the mean of the base's last layer over the tokens; a text is read up to ``max_length`` tokens. In
    a multi-label task too the probabilities sum to 1, so that at most one label is answered.

    Args:
        base: Folder of the pretrained base.
        device: See :func:`healdag.create_classifier`.
    """

    def __init__(
        self,
        base: Path,
        labels: tuple[str, ...],
        *,
        max_length: int = 128,
        device: str = "auto",
    ) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.name = "base"
        self.labels = labels
        self.version = f"base/{base.name}/{sha256(base / WEIGHTS)[:12]}"
        self._device = pick_device(device)
        self._max_length = max_length
        with quiet_transformers():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(base))
            self._model: Any = AutoModel.from_pretrained(str(base), dtype="float32").to(self._device).eval()
        self._names = self._embed([label.replace("_", " ").replace("-", " ") for label in labels])

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (len(texts), len(labels)), not calibrated; each row sums to 1."""
        if not texts:
            return np.zeros((0, len(self.labels)))
        return softmax(SCALE * (self._embed(texts) @ self._names.T))

    def _embed(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of shape (len(texts), hidden)."""
        import torch

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        result: FloatArray = np.zeros((len(texts), int(self._model.config.hidden_size)))
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            inputs = self._tokenizer(
                [texts[i] for i in rows],
                padding=True,
                truncation=True,
                max_length=self._max_length,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                hidden = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            result[rows] = ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).double().cpu().numpy()
        normed: FloatArray = result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)
        return normed
