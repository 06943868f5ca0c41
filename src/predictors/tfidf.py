"""TF-IDF over words and characters with logistic regression, kept as a skops file: nothing is unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..artifacts import Manifest, read_manifest
from ..errors import ArtifactError
from .base import FloatArray, Predictor, Spec, calibrate, logits_of

MODEL = "model.skops"


class TfidfClassifier:
    """Calibrated probabilities from a scikit-learn pipeline. See :class:`~healdag.predictors.base.Predictor`."""

    def __init__(self, pipeline: Any, manifest: Manifest, name: str = "tfidf") -> None:
        self.name = name
        self.labels = manifest.labels
        self.version = f"{manifest.task}/{manifest.version}"
        self.prior = manifest.prior
        self._temperature, self._bias = manifest.temperature, manifest.bias
        self._pipeline = pipeline
        classes = [str(label) for label in pipeline.classes_]
        if sorted(classes) != sorted(self.labels):
            raise ArtifactError(f"the pipeline knows {classes}, its manifest says {list(self.labels)}")
        self._columns = [classes.index(label) for label in self.labels]

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); each row sums to 1."""
        if not texts:
            return np.zeros((0, len(self.labels)))
        raw = np.asarray(self._pipeline.predict_proba(list(texts)), dtype=np.float64)
        return calibrate(logits_of(raw[:, self._columns]), self._temperature, self._bias)


def load(spec: Spec) -> Predictor:
    """Loads ``model.skops`` from ``spec.folder``.

    Raises:
        ArtifactError: a file is missing or changed, or holds a type that scikit-learn does not define.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'tfidf' needs an artefact folder")
    return TfidfClassifier(
        load_skops(spec.folder / MODEL), read_manifest(spec.folder), str(spec.options.get("name", "tfidf"))
    )


def load_skops(path: Any) -> Any:
    """The scikit-learn object in a skops file; only types that skops trusts by default are built."""
    from skops.io import load as skops_load
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops_load(path, trusted=[])
    except UntrustedTypesFoundException as error:
        raise ArtifactError(f"{str(path)!r} holds types that are not trusted: {error}") from None
