"""A fully fine-tuned classifier: the whole model with its head in the artefact folder."""

from __future__ import annotations

from ..artifacts import read_manifest
from ..errors import ArtifactError
from ._encoder import load_pretrained
from .base import Predictor, Spec
from .lora import classifier_of


def load(spec: Spec) -> Predictor:
    """Loads the model in ``spec.folder``.

    Raises:
        ArtifactError: a file is missing or changed, the head was not trained, or it has other labels.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'full' needs an artefact folder")
    manifest = read_manifest(spec.folder)
    model, tokenizer = load_pretrained(spec.folder)
    names = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]
    if names != list(manifest.labels):
        raise ArtifactError(
            f"the model in {str(spec.folder)!r} knows {names}, its manifest says {list(manifest.labels)}"
        )
    return classifier_of(model, tokenizer, manifest, spec.folder, spec.options)
