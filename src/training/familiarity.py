"""Fits how far a text may lie from the training texts before it counts as unfamiliar."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..artifacts import read_manifest
from ..errors import UsageError
from ..predictors import FAMILIARITY, Familiarity, FloatArray, Spec, load_predictor
from ..predictors.lora import LoraClassifier
from ..text import clean_text
from .data import texts_of
from .datasets import Example

LAYER_SHARE = 2 / 3
"""Depth of the layer that is looked at. Of the seven of MiniLM, first tokens and means, with four ways to measure
distance, the mean of layer 4 told our foreign texts from dair_emotion's and TweetEval's best (AUROC 0.96 and 0.95 on
the half of them that chose nothing; on GoEmotions 0.97): deeper layers know little but the labels, flatter ones little
but words and length."""
QUANTILE = 0.99
FOREIGN_SHARE = 0.05
"""Share of texts, among those that are sent to a classifier, that are taken to be none that it is about."""
LEAST_AUROC = 0.8
"""Below it our foreign texts are not foreign to this task, such as code to a classifier of code."""
MOST_ROWS = 2000

log = logging.getLogger("healdag")
Features = Callable[[Sequence[str]], FloatArray]
"""Texts to mean hidden states of the layer, shape (n, d)."""


def foreign_texts(split: str) -> list[str]:
    """Our own texts (CC0) that an emotion classifier was never meant for, half of them for 'train', half for 'test'.

    Nonsense, other languages, code, lists, prompts and formal prose; see ``src/data/foreign/``.
    """
    texts = []
    for path in sorted(files("healdag.data").joinpath("foreign").iterdir(), key=lambda item: item.name):
        if path.name.endswith(".jsonl"):
            texts += [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    half = {"train": 0, "test": 1}[split]
    chosen = (clean_text(text) for text in texts if hashlib.sha256(text.encode()).digest()[0] % 2 == half)
    return [text for text in chosen if text]


def layer_of(layers: int) -> int:
    """The hidden state that is looked at, of a model with so many layers."""
    return max(1, round(LAYER_SHARE * layers))


def write_familiarity(folder: Path, rows: Sequence[Example], held_out: Sequence[Example], seed: int) -> str:
    """Fits and writes the familiarity of an adapter, or of a fully fine-tuned model; returns the file's name.

    Args:
        folder: The artefact; its manifest has to vouch for the file yet.
        rows: What it was trained on.

    Raises:
        UsageError: a model without hidden layers.
    """
    manifest = read_manifest(folder)
    model = load_predictor(manifest.kind, Spec(manifest.labels, folder, multi_label=manifest.multi_label))
    if not isinstance(model, LoraClassifier):
        raise UsageError(f"a model of kind {manifest.kind!r} has no hidden layers to measure distances in")
    layer = layer_of(model.layers)
    found = fit_familiarity(layer, lambda texts: model.hidden(texts, layer), texts_of(rows), texts_of(held_out), seed)
    found.save(folder)
    return FAMILIARITY


def fit_familiarity(
    layer: int, features: Features, training: Sequence[str], held_out: Sequence[str], seed: int
) -> Familiarity:
    """Mean and covariance (Ledoit & Wolf 2004) from training texts, the limit from held-out ones.

    Args:
        layer: What ``features`` looks at.
        training: Texts that the model was trained on; of more than 2,000 a sample is taken.
        held_out: Others of the same kind, at least one.
        seed: Of the sample.
    """
    from sklearn.covariance import LedoitWolf
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(seed)
    known = features([training[i] for i in generator.permutation(len(training))[:MOST_ROWS]])
    others = features([held_out[i] for i in generator.permutation(len(held_out))[: MOST_ROWS // 2]])
    mean = known.mean(axis=0)
    whitening = np.linalg.cholesky(LedoitWolf().fit(known).precision_)
    found = Familiarity(layer, mean, np.asarray(whitening), limit=1.0, slope=0.0, offset=-np.inf)
    near = found.distance(others)
    limit = float(np.quantile(near, QUANTILE))
    far = found.distance(features(foreign_texts("train")))
    distances = np.log(np.maximum(np.concatenate([near, far]) / limit, 1e-6))[:, None]
    foreign = np.arange(len(distances)) >= len(near)
    auroc = float(roc_auc_score(foreign, distances[:, 0]))
    log.info("familiar texts against foreign ones by their distance in layer %d: AUROC %.3f", layer, auroc)
    if auroc < LEAST_AUROC:
        return Familiarity(layer, mean, np.asarray(whitening), limit, slope=0.0, offset=-np.inf)
    fitted = LogisticRegression(class_weight="balanced").fit(distances, foreign)
    offset = float(fitted.intercept_[0]) + float(np.log(FOREIGN_SHARE / (1 - FOREIGN_SHARE)))
    return Familiarity(layer, mean, np.asarray(whitening), limit, float(fitted.coef_[0, 0]), offset)
