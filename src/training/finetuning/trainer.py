"""The Hugging Face Trainer with our loss, averaged weights, the best weights kept, and checkpoints that resume."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler

from ...config import TrainingSettings
from ..checkpoints import COMPLETE
from .callbacks import Progress
from .losses import classification_loss
from .weights import BestWeights, WeightAverage, Weights, put, trained_weights

STATE = "state.safetensors"


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


class OrderOfEpoch(LengthGroupedSampler):  # type: ignore[misc]
    """Rows of like length together, in an order that the seed and the epoch alone decide.

    The Trainer's own order depends on what was drawn before: a training that goes on from the middle of an epoch would
    see some of its rows twice and others not at all.

    Args:
        batch_size: Rows per step.
        lengths: Of each row.
        seed: Of the order.
    """

    def __init__(self, batch_size: int, lengths: Sequence[int], seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer says which epoch begins."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        order: Iterator[int] = super().__iter__()
        return order


class ResumingTrainer(Trainer):  # type: ignore[misc]
    """Shows its progress, and can go on from its checkpoints, which hold what is trained and the best of it so far.

    Attributes:
        best: The best weights so far; whoever evaluates keeps them up to date.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.best = BestWeights()
        self._started, self._seconds_before = time.perf_counter(), 0.0
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)
        self.add_callback(Progress())

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        per_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return OrderOfEpoch(per_step, [row["length"] for row in rows], self.args.seed)

    def fit(self, checkpoint: Path | None = None) -> None:
        """Trains to the end, from a checkpoint where one is given."""
        with warnings.catch_warnings():
            # peft reads a property that transformers 5 deprecates; a caller can do nothing about it.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            # torch's loader asks for pinned memory where there is no GPU to pin it for.
            warnings.filterwarnings("ignore", ".*pin_memory", UserWarning)
            if checkpoint is None:
                self.train()
                return
            state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
            if state.global_step < state.max_steps:
                self.train(resume_from_checkpoint=str(checkpoint))
                return
            # It was written after the last step: the Trainer would take one more.
            self._load_from_checkpoint(str(checkpoint))
            self.state = state

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._started

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the tensors that a checkpoint needs."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        parts = self._parts()
        save_file({f"{p}/{k}": v.contiguous() for p, ws in parts.items() for k, v in ws.items()}, folder / STATE)

    def _parts(self) -> dict[str, Weights]:
        """Tensors for a checkpoint, by what they are."""
        best = {} if self.best.weights is None else {"best": self.best.weights}
        return {"model": trained_weights(self.model), **best}

    def _take(self, parts: dict[str, Weights]) -> None:
        """Takes the tensors of a checkpoint, the best aside."""
        put(parts["model"], self.model)

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
        self._take(parts)
        progress = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        self._seconds_before, best = progress["seconds"], progress["best"]
        if best is not None:
            self.best.weights = parts["best"]
            self.best.score, self.best.step, self.best.waited = best["score"], best["step"], best["waited"]


class FineTuner(ResumingTrainer):
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

    def finish(self) -> None:
        """Puts the weights to be kept into the model: the best, or else the average, or else the last."""
        evaluated = max((entry["step"] for entry in self.state.log_history if "eval_macro_f1" in entry), default=-1)
        if evaluated != self.state.global_step:
            # The Trainer looks every so many steps; the last weights, at the lowest learning rate, are often the best.
            self.evaluate()
        weights = self.best.weights or self.average.weights
        if weights is not None:
            put(weights, self.model)

    def _parts(self) -> dict[str, Weights]:
        parts = super()._parts()
        if self.average.weights is not None:
            parts["average"] = self.average.weights
        if self._auxiliary is not None:
            parts["auxiliary"] = self._auxiliary.state_dict()
        return parts

    def _take(self, parts: dict[str, Weights]) -> None:
        super()._take(parts)
        self.average.weights = parts.get("average")
        if self._auxiliary is not None:
            self._auxiliary.load_state_dict(parts["auxiliary"])
