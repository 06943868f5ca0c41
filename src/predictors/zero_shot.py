"""Zero-shot classification by entailment: does the text imply "this text expresses joy"?

Yin et al. 2019, arXiv:1909.00161. Any model trained for natural language inference will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from ..artifacts import Calibration
from ..errors import ConfigError
from ._encoder import Encoder
from .base import FloatArray, Predictor, Spec, calibrate
from .transformer import PretrainedOptions, load_encoder, read_options


class ZeroShotOptions(PretrainedOptions):
    """What ``Spec.options`` may hold for the kind ``zero_shot``."""

    hypothesis: str = Field(
        default="This text expresses {}.", pattern=r"\{\}", description="Sentence to test; {} becomes the label."
    )
    descriptions: dict[str, str] = Field(
        default_factory=dict, description="Task label to the words that stand for it; else the label itself."
    )


class ZeroShotClassifier:
    """Labels told apart by a model that knows what follows from what. See :class:`~healdag.predictors.base.Predictor`.

    Args:
        encoder: A model for natural language inference.
        entailment: Its output for "the second follows from the first".
        hypotheses: One sentence per label.
        contradiction: Its output for "the second contradicts the first"; given, the task is multi-label and each
            label's entailment is weighed against its contradiction alone.
    """

    def __init__(
        self,
        encoder: Encoder,
        labels: tuple[str, ...],
        *,
        entailment: int,
        hypotheses: Sequence[str],
        contradiction: int | None = None,
        temperature: float = 1.0,
        name: str = "zero_shot",
        version: str = "zero_shot",
    ) -> None:
        self.name = name
        self.labels = labels
        self.version = version
        self._encoder = encoder
        self.multi_label = contradiction is not None
        self._entailment = entailment
        self._contradiction = contradiction
        self._hypotheses = tuple(hypotheses)
        self._calibration = Calibration(temperature=temperature)

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Softmax over the labels' entailment logits, of shape (len(texts), len(labels)); each row sums to 1.

        Multi-label: per label the softmax over entailment and contradiction; a row has any sum.

        A text longer than the model reads is tested window by window, and the logits are averaged.
        """
        pairs = [(text, hypothesis) for text in texts for hypothesis in self._hypotheses]
        outputs = self._encoder.pooled(pairs, lambda logits: logits)
        logits = outputs[:, self._entailment]
        if self._contradiction is not None:
            logits = logits - outputs[:, self._contradiction]
        return calibrate(logits.reshape(len(texts), len(self.labels)), self._calibration, multi_label=self.multi_label)


def load(spec: Spec) -> Predictor:
    """Loads ``options["model"]``; see :class:`ZeroShotOptions`.

    Raises:
        ConfigError: an option is not allowed, or the model has no output for entailment.
        BaseModelNotFoundError: the model is nowhere to be found.
        ArtifactError: its weights are no safetensors, or it has no trained head.
    """
    options = read_options(ZeroShotOptions, spec, "zero_shot")
    unknown = sorted(options.descriptions.keys() - set(spec.labels))
    if unknown:
        raise ConfigError(f"'descriptions' names {unknown}, but the task's labels are {list(spec.labels)}")
    encoder, digest = load_encoder(options)
    hypotheses = [options.hypothesis.replace("{}", options.descriptions.get(label, label)) for label in spec.labels]
    return ZeroShotClassifier(
        encoder,
        spec.labels,
        entailment=_entailment_index(encoder, str(options.model)),
        hypotheses=_check_lengths(encoder, hypotheses),
        contradiction=_contradiction_index(encoder, str(options.model)) if spec.multi_label else None,
        temperature=options.temperature,
        name=options.name or "zero_shot",
        version=f"zero_shot/{Path(options.model).name}/{digest}",
    )


def _entailment_index(encoder: Encoder, model: str) -> int:
    label2id: dict[str, int] = encoder.model.config.label2id
    for label, index in label2id.items():
        if _entails(str(label)):
            return int(index)
    raise ConfigError(
        f"{model!r} has no label 'entailment', only {sorted(label2id)}; "
        "a zero-shot backup needs a model trained for natural language inference"
    )


def _contradiction_index(encoder: Encoder, model: str) -> int:
    """The output that stands against entailment: 'contradiction', or the other one of two ('not_entailment')."""
    label2id: dict[str, int] = encoder.model.config.label2id
    others = {str(label).casefold(): int(i) for label, i in label2id.items() if not _entails(str(label))}
    for label, index in others.items():
        if label.startswith("contradict") or len(others) == 1:
            return index
    raise ConfigError(
        f"{model!r} has no label 'contradiction', only {sorted(label2id)}; "
        "a zero-shot backup of a multi-label task weighs entailment against it"
    )


def _entails(label: str) -> bool:
    return label.casefold().startswith("entail")


def _check_lengths(encoder: Encoder, hypotheses: list[str]) -> list[str]:
    # Only the text is cut into windows; a hypothesis must leave it at least half of each.
    for hypothesis in hypotheses:
        if encoder.length(hypothesis) > encoder.max_length // 2:
            raise ConfigError(
                f"the hypothesis {hypothesis!r} is longer than {encoder.max_length // 2} tokens; shorten it"
            )
    return hypotheses
