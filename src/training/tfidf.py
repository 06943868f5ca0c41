"""The TF-IDF backup: words and characters, logistic regression, calibrated on the validation split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import Manifest
from ..predictors import logits_of
from ..predictors.tfidf import MODEL, load_skops
from .artifact_writer import replacing, write_json, write_manifest
from .data import prior_of, targets, texts_of
from .datasets import Example
from .metrics import evaluate, fit_calibration
from .tasks import Task

log = logging.getLogger("healdag")


def train_tfidf(
    task: Task, train: Sequence[Example], validation: Sequence[Example], folder: Path, version: str
) -> None:
    """Trains on ``train``, calibrates on ``validation`` and writes ``folder/backups/tfidf``."""
    from skops.io import dump

    pipeline = build_pipeline(task.training.seed)
    pipeline.fit(texts_of(train), [row.label for row in train])
    shrink(pipeline)
    truth = targets(validation, task.labels)
    with replacing(folder / "backups" / "tfidf") as fresh:
        dump(pipeline, fresh / MODEL, compression=8, compresslevel=9)
        raw = np.asarray(load_skops(fresh / MODEL).predict_proba(texts_of(validation)), dtype=np.float64)
        raw = raw[:, [list(pipeline.classes_).index(label) for label in task.labels]]
        temperature, bias = fit_calibration(logits_of(raw), truth, with_bias=True)
        manifest = Manifest(
            kind="tfidf",
            task=task.name,
            version=version,
            labels=task.labels,
            prior=prior_of(truth, len(task.labels)),
            temperature=temperature,
            bias=bias,
        )
        write_manifest(fresh, manifest, [MODEL])
        figures = evaluate(raw, truth, task.labels)
        write_json(fresh / "metrics.json", {"rows": len(train), "validation_uncalibrated": figures})
        log.info("tfidf on validation: %s", figures["macro_f1"])


def build_pipeline(seed: int) -> Any:
    """Word 1-2-grams and character 2-5-grams, hashed: the file needs no vocabulary and loads at once."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    def vectorizer(analyzer: str, ngrams: tuple[int, int], bits: int) -> Any:
        hashing = HashingVectorizer(
            analyzer=analyzer, ngram_range=ngrams, n_features=2**bits, alternate_sign=False, norm=None, dtype=np.float32
        )
        return make_pipeline(hashing, TfidfTransformer(sublinear_tf=True))

    features = make_union(vectorizer("word", (1, 2), 16), vectorizer("char_wb", (2, 5), 17))
    model = LogisticRegression(C=3.0, class_weight="balanced", max_iter=200, random_state=seed)
    return make_pipeline(features, model)


def shrink(pipeline: Any) -> None:
    """Coefficients as 32-bit numbers, rounded: half the file, the same answers to 1e-3 of a logit."""
    model = pipeline[-1]
    model.coef_ = np.round(model.coef_, 3).astype(np.float32)
    model.intercept_ = model.intercept_.astype(np.float32)
