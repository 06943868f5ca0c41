"""Any Hugging Face text classifier, its labels mapped to the task's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..artifacts import Calibration, resolve_base, sha256
from ..config import ModelSettings
from ..errors import ConfigError
from ._encoder import Encoder, load_pretrained
from .base import FloatArray, Predictor, Spec, calibrate, logits_of, sigmoid

_LONGEST = 512  # tokens; models that read more are asked in windows all the same, unless max_length says otherwise


class PretrainedOptions(BaseModel):
    """Options of the kinds that run a finished Hugging Face model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | Path = Field(description="Hub name, or a folder (absolute, or beginning with '.' or '~').")
    revision: str | None = Field(default=None, description="Hub commit; None means the main branch.")
    name: str | None = Field(default=None, description="Name shown in attempts; None: the kind.")
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="Calibration; 1 changes nothing.")
    device: str = Field(default="auto", description="'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.")
    tokens_per_batch: int = Field(default=4096, ge=1, description="Padded tokens in one forward pass.")
    window_overlap: int = Field(default=32, ge=0, description="Tokens that neighbouring windows share.")
    max_length: int | None = Field(default=None, ge=16, description="Tokens per window; None: what the model reads.")


class TransformerOptions(PretrainedOptions):
    """What ``Spec.options`` may hold for the kind ``transformer``."""

    label_map: dict[str, str] | None = Field(
        default=None, description="Model label to task label; None: both have the same labels, upper or lower case."
    )


class TransformerClassifier:
    """A finished classifier's answers as the task's. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        encoder: The model.
        columns: For each of the model's outputs the task label's column, or None where the task has no such label.
        multi_label: Whether the task is; the model then is too, and has an output for each of its labels.
    """

    def __init__(
        self,
        encoder: Encoder,
        labels: tuple[str, ...],
        columns: Sequence[int | None],
        *,
        temperature: float = 1.0,
        name: str = "transformer",
        version: str = "transformer",
        multi_label: bool = False,
    ) -> None:
        self.name = name
        self.labels = labels
        self.version = version
        self.multi_label = multi_label
        self._encoder = encoder
        self._calibration = Calibration(temperature=temperature)
        self._has_sigmoid = has_sigmoid(encoder)
        self._mapping = np.zeros((len(columns), len(labels)))
        for output, column in enumerate(columns):
            if column is not None:
                self._mapping[output, column] = 1.0
        self._covered = self._mapping.any(axis=0)

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (len(texts), len(labels)); each row sums to 1, unless multi-label.

        Outputs that map to one label are added up, outputs without a label dropped and the rest renormalised; a
        label without an output gets 0. A row with nothing left is NaN. Multi-label: of outputs that map to one label
        the largest is taken, and nothing is renormalised.
        """
        if self.multi_label:
            each = self._encoder.pooled(texts, sigmoid)
            largest = (each[:, :, None] * self._mapping).max(axis=1)
            return calibrate(logits_of(largest, multi_label=True), self._calibration, multi_label=True)
        raw = self._encoder.pooled(texts, sigmoid) if self._has_sigmoid else self._encoder.predict_proba(texts)
        mass = (raw @ self._mapping)[:, self._covered]
        total = mass.sum(axis=1, keepdims=True)
        shares = np.divide(mass, total, out=np.full_like(mass, np.nan), where=total > 0)
        result: FloatArray = np.zeros((len(texts), len(self.labels)))
        result[:, self._covered] = calibrate(logits_of(shares), self._calibration)
        result[np.isnan(shares).any(axis=1)] = np.nan
        return result

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Share, 0 to 1, of each text's tokens that the model does not know."""
        return self._encoder.unknown_share(texts)

    def exceeds_window(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is longer than the model reads at once."""
        return self._encoder.exceeds_window(texts)


def load(spec: Spec) -> Predictor:
    """Loads ``options["model"]``; see :class:`TransformerOptions`.

    Raises:
        ConfigError: an option is not allowed, or the model's labels and the task's do not fit together.
        BaseModelNotFoundError: the model is nowhere to be found.
        ArtifactError: its weights are no safetensors, or it has no trained head.
    """
    options = read_options(TransformerOptions, spec, "transformer")
    encoder, digest = load_encoder(options)
    outputs = [str(encoder.model.config.id2label[i]) for i in range(encoder.model.config.num_labels)]
    columns = match_labels(outputs, spec.labels, options.label_map)
    if spec.multi_label:
        _check_multi_label(encoder, options.model, spec.labels, columns)
    return TransformerClassifier(
        encoder,
        spec.labels,
        columns,
        temperature=options.temperature,
        name=options.name or "transformer",
        version=f"transformer/{Path(options.model).name}/{digest}",
        multi_label=spec.multi_label,
    )


def has_sigmoid(encoder: Encoder) -> bool:
    """Whether the model was trained to judge each label by itself."""
    return bool(encoder.model.config.problem_type == "multi_label_classification")


def _check_multi_label(
    encoder: Encoder, model: str | Path, labels: tuple[str, ...], columns: Sequence[int | None]
) -> None:
    """Raises ConfigError where the model cannot answer a multi-label task: a softmax says nothing about two at once."""
    if not has_sigmoid(encoder):
        raise ConfigError(
            f"{str(model)!r} chooses one of its labels, but the task is multi-label: take a model whose config.json "
            'says "problem_type": "multi_label_classification", or another kind, such as zero_shot'
        )
    missing = [label for column, label in enumerate(labels) if column not in columns]
    if missing:
        raise ConfigError(
            f"no output of {str(model)!r} maps to {missing}; a backup of a multi-label task needs one for each label"
        )


def match_labels(
    outputs: Sequence[str], labels: tuple[str, ...], label_map: Mapping[str, str] | None
) -> list[int | None]:
    """For each model label the column of its task label, or None; upper and lower case are the same.

    Raises:
        ConfigError: the map names a label that does not exist or leaves fewer than two task labels, or there is no
            map and the two sets differ; the message shows both.
    """
    both = f"the model's labels are {list(outputs)}, the task's are {list(labels)}"
    columns = {label.casefold(): i for i, label in enumerate(labels)}
    known = {output.casefold() for output in outputs}
    if label_map is None:
        if known != set(columns):
            raise ConfigError(f"{both}: give 'label_map', {{model label: task label}}, to say which is which")
        return [columns[output.casefold()] for output in outputs]
    unknown = [key for key in label_map if key.casefold() not in known]
    unknown += [value for value in label_map.values() if value.casefold() not in columns]
    if unknown:
        raise ConfigError(f"'label_map' names {unknown}, but {both}")
    targets = {key.casefold(): columns[value.casefold()] for key, value in label_map.items()}
    if len(set(targets.values())) < 2:
        raise ConfigError(f"'label_map' leaves fewer than two task labels to choose from; {both}")
    return [targets.get(output.casefold()) for output in outputs]


Options = TypeVar("Options", bound=BaseModel)


def read_options(model: type[Options], spec: Spec, kind: str) -> Options:
    """The spec's options, checked; the general model settings that a kind has no use for are passed over.

    Raises:
        ConfigError: an option is unknown, missing or out of range.
    """
    general = ModelSettings.model_fields.keys() - model.model_fields.keys()
    try:
        return model.model_validate({key: value for key, value in spec.options.items() if key not in general})
    except ValidationError as error:
        allowed = ", ".join(model.model_fields)
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))!r}: {e['msg']}, got {e['input']!r}" for e in error.errors()
        )
        raise ConfigError(f"options of a predictor of kind {kind!r}: {problems}; allowed: {allowed}") from None


def load_encoder(options: PretrainedOptions) -> tuple[Encoder, str]:
    """The model that the options name, and a digest that changes with its weights or with the options."""
    folder = resolve_base(str(options.model), revision=options.revision)
    model, tokenizer = load_pretrained(folder)
    longest = _longest_input(model, tokenizer)
    if options.max_length is not None and options.max_length > longest:
        raise ConfigError(f"'max_length' is {options.max_length}, but {str(options.model)!r} reads {longest} tokens")
    encoder = Encoder(
        model,
        tokenizer,
        max_length=options.max_length or min(longest, _LONGEST),
        overlap=options.window_overlap,
        tokens_per_batch=options.tokens_per_batch,
        device=options.device,
    )
    files = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".txt"})
    settings = options.model_dump(mode="json", exclude={"model", "name", "device", "tokens_per_batch"})
    content = json.dumps([settings, {path.name: sha256(path) for path in files}], sort_keys=True)
    return encoder, hashlib.sha256(content.encode()).hexdigest()[:12]


def _longest_input(model: Any, tokenizer: Any) -> int:
    """Tokens that the model reads at once, special tokens included."""
    longest = int(tokenizer.model_max_length)  # a huge number where nobody has set it
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return longest
    # RoBERTa's table of positions begins after its padding index: 514 rows are 512 tokens.
    tables = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    padding = next((getattr(table, "padding_idx", None) for table in tables), None)
    return min(longest, int(positions) - (0 if padding is None else int(padding) + 1))
