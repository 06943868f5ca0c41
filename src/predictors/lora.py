"""The LoRA classifier: a PEFT adapter with its head, merged into the pretrained base that its manifest names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..artifacts import UNCALIBRATED, WEIGHTS, Manifest, read_manifest, resolve_base, verify_sha256
from ..errors import ArtifactError
from ._encoder import Encoder, quiet_transformers
from ._familiarity import FAMILIARITY, Familiarity, read_familiarity
from .base import FloatArray, Predictor, Spec

ADAPTER = "adapter_model.safetensors"


class LoraClassifier:
    """Calibrated probabilities from an adapter on its base. See :class:`~healdag.predictors.base.Predictor`."""

    def __init__(
        self, encoder: Encoder, manifest: Manifest, name: str = "model", familiarity: Familiarity | None = None
    ) -> None:
        self.name = name
        self.labels = manifest.labels
        self.version = f"{manifest.task}/{manifest.version}"
        self.prior = manifest.prior
        self.multi_label = manifest.multi_label
        self._calibration = manifest.calibration
        self.familiarity = familiarity
        self._encoder = encoder

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); each row sums to 1, unless multi-label."""
        return self._encoder.predict_proba(texts, self._calibration, multi_label=self.multi_label)

    def examine(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        """Probabilities as above, and each text's distance from the training texts, shape (len(texts),), from one pass.

        The distance is in units of what 99 % of held-out texts stay below, to three decimals; None where the artefact
        holds no training texts' statistics.
        """
        if self.familiarity is None:
            return self.predict_proba(texts), None
        values, hidden = self._encoder.examine(
            texts, self.familiarity.layer, self._calibration, multi_label=self.multi_label
        )
        return values, self.familiarity.distance(hidden).round(3)

    def hidden(self, texts: Sequence[str], layer: int) -> FloatArray:
        """Mean hidden states of a layer, shape (len(texts), d)."""
        return self._encoder.examine(texts, layer, UNCALIBRATED, multi_label=self.multi_label)[1]

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return int(self._encoder.model.config.num_hidden_layers)

    def uncalibrated(self, texts: Sequence[str]) -> FloatArray:
        """The same as the model alone says it."""
        return self._encoder.predict_proba(texts, UNCALIBRATED, multi_label=self.multi_label)

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Share, 0 to 1, of each text's tokens that the model does not know."""
        return self._encoder.unknown_share(texts)

    def exceeds_window(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is longer than the model reads at once."""
        return self._encoder.exceeds_window(texts)


def load(spec: Spec) -> Predictor:
    """Loads the adapter in ``spec.folder``.

    Raises:
        ArtifactError: a file is missing or changed, the head was not trained, or it has other labels.
        BaseModelNotFoundError: the base is nowhere to be found.
    """
    if spec.folder is None:
        raise ArtifactError("a predictor of kind 'lora' needs an artefact folder")
    manifest = read_manifest(spec.folder)
    options = dict(spec.options)
    base_path = options.get("base_path")
    if manifest.base is None:
        raise ArtifactError(f"the manifest in {str(spec.folder)!r} names no base model")
    base = resolve_base(manifest.base.name, base_path=base_path, revision=manifest.base.revision)
    verify_sha256(base / WEIGHTS, manifest.base.sha256)
    model, tokenizer = load_merged(base, spec.folder, manifest.labels)
    return classifier_of(model, tokenizer, manifest, spec.folder, options)


def classifier_of(
    model: Any, tokenizer: Any, manifest: Manifest, folder: Path, options: Mapping[str, Any]
) -> LoraClassifier:
    """A loaded model as a predictor, with the options that every encoder has, and what its folder knows of texts."""
    encoder = Encoder(
        model,
        tokenizer,
        max_length=manifest.max_length,
        overlap=int(options.get("window_overlap", 32)),
        tokens_per_batch=int(options.get("tokens_per_batch", 4096)),
        device=str(options.get("device", "auto")),
    )
    known = read_familiarity(folder) if FAMILIARITY in manifest.files else None
    return LoraClassifier(encoder, manifest, str(options.get("name", "model")), known)


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
