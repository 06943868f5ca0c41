"""The LoRA classifier: a PEFT adapter with its head, merged into the pretrained base that its manifest names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..artifacts import WEIGHTS, Manifest, read_manifest, resolve_base, verify_sha256
from ..errors import ArtifactError
from ._classifier import LoraClassifier, classifier_of
from ._engines import open_with_engine
from ._torch import quiet_transformers
from .base import Predictor, Spec

__all__ = ["ADAPTER", "LoraClassifier", "load", "load_base", "load_merged"]

ADAPTER = "adapter_model.safetensors"


def load(spec: Spec) -> Predictor:
    """Loads the adapter in ``spec.folder``.

    Raises:
        ArtifactError: a file is missing or changed, the head was not trained, or it has other labels.
        BaseModelNotFoundError: the base is nowhere to be found.
        MissingExtraError: an ONNX engine is asked for and not installed.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'lora' needs an artefact folder")
    manifest = read_manifest(spec.folder)
    return open_with_engine(manifest, spec.folder, spec.options, _load_with_torch)


def _load_with_torch(manifest: Manifest, folder: Path, options: Mapping[str, Any]) -> LoraClassifier:
    base_path = options.get("base_path")
    if manifest.base is None:
        raise ArtifactError(f"the manifest in {str(folder)!r} names no base model")
    base = resolve_base(manifest.base.name, base_path=base_path, revision=manifest.base.revision)
    verify_sha256(base / WEIGHTS, manifest.base.sha256)
    model, tokenizer = load_merged(base, folder, manifest.labels)
    return classifier_of(model, tokenizer, manifest, folder, options)


def load_merged(base: Path, adapter: Path, labels: Sequence[str]) -> tuple[Any, Any]:
    """The base with the adapter merged into its weights and the adapter's head, and the base's tokenizer."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open
    from transformers import AutoTokenizer

    with safe_open(str(adapter / ADAPTER), framework="numpy") as weights:
        trained = {key: weights.get_slice(key).get_shape() for key in weights.keys()}  # noqa: SIM118
    model, untrained = load_base(base, labels)
    for name in untrained:
        shape = next((s for key, s in trained.items() if key.endswith(f".{name}")), None)
        if shape is None:
            raise ArtifactError(
                f"the adapter in {str(adapter)!r} holds no trained {name!r}, which the base lacks too: "
                "its answers would be random; train it again with its head saved"
            )
        expected = list(model.get_parameter(name).shape)
        if shape != expected:
            raise ArtifactError(
                f"{name!r} in {str(adapter)!r} has shape {shape}, but {len(labels)} labels need {expected}: "
                "labels and head do not belong together"
            )
    with quiet_transformers(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # an error, below
        adapted = PeftModel.from_pretrained(model, str(adapter))
        tokenizer = AutoTokenizer.from_pretrained(str(base))
    missing = sorted(get_peft_model_state_dict(adapted, save_embedding_layers=False).keys() - trained.keys())
    if missing:
        raise ArtifactError(f"the adapter in {str(adapter)!r} lacks {missing}: restore the folder or train it again")
    return adapted.merge_and_unload(), tokenizer


def load_base(base: Path, labels: Sequence[str]) -> tuple[Any, list[str]]:
    """The base with a fresh classification head, and the names of the parameters that it does not bring along."""
    from transformers import AutoModelForSequenceClassification

    with quiet_transformers():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(base), num_labels=len(labels), output_loading_info=True, dtype="float32"
        )
    return model, sorted(info["missing_keys"])
