"""The classifier that an encoder, its labels and its calibration make; kinds differ in where the weights are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..artifacts import UNCALIBRATED, Calibration, Manifest
from ._encoder import DECIMALS, Encoder
from ._familiarity import FAMILIARITY, Familiarity, read_familiarity
from ._observe import Observed
from ._screen import SCREEN, Screen, columns, read_screen
from .base import FloatArray


class LoraClassifier:
    """Calibrated probabilities from a fine-tuned encoder. See :class:`~healdag.predictors.base.Predictor`.

    Attributes:
        engine: What runs the network: 'torch', 'onnx-fp32' or 'onnx-int8'.
        runtime: What runs an ONNX network: 'onnxruntime' or 'openvino'; '' with torch.
        engine_reason: Why it is that one, where there is something to say.
    """

    def __init__(
        self,
        encoder: Encoder,
        manifest: Manifest,
        name: str = "model",
        familiarity: Familiarity | None = None,
        screen: Screen | None = None,
        *,
        engine: str = "torch",
        runtime: str = "",
        engine_reason: str = "",
    ) -> None:
        self.name = name
        self.labels = manifest.labels
        # fp32 differs in the seventh digit, as torch does from one processor to another; int8 is another model.
        self.version = f"{manifest.task}/{manifest.version}{'/int8' if engine == 'onnx-int8' else ''}"
        self.engine = engine
        self.runtime = runtime
        self.engine_reason = engine_reason
        self.prior = manifest.prior
        self.multi_label = manifest.multi_label
        self._calibration = manifest.calibration
        self.familiarity = familiarity
        self.screen = screen
        self._encoder = encoder

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities of shape (len(texts), len(labels)); each row sums to 1, unless multi-label."""
        return self._encoder.predict_proba(texts, self._calibration, multi_label=self.multi_label)

    def examine(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        """Probabilities as above, and each text's distance from the training texts, shape (len(texts),), from one pass.

        The distance is in units of what 99 % of held-out texts stay below, to three decimals; None where the artefact
        holds no training texts' statistics.
        """
        seen = self.observe(texts)
        return seen.probabilities, seen.distances

    def observe(self, texts: Sequence[str], *, vectors: bool = False) -> Observed:
        """The same, and what else the pass shows.

        Args:
            vectors: Whether the texts as vectors are wanted: the deviations of their mean hidden states from those of
                the training texts, in units of their spread.
        """
        if not self.looked_at:
            return Observed(self.predict_proba(texts))
        values, hidden = self._encoder.examine(texts, self.looked_at, self._calibration, multi_label=self.multi_label)
        found = Observed(values)
        if self.familiarity is not None:
            own = self._states(hidden, [self.familiarity.layer])
            whitened = self.familiarity.whitened(own)
            found = replace(
                found,
                distances=self.familiarity.length(whitened).round(3),
                vectors=whitened if vectors else None,
            )
        if self.screen is not None:
            suspicions = self.screen.suspicion(self._states(hidden, self.screen.layers))
            found = replace(found, suspicions=suspicions.round(DECIMALS))
        return found

    def exact(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        """Like :meth:`examine`, not rounded."""
        layers = () if self.familiarity is None else (self.familiarity.layer,)
        values, hidden = self._encoder.exact(texts, layers, self._calibration, multi_label=self.multi_label)
        return values, None if self.familiarity is None else self.familiarity.distance(hidden)

    def hidden(self, texts: Sequence[str], *layers: int) -> FloatArray:
        """Mean hidden states of some layers side by side, shape (len(texts), len(layers) * d)."""
        return self._encoder.examine(texts, layers, UNCALIBRATED, multi_label=self.multi_label)[1]

    def _states(self, hidden: FloatArray, layers: Sequence[int]) -> FloatArray:
        """Those of some layers, from those of all that are looked at."""
        return hidden[:, columns(layers, self.looked_at, self._encoder.backend.hidden_size)]

    @property
    def looked_at(self) -> tuple[int, ...]:
        """Hidden layers that more is read from than the answer."""
        known = () if self.familiarity is None else (self.familiarity.layer,)
        return tuple(sorted({*known, *(() if self.screen is None else self.screen.layers)}))

    @property
    def calibration(self) -> Calibration:
        """What makes its probabilities of the logits."""
        return self._calibration

    @property
    def encoder(self) -> Encoder:
        """Tokens, windows, batches, and what runs the network."""
        return self._encoder

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
    name, reason = str(options.get("name", "model")), str(options.get("engine_reason", ""))
    screen = read_screen(folder) if SCREEN in manifest.files else None
    return LoraClassifier(encoder, manifest, name, known, screen, engine_reason=reason)
