"""Fine-tuning of a pretrained base with a classification head: a LoRA adapter, or every weight."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, TrainingArguments, set_seed

from ...config import LoraSettings, TrainingSettings
from ...errors import UsageError
from ...predictors import FloatArray, decide, sigmoid, softmax
from ...predictors._encoder import Encoder, quiet_transformers
from ...predictors.lora import ADAPTER, load_base
from ..checkpoints import last_checkpoint
from ..datasets import Example
from .callbacks import Alarms
from .losses import IGNORED, class_weights
from .memory import fit_batch
from .on_cpu import restore, speed_up
from .trainer import AuxiliaryHead, FineTuner
from .weights import put, trained_weights

OVERLAP = 32
"""Tokens that neighbouring windows share, as in serving."""


@dataclass(frozen=True)
class Plan:
    """What is about to be trained, and how long it will take.

    Attributes:
        rows: Rows per epoch; windows of long texts count one by one.
        trained: Number of weights that change.
        weights: Number of all weights.
        steps: Optimiser steps.
        batch_size: Rows in one forward pass.
        accumulation: Forward passes per step.
        precision: Number format of the forward pass.
        texts_per_second: Measured just now on a few batches.
        seconds: Estimate for the whole training, evaluations left out.
        done: Steps that a checkpoint has already.
    """

    rows: int
    trained: int
    weights: int
    steps: int
    batch_size: int
    accumulation: int
    precision: str
    texts_per_second: float
    seconds: float
    done: int = 0


@dataclass(frozen=True)
class Trained:
    """What a training run leaves: the model, and figures about the run."""

    model: Any
    history: list[dict[str, Any]]
    seconds: float
    plan: Plan
    alarms: tuple[str, ...]
    best_step: int


def fine_tune(
    base: Path,
    labels: Sequence[str],
    train: Sequence[Example],
    lora: LoraSettings,
    settings: TrainingSettings,
    *,
    validation: Sequence[Example] = (),
    auxiliary: Sequence[Example] = (),
    multi_label: bool = False,
    start: Path | None = None,
    keep_head: bool = False,
    anchor: float = 0.0,
    checkpoints: Path | None = None,
    announce: Callable[[Plan], None] | None = None,
) -> Trained:
    """Trains a head, and an adapter or all weights with it.

    Where memory runs out the batch is halved, passes are accumulated instead, and training starts again: the rows
    per step stay the same.

    Args:
        base: Folder of the pretrained base.
        labels: The task's labels, in the order of the head's rows.
        train: Rows with one of ``labels`` each, or multi-label with any number of them.
        validation: Rows on which the weights to be kept are chosen, by macro-F1; none keeps the last (or average).
        auxiliary: Rows with fine labels; those whose text is in ``train`` add a signal to that row, others are
            trained on with their fine labels alone. Empty for none.
        multi_label: Whether a row can have several labels, or none.
        start: Artefact folder of an adapter of the same shape on the same base whose weights, the head aside, the
            training starts from; None starts from zero.
        keep_head: Whether the training starts from that artefact's head too: it answers with the same labels.
        anchor: Share, 0 to 1, of the weights that the training started from in those that come out of it.
        checkpoints: Folder for checkpoints; one that is there already is gone on from. None keeps none.
        announce: Is told what will be trained before it starts.

    Raises:
        HealdagError: the loss became no number, or not even one row fits into memory.
    """

    def attempt(fitted: TrainingSettings) -> Trained:
        run = _Run(base, tuple(labels), lora, fitted, multi_label, keep_head, anchor)
        return run.train(train, validation, auxiliary, start, checkpoints, announce)

    return fit_batch(attempt, settings)


@dataclass(frozen=True)
class _Run:
    base: Path
    labels: tuple[str, ...]
    lora: LoraSettings
    settings: TrainingSettings
    multi_label: bool
    keep_head: bool = False
    anchor: float = 0.0

    def train(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        auxiliary: Sequence[Example],
        start: Path | None,
        checkpoints: Path | None,
        announce: Callable[[Plan], None] | None,
    ) -> Trained:
        if checkpoints is None:
            # The Trainer makes its folder even where nothing is written into it.
            with tempfile.TemporaryDirectory(prefix="healdag-") as scratch:
                return self._train(train, validation, auxiliary, start, Path(scratch), announce, kept=False)
        return self._train(train, validation, auxiliary, start, checkpoints, announce, kept=True)

    def _train(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        auxiliary: Sequence[Example],
        start: Path | None,
        checkpoints: Path,
        announce: Callable[[Plan], None] | None,
        *,
        kept: bool,
    ) -> Trained:
        set_seed(self.settings.seed)
        model, tokenizer = self._model(start)
        rows, fine = self._rows(train, auxiliary, tokenizer)
        collator = Collator(tokenizer.pad_token_id or 0)
        targets = torch.tensor(np.array([row["labels"] for row in rows]))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            speed_up(model, self.settings.seed)
        first = {name: value.clone() for name, value in trained_weights(model).items()} if self.anchor else {}
        resumed = last_checkpoint(checkpoints)
        plan = self._plan(model.to(device), rows, collator, resumed)
        if announce is not None:
            announce(plan)
        alarms = Alarms(falling=not self.keep_head)
        head = AuxiliaryHead(model.config.hidden_size, len(fine), self.settings.auxiliary_weight) if fine else None
        trainer = FineTuner(
            model=model,
            args=self._arguments(plan, checkpoints, measured=bool(validation), kept=kept),
            train_dataset=rows,
            eval_dataset=rows[:1] if validation else None,
            data_collator=collator,
            callbacks=[alarms],
            settings=self.settings,
            class_weights=class_weights(targets, len(self.labels), self.settings.class_weight_power),
            auxiliary=head,
            measure=self._measure(model, tokenizer, validation) if validation else None,
        )
        trainer.fit(resumed)
        trainer.finish()
        # Without the wrapper that casts its forward pass to the training's precision.
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        restore(model)
        last = trained_weights(model)
        put({name: torch.lerp(last[name], value.to(last[name]), self.anchor) for name, value in first.items()}, model)
        return Trained(model, trainer.state.log_history, trainer.seconds, plan, tuple(alarms.said), trainer.best.step)

    def _model(self, start: Path | None) -> tuple[Any, Any]:
        """The model with what is to be trained marked, and its tokenizer."""
        model, untrained = load_base(self.base, self.labels)
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(self.base))
        if self.settings.method == "full":
            model.config.id2label = dict(enumerate(self.labels))
            model.config.label2id = {label: i for i, label in enumerate(self.labels)}
            return model, tokenizer
        # Everything that the base does not bring is trained and saved, or it would be random again after loading.
        fresh = sorted({name.rsplit(".", 1)[0] for name in untrained})
        config = lora_config(self.lora, "SEQ_CLS", modules_to_save=fresh)
        with quiet_transformers():
            adapted = get_peft_model(model, config)
        if start is not None:
            load_start(adapted, start, head=self.keep_head)
        return adapted, tokenizer

    def _rows(
        self, train: Sequence[Example], auxiliary: Sequence[Example], tokenizer: Any
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Rows for the trainer (input_ids, labels, fine, length) and the fine labels' names."""
        fine = sorted({label for example in auxiliary for label in example.labels})
        target = {example.text: self._target(example) for example in train}
        marks = {example.text: [float(name in example.labels) for name in fine] for example in auxiliary}
        # A row that stands there several times counts as often.
        texts = [*(example.text for example in train), *(text for text in marks if text not in target)]
        windows = self.settings.long_texts == "windows"
        limit = self.lora.max_length
        extra = {"return_overflowing_tokens": True, "stride": min(OVERLAP, limit // 4)} if windows else {}
        encoded = tokenizer(texts, truncation=True, max_length=limit, **extra)
        owners = encoded["overflow_to_sample_mapping"] if windows else range(len(texts))
        nothing = [float("nan")] * len(self.labels) if self.multi_label else IGNORED
        unknown = [float("nan")] * len(fine)
        rows = []
        for ids, owner in zip(encoded["input_ids"], owners, strict=True):
            text = texts[owner]
            labels = target.get(text, nothing)
            rows.append({"input_ids": ids, "labels": labels, "fine": marks.get(text, unknown), "length": len(ids)})
        return rows, fine

    def _target(self, example: Example) -> int | list[float]:
        if self.multi_label:
            return [float(label in example.labels) for label in self.labels]
        return self.labels.index(example.label)

    def _measure(self, model: Any, tokenizer: Any, rows: Sequence[Example]) -> Callable[[Any], dict[str, float]]:
        """Figures on the rows, by the very code that serves the model."""
        from sklearn.metrics import f1_score

        encoder = Encoder(model, tokenizer, max_length=self.lora.max_length, overlap=OVERLAP)
        texts = [row.text for row in rows]
        multi = self.multi_label
        truth = np.array([self._target(row) for row in rows], dtype=np.int64)

        def measure(model: Any) -> dict[str, float]:
            model.eval()
            probabilities = encoder.pooled(texts, sigmoid if multi else softmax)
            model.train()
            said = decide(probabilities, multi_label=multi)
            right = (said == truth).all(axis=1) if multi else said == truth
            columns = list(range(len(self.labels)))
            macro = f1_score(truth, said, labels=columns, average="macro", zero_division=0)
            return {
                "eval_loss": _log_loss(probabilities, truth),
                "eval_accuracy": float(right.mean()),
                "eval_macro_f1": float(macro),
            }

        return measure

    def _plan(self, model: Any, rows: list[dict[str, Any]], collator: Collator, resumed: Path | None) -> Plan:
        settings = self.settings
        per_epoch = math.ceil(math.ceil(len(rows) / settings.batch_size) / settings.gradient_accumulation)
        steps = max(1, math.ceil(per_epoch * settings.epochs))
        precision, seconds = pick_precision(model, rows, collator, settings)
        parameters = list(model.parameters())
        done = int(resumed.name.rpartition("-")[2]) if resumed is not None else 0
        return Plan(
            rows=len(rows),
            trained=sum(p.numel() for p in parameters if p.requires_grad),
            weights=sum(p.numel() for p in parameters),
            steps=steps,
            batch_size=settings.batch_size,
            accumulation=settings.gradient_accumulation,
            precision=precision,
            texts_per_second=settings.batch_size / seconds,
            seconds=seconds * settings.gradient_accumulation * max(steps - done, 0),
            done=done,
        )

    def _arguments(self, plan: Plan, checkpoints: Path, *, measured: bool, kept: bool) -> TrainingArguments:
        settings = self.settings
        per_epoch = max(1, round(plan.steps / settings.epochs))
        restarts = {"num_cycles": settings.restarts} if settings.schedule == "cosine_with_restarts" else {}
        return TrainingArguments(
            output_dir=str(checkpoints),
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.schedule,
            lr_scheduler_kwargs=restarts,
            # A fixed number of steps must not be most of a short training.
            warmup_steps=min(settings.warmup_steps, max(1.0, 0.2 * plan.steps)),
            weight_decay=settings.weight_decay,
            bf16=plan.precision == "bf16",
            fp16=plan.precision == "fp16",
            use_cpu=not torch.cuda.is_available(),
            eval_strategy="steps" if measured else "no",
            eval_steps=max(1, per_epoch // settings.evaluations),
            save_strategy="steps" if kept else "no",
            save_steps=max(1, per_epoch // settings.checkpoints),
            save_total_limit=settings.save_total_limit,
            report_to=[],
            logging_steps=max(1, min(100, plan.steps // 20)),
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            seed=settings.seed,
        )


def pick_precision(
    model: Any, rows: list[dict[str, Any]], collator: Collator, settings: TrainingSettings
) -> tuple[str, float]:
    """The number format to train in, and the seconds of a forward and backward pass in it, measured on a few batches.

    'auto' is what is faster here: bfloat16 gains nothing on processors that convert it in software. On a GPU it is
    bfloat16 where the GPU has it.

    Raises:
        UsageError: fp16 without a GPU.
    """
    gpu = torch.cuda.is_available()
    if settings.precision == "fp16" and not gpu:
        raise UsageError("training.precision 'fp16' needs a GPU; take 'auto', 'bf16' or 'fp32'")
    ordered = sorted(rows, key=lambda row: int(row["length"]))
    n = min(settings.batch_size, len(ordered))
    places = [int(share * (len(ordered) - n)) for share in (0.25, 0.5, 0.75)]
    batches = [collator(ordered[place : place + n]) for place in places]
    formats = [settings.precision]
    if settings.precision == "auto":
        formats = [("bf16" if torch.cuda.is_bf16_supported() else "fp32")] if gpu else ["fp32", "bf16"]
    state = torch.get_rng_state()
    measured = {name: _seconds(model, batches, name) for name in formats}
    torch.set_rng_state(state)
    model.zero_grad()
    # A tenth is noise.
    best = min(measured, key=lambda name: measured[name] * (1.0 if name == formats[0] else 1.1))
    return best, measured[best]


def _seconds(model: Any, batches: list[dict[str, torch.Tensor]], precision: str) -> float:
    """Mean seconds of a forward and backward pass, after a first one to warm up."""
    device = next(model.parameters()).device
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    model.train()
    times = []
    for batch in [batches[len(batches) // 2], *batches]:
        start = time.perf_counter()
        inputs = {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}
        with torch.autocast(device.type, dtype=half) if half is not None else nullcontext():
            logits = model(**inputs).logits
        logits.float().logsumexp(dim=1).mean().backward()
        times.append(time.perf_counter() - start)
    return sum(times[1:]) / len(batches)


def _log_loss(probabilities: FloatArray, truth: Any) -> float:
    safe = np.clip(probabilities, 1e-12, 1 - 1e-12)
    if truth.ndim == 2:
        return float(-np.where(truth == 1, np.log(safe), np.log(1 - safe)).mean())
    return float(-np.log(safe[np.arange(len(truth)), truth]).mean())


@dataclass(frozen=True)
class Collator:
    """Pads a batch to its longest row."""

    pad_id: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors input_ids and attention_mask of shape (n, longest), labels and fine."""
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


def lora_config(lora: LoraSettings, task_type: str, **more: Any) -> LoraConfig:
    """The settings in PEFT's words.

    Args:
        task_type: 'SEQ_CLS' or 'SEQ_2_SEQ_LM'.
        more: Further fields of ``peft.LoraConfig``.
    """
    return LoraConfig(
        task_type=task_type,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        **more,
    )


def load_start(model: Any, start: Path, *, head: bool = False) -> None:
    """Copies the LoRA matrices of another adapter into the model; the head stays fresh, unless it is to be copied.

    Args:
        head: Whether everything else that is trained is copied too; its labels must be those of the model, in order.

    Raises:
        UsageError: the other adapter has another shape.
    """
    from safetensors.torch import load_file

    saved = load_file(start / ADAPTER)
    weights = {
        key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): value
        for key, value in saved.items()
        if ".lora_" in key
    }
    own = {key: value for key, value in model.state_dict().items() if ".lora_" in key}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
        raise UsageError(
            f"the adapter in {str(start)!r} has another shape than the one to be trained: same lora settings?"
        )
    model.load_state_dict(weights, strict=False)
    if head:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, saved)
