"""Training of a LoRA adapter with its classification head on a pretrained base, by the Hugging Face Trainer."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments, set_seed

from ..config import LoraSettings, TrainingSettings
from ..errors import UsageError
from ..predictors._encoder import quiet_transformers
from ..predictors.lora import ADAPTER, load_base
from .datasets import Example

IGNORED = -100  # the label index that torch's cross entropy leaves out


@dataclass(frozen=True)
class Trained:
    """What a training run leaves: the PEFT model, and figures about the run."""

    model: Any
    history: list[dict[str, Any]]
    seconds: float
    rows: int


def train_adapter(
    base: Path,
    labels: Sequence[str],
    train: Sequence[Example],
    auxiliary: Sequence[Example],
    lora: LoraSettings,
    settings: TrainingSettings,
    start: Path | None = None,
) -> Trained:
    """Trains an adapter and a head.

    Args:
        base: Folder of the pretrained base.
        labels: The task's labels, in the order of the head's rows.
        train: Rows with one of ``labels`` each.
        auxiliary: Rows with fine labels; those whose text is in ``train`` add a signal to that row, others are
            trained on with their fine labels alone. Empty for none.
        start: Artefact folder of an adapter of the same shape on the same base whose weights, the head aside, the
            training starts from; None starts from zero.
    """
    set_seed(settings.seed)
    model, untrained = load_base(base, labels)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(str(base))
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        # Everything that the base does not bring is trained and saved, or it would be random again after loading.
        modules_to_save=sorted({name.rsplit(".", 1)[0] for name in untrained}),
    )
    with quiet_transformers():
        peft_model = get_peft_model(model, config)
    if start is not None:
        load_start(peft_model, start)
    rows, fine = _merge(train, auxiliary, list(labels), tokenizer, lora.max_length)
    trainer = _AdapterTrainer(
        model=peft_model,
        args=_arguments(settings),
        train_dataset=rows,
        data_collator=_Collator(tokenizer.pad_token_id or 0),
        class_weights=class_weights([row["labels"] for row in rows], len(labels), settings.class_weight_power),
        auxiliary=_AuxiliaryHead(peft_model.config.hidden_size, len(fine), settings.auxiliary_weight) if fine else None,
        label_smoothing=settings.label_smoothing,
    )
    average = WeightAverage(settings.average_decay)
    if settings.average_decay:
        trainer.add_callback(average)
    with warnings.catch_warnings():
        # peft reads a property that transformers 5 deprecates; a caller can do nothing about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        outcome = trainer.train()
    average.apply(peft_model)
    return Trained(peft_model, trainer.state.log_history, float(outcome.metrics["train_runtime"]), len(rows))


def load_start(model: Any, start: Path) -> None:
    """Copies the LoRA matrices of another adapter into the model; the head stays fresh.

    Raises:
        UsageError: the other adapter has another shape.
    """
    from safetensors.torch import load_file

    weights = {
        key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): value
        for key, value in load_file(start / ADAPTER).items()
        if ".lora_" in key
    }
    own = {key: value for key, value in model.state_dict().items() if ".lora_" in key}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
        raise UsageError(
            f"the adapter in {str(start)!r} has another shape than the one to be trained: same lora settings?"
        )
    model.load_state_dict(weights, strict=False)


def class_weights(targets: Sequence[int], k: int, power: float) -> torch.Tensor:
    """Loss weight per class: (1 / share) ** power, scaled to a mean of 1. Shape (k,)."""
    counts = np.bincount([t for t in targets if t != IGNORED], minlength=k).astype(float)
    weights = (counts.sum() / np.maximum(counts, 1)) ** power
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def _arguments(settings: TrainingSettings) -> TrainingArguments:
    return TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="healdag-"),
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        bf16=settings.bf16,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        logging_steps=100,
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        seed=settings.seed,
    )


def _merge(
    train: Sequence[Example], auxiliary: Sequence[Example], labels: list[str], tokenizer: Any, max_length: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows for the trainer (input_ids, labels, fine, length) and the fine labels' names."""
    fine = sorted({label for example in auxiliary for label in example.labels})
    target = {example.text: labels.index(example.label) for example in train}
    marks = {example.text: [float(name in example.labels) for name in fine] for example in auxiliary}
    texts = list(dict.fromkeys([*target, *marks]))
    ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    unknown = [float("nan")] * len(fine)
    rows = [
        {"input_ids": i, "labels": target.get(t, IGNORED), "fine": marks.get(t, unknown), "length": len(i)}
        for t, i in zip(texts, ids, strict=True)
    ]
    return rows, fine


@dataclass(frozen=True)
class _Collator:
    pad_id: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        length = max(row["length"] for row in rows)
        ids = torch.full((len(rows), length), self.pad_id)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : row["length"]] = torch.tensor(row["input_ids"])
            mask[i, : row["length"]] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": torch.tensor([row["labels"] for row in rows]),
            "fine": torch.tensor([row["fine"] for row in rows]),
        }


class _AuxiliaryHead(torch.nn.Module):
    """Multi-label head over the mean of the last layer; it shapes the encoder in training and is then dropped."""

    def __init__(self, hidden: int, k: int, weight: float) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(hidden, k)
        self.weight = weight

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        known = ~torch.isnan(fine).any(dim=1)
        if not known.any():
            return hidden.new_zeros(())
        weights = mask[known].unsqueeze(-1).float()
        mean = (hidden[known].float() * weights).sum(dim=1) / weights.sum(dim=1)
        return self.weight * functional.binary_cross_entropy_with_logits(self.linear(mean), fine[known])


class _AdapterTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with class weights in its loss, and the auxiliary head's loss added."""

    def __init__(
        self, *, class_weights: torch.Tensor, auxiliary: _AuxiliaryHead | None, label_smoothing: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._weights = class_weights.to(self.args.device)
        self._smoothing = label_smoothing
        self._auxiliary = auxiliary.to(self.args.device) if auxiliary is not None else None

    def create_optimizer(self, model: Any = None) -> Any:
        optimizer = super().create_optimizer() if model is None else super().create_optimizer(model)
        if self._auxiliary is not None:
            optimizer.add_param_group({"params": list(self._auxiliary.parameters())})
        return optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        fine = inputs.pop("fine")
        targets = inputs.pop("labels")
        outputs = model(**inputs, output_hidden_states=self._auxiliary is not None)
        loss = outputs.logits.new_zeros((), dtype=torch.float32)
        if (targets != IGNORED).any():
            loss = functional.cross_entropy(
                outputs.logits.float(),
                targets,
                weight=self._weights,
                ignore_index=IGNORED,
                label_smoothing=self._smoothing,
            )
        if self._auxiliary is not None:
            loss = loss + self._auxiliary(outputs.hidden_states[-1], inputs["attention_mask"], fine)
        return (loss, outputs) if return_outputs else loss


class WeightAverage(TrainerCallback):  # type: ignore[misc]
    """Exponential moving average of the trained weights, started after a tenth of the steps (Polyak averaging)."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: list[torch.Tensor] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Takes in the weights after an optimiser step."""
        if state.global_step < 0.1 * state.max_steps:
            return
        current = [p.detach() for p in model.parameters() if p.requires_grad]
        if self._average is None:
            self._average = [p.clone() for p in current]
            return
        for average, value in zip(self._average, current, strict=True):
            average.mul_(self.decay).add_(value, alpha=1 - self.decay)

    def apply(self, model: Any) -> None:
        """Puts the average into the model; without one the model stays as it is."""
        if self._average is not None:
            trained = [p for p in model.parameters() if p.requires_grad]
            for parameter, value in zip(trained, self._average, strict=True):
                parameter.data.copy_(value)
