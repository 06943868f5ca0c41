"""A fully fine-tuned classifier: the whole model with its head in the artefact folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..artifacts import Manifest, read_manifest
from ..errors import ArtifactError
from ._classifier import LoraClassifier, classifier_of
from ._engines import open_with_engine
from ._torch import load_pretrained
from .base import Predictor, Spec


def load(spec: Spec) -> Predictor:
    """Loads the model in ``spec.folder``.

    Raises:
        ArtifactError: a file is missing or changed, the head was not trained, or it has other labels.
        MissingExtraError: an ONNX engine is asked for and not installed.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'full' needs an artefact folder")
    manifest = read_manifest(spec.folder)
    return open_with_engine(manifest, spec.folder, spec.options, _load_with_torch)


def _load_with_torch(manifest: Manifest, folder: Path, options: Mapping[str, Any]) -> LoraClassifier:
    model, tokenizer = load_pretrained(folder)
    names = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    if names != list(manifest.labels):
        raise ArtifactError(f"the model in {str(folder)!r} knows {names}, its manifest says {list(manifest.labels)}")
    return classifier_of(model, tokenizer, manifest, folder, options)
