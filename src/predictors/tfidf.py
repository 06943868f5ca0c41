"""TF-IDF with a linear model from scikit-learn, kept as a skops file: nothing is unpickled."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..artifacts import UNCALIBRATED, Calibration, Manifest, read_manifest
from ..errors import ArtifactError
from .base import FloatArray, Predictor, Spec, calibrate, logits_of

MODEL = "model.skops"
TRUSTED = ("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration")
"""Types that a skops file may hold beside those that skops trusts by itself: the parts of CalibratedClassifierCV.
Both hold arrays and other estimators only."""


@dataclass(frozen=True)
class Later:
    """A pipeline that is read when it is first asked: scikit-learn and skops take a second to import."""

    path: Path

    def read(self) -> Any:
        """The pipeline."""
        return load_skops(self.path)


class TfidfClassifier:
    """Calibrated probabilities from a scikit-learn pipeline. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        pipeline: Features, then a classifier over the labels' names (those that had training rows; the others get
            probability 0); multi-label: a OneVsRestClassifier whose columns are the manifest's labels, in order. Or
            where to read it when it is first asked.

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
        self._manifest = manifest
        self._given = pipeline
        self._reading = threading.Lock()
        if not isinstance(pipeline, Later):
            self._opened  # noqa: B018 - says at once what is wrong with it

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); rows sum to 1, unless multi-label."""
        return self._answer(texts, self._calibration)

    def uncalibrated(self, texts: Sequence[str]) -> FloatArray:
        """The same as the model alone says it."""
        return self._answer(texts, UNCALIBRATED)

    @cached_property
    def _opened(self) -> tuple[Any, list[int]]:
        """The pipeline, and what :func:`_columns` says of it."""
        with self._reading:
            pipeline = self._given.read() if isinstance(self._given, Later) else self._given
            return pipeline, _columns(pipeline, self._manifest)

    def _answer(self, texts: Sequence[str], calibration: Calibration) -> FloatArray:
        if not texts:
            return np.zeros((0, len(self.labels)))
        raw = np.zeros((len(texts), len(self.labels)))
        pipeline, columns = self._opened
        raw[:, columns] = pipeline.predict_proba(list(texts))
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
    manifest, path = read_manifest(spec.folder), spec.folder / MODEL
    # A backup is often never asked, and an ONNX engine is there to start fast. The manifest vouches for the file; its
    # content is looked at later.
    backup = spec.options.get("name") not in (None, "model")
    fast = str(spec.options.get("engine", "")).startswith("onnx")
    pipeline = Later(path) if (backup or fast) and MODEL in manifest.files else load_skops(path)
    return TfidfClassifier(pipeline, manifest, str(spec.options.get("name", "tfidf")))


def load_skops(path: Any) -> Any:
    """The scikit-learn object in a skops file; only types that skops trusts, and those in TRUSTED, are built."""
    with _without_torch():
        from skops.io import load as skops_load
        from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops_load(path, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise ArtifactError(f"{str(path)!r} holds types that are not trusted: {error}") from None


@contextmanager
def _without_torch() -> Iterator[None]:
    """Skops imports every module of scikit-learn, and the bridge to torch among them would load all of torch."""
    bridge = "sklearn.externals.array_api_compat.torch"
    unused = bridge not in sys.modules and "torch" not in sys.modules
    if unused:
        sys.modules[bridge] = ModuleType(bridge)
    try:
        yield
    finally:
        if unused:
            sys.modules.pop(bridge, None)
