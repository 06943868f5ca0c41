"""TF-IDF with a linear model from scikit-learn, kept as a skops file: nothing is unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..artifacts import UNCALIBRATED, Calibration, Manifest, read_manifest
from ..errors import ArtifactError
from .base import FloatArray, Predictor, Spec, calibrate, logits_of

MODEL = "model.skops"
TRUSTED = ("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration")
"""Types that a skops file may hold beside those that skops trusts by itself: the parts of CalibratedClassifierCV.
Both hold arrays and other estimators only."""


class TfidfClassifier:
    """Calibrated probabilities from a scikit-learn pipeline. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        pipeline: Features, then a classifier over the labels' names (those that had training rows; the others get
            probability 0); multi-label: a OneVsRestClassifier whose columns are the manifest's labels, in order.

    Raises:
        ArtifactError: the pipeline has classes that are none of the manifest's labels.
    """

    def __init__(self, pipeline: Any, manifest: Manifest, name: str = "tfidf") -> None:
        self.name = name
        self.labels = manifest.labels
        self.multi_label = manifest.multi_label
        self.version = f"{manifest.task}/{manifest.version}"
        self.prior = manifest.prior
        self._calibration = manifest.calibration
        self._pipeline = pipeline
        self._columns = _columns(pipeline, manifest)

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); rows sum to 1, unless multi-label."""
        return self._answer(texts, self._calibration)

    def uncalibrated(self, texts: Sequence[str]) -> FloatArray:
        """The same as the model alone says it."""
        return self._answer(texts, UNCALIBRATED)

    def _answer(self, texts: Sequence[str], calibration: Calibration) -> FloatArray:
        if not texts:
            return np.zeros((0, len(self.labels)))
        raw = np.zeros((len(texts), len(self.labels)))
        raw[:, self._columns] = self._pipeline.predict_proba(list(texts))
        return calibrate(logits_of(raw, multi_label=self.multi_label), calibration, multi_label=self.multi_label)


def _columns(pipeline: Any, manifest: Manifest) -> list[int]:
    """Place among the manifest's labels of each column of the pipeline's answer."""
    if bool(getattr(pipeline[-1], "multilabel_", False)) is not manifest.multi_label:
        answers = "one label per text" if manifest.multi_label else "a probability for each label by itself"
        raise ArtifactError(f"the pipeline answers {answers}, its manifest says multi_label={manifest.multi_label}")
    classes = [str(label) for label in pipeline.classes_]
    if manifest.multi_label:
        if len(classes) != len(manifest.labels):
            raise ArtifactError(f"the pipeline knows {len(classes)} labels, its manifest says {list(manifest.labels)}")
        return list(range(len(classes)))
    if not set(classes) <= set(manifest.labels):
        raise ArtifactError(f"the pipeline knows {classes}, its manifest says {list(manifest.labels)}")
    return [manifest.labels.index(label) for label in classes]


def load(spec: Spec) -> Predictor:
    """Loads ``model.skops`` from ``spec.folder``.

    Raises:
        ArtifactError: a file is missing or changed, or holds a type that is not trusted.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'tfidf' needs an artefact folder")
    return TfidfClassifier(
        load_skops(spec.folder / MODEL), read_manifest(spec.folder), str(spec.options.get("name", "tfidf"))
    )


def load_skops(path: Any) -> Any:
    """The scikit-learn object in a skops file; only types that skops trusts, and those in TRUSTED, are built."""
    from skops.io import load as skops_load
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops_load(path, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise ArtifactError(f"{str(path)!r} holds types that are not trusted: {error}") from None
