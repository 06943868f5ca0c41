"""The Hugging Face Trainer with our loss, averaged weights, the best weights kept, and checkpoints that resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from ...config import TrainingSettings
from .losses import classification_loss
from .weights import BestWeights, WeightAverage, Weights, put, trained_weights

STATE = "state.safetensors"
COMPLETE = "complete.json"
"""Written last into a checkpoint: without it the process was killed while it wrote the others."""


class AuxiliaryHead(torch.nn.Module):
    """Multi-label head over the mean of the last layer; it shapes the encoder in training and is then dropped."""

    def __init__(self, hidden: int, k: int, weight: float) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden, k)
        self.weight = weight

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """The weighted loss of the rows with fine labels (the others hold NaN)."""
        known = ~torch.isnan(fine).any(dim=1)
        if not known.any():
            return hidden.new_zeros(())
        weights = mask[known].unsqueeze(-1).float()
        mean = (hidden[known].float() * weights).sum(dim=1) / weights.sum(dim=1)
        return self.weight * functional.binary_cross_entropy_with_logits(self.linear(mean), fine[known])


class _Averaging(TrainerCallback):  # type: ignore[misc]
    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._average.update(model, state.global_step, state.max_steps)


class FineTuner(Trainer):  # type: ignore[misc]
    """Trains an adapter or a whole model.

    Args:
        settings: Loss, averaging, patience.
        class_weights: Per label, shape (k,); see :func:`healdag.training.finetuning.losses.class_weights`.
        auxiliary: A second head with a loss of its own, or None.
        measure: Gives the figures of the model on the validation split; 'eval_macro_f1' decides which weights are kept.
    """

    def __init__(
        self,
        *,
        settings: TrainingSettings,
        class_weights: torch.Tensor,
        auxiliary: AuxiliaryHead | None,
        measure: Callable[[Any], dict[str, float]] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._weights = class_weights.to(self.args.device)
        self._auxiliary = auxiliary.to(self.args.device) if auxiliary is not None else None
        self._measure = measure
        self.average = WeightAverage(settings.average_decay)
        self.best = BestWeights()
        self._started, self._seconds_before = time.perf_counter(), 0.0
        self.add_callback(_Averaging(self.average))
        # Our loss is a mean: the Trainer has to divide it where several passes make a step.
        self.model_accepts_loss_kwargs = False

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimiser, with the auxiliary head's weights too."""
        optimizer = super().create_optimizer() if model is None else super().create_optimizer(model)
        if self._auxiliary is not None and len(optimizer.param_groups) < 3:
            optimizer.add_param_group({"params": list(self._auxiliary.parameters())})
        return optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Classification loss, with the auxiliary head's added."""
        inputs = dict(inputs)
        fine, targets = inputs.pop("fine"), inputs.pop("labels")
        outputs = model(**inputs, output_hidden_states=self._auxiliary is not None)
        loss = classification_loss(
            outputs.logits.float(),
            targets,
            self._weights,
            kind=self._settings.loss,
            gamma=self._settings.focal_gamma,
            label_smoothing=self._settings.label_smoothing,
        )
        if self._auxiliary is not None:
            loss = loss + self._auxiliary(outputs.hidden_states[-1], inputs["attention_mask"], fine)
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Figures of the averaged weights on the validation split; keeps the best, stops where patience ends."""
        if self._measure is None:
            return {}
        with self.average.applied(self.model):
            metrics = self._measure(self.model)
            self.best.update(self.model, metrics["eval_macro_f1"], self.state.global_step)
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self._settings.patience and self.best.waited >= self._settings.patience:
            self.control.should_training_stop = True
        return metrics

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._started

    def restore(self, checkpoint: Path) -> None:
        """Everything as it was when the checkpoint was written."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))

    def finish(self) -> None:
        """Puts the weights to be kept into the model: the best, or else the average, or else the last."""
        evaluated = max((entry["step"] for entry in self.state.log_history if "eval_macro_f1" in entry), default=-1)
        if evaluated != self.state.global_step:
            # The Trainer looks every so many steps; the last weights, at the lowest learning rate, are often the best.
            self.evaluate()
        weights = self.best.weights or self.average.weights
        if weights is not None:
            put(weights, self.model)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """What a checkpoint needs: the trained weights, their average and best, and the auxiliary head."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        parts: dict[str, Weights] = {"model": trained_weights(self.model)}
        if self.average.weights is not None:
            parts["average"] = self.average.weights
        if self.best.weights is not None:
            parts["best"] = self.best.weights
        if self._auxiliary is not None:
            parts["auxiliary"] = self._auxiliary.state_dict()
        save_file({f"{p}/{k}": v.contiguous() for p, ws in parts.items() for k, v in ws.items()}, folder / STATE)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        best = {"score": self.best.score, "step": self.best.step, "waited": self.best.waited}
        progress = {"seconds": self.seconds, "best": best if self.best.weights is not None else None}
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        (folder / COMPLETE).write_text(json.dumps(progress), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        parts: dict[str, Weights] = {}
        for key, value in load_file(folder / STATE).items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = value.to(self.args.device)
        put(parts["model"], self.model)
        self.average.weights = parts.get("average")
        progress = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        self._seconds_before, best = progress["seconds"], progress["best"]
        if best is not None:
            self.best.weights = parts["best"]
            self.best.score, self.best.step, self.best.waited = best["score"], best["step"], best["waited"]
        if self._auxiliary is not None:
            self._auxiliary.load_state_dict(parts["auxiliary"])


def last_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint of a run, or None."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
