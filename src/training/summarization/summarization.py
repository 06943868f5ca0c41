"""Training of a summarizer: a LoRA adapter on a seq2seq base, by the Hugging Face Seq2SeqTrainer, with ROUGE."""

from __future__ import annotations

import logging
import math
import platform
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    set_seed,
)

from ...artifacts import WEIGHTS, BaseReference, SummarizerManifest, replacing, sha256
from ...config import LoraSettings, Settings, TrainingSettings
from ...errors import ConfigError, UsageError
from ...predictors._encoder import quiet_transformers
from ...predictors.lora import ADAPTER
from ...summarizer import generation_config, load_seq2seq, load_summarizer
from ..artifact_writer import write_json, write_manifest
from ..checkpoints import last_checkpoint, run_folder, run_hash
from ..evaluation.measure import write_metrics_csv
from ..finetuning.callbacks import Alarms
from ..finetuning.finetune import lora_config
from ..finetuning.memory import fit_batch
from ..finetuning.trainer import ResumingTrainer
from ..finetuning.weights import BestWeights, put
from ..profiles import PROFILES
from ..versions import RUNS
from .pairs import Pair, pairs_hash
from .rouge import ROUGE_TYPES, rouge

TASK = "summarize"

log = logging.getLogger("healdag")


def summarizer_settings(profile: str, settings: Settings) -> tuple[LoraSettings, TrainingSettings]:
    """Shape and training of a profile (fast, balanced, quality, fullscale), and over them what the user set.

    Raises:
        UsageError: there is no such profile.
    """
    if profile not in PROFILES:
        there = "; ".join(f"{key}: {known.summary}" for key, known in PROFILES.items())
        raise UsageError(f"no profile {profile!r}; there are: {there}")
    chosen = PROFILES[profile]
    lora, training = settings.lora, settings.training
    return (
        lora.model_copy(update={k: v for k, v in chosen.lora.items() if k not in lora.model_fields_set}),
        training.model_copy(update={k: v for k, v in chosen.training.items() if k not in training.model_fields_set}),
    )


def train_summarizer(
    base: Path,
    train: Sequence[Pair],
    validation: Sequence[Pair],
    lora: LoraSettings,
    training: TrainingSettings,
    folder: Path,
    *,
    test: Sequence[Pair] = (),
    base_name: str | None = None,
    prefix: str | None = None,
    max_target_length: int = 64,
    beams: int = 1,
    version: str = "1.0.0",
    command: str = "",
    resume: bool | None = None,
) -> Path:
    """Trains an adapter and leaves it in ``folder``, measured as it will be served.

    The weights with the best ROUGE-L on the validation pairs are kept. Of ``training`` these do not apply: what is
    about labels (loss, focal_gamma, class_weight_power, auxiliary_weight), average_decay and long_texts.

    Where memory runs out the batch is halved, passes are accumulated instead, and training starts again, or goes on
    from its last checkpoint. Checkpoints lie in ``.training`` beside ``folder`` until all went well.

    Args:
        base: Folder of the pretrained seq2seq model.
        train: Pairs to train on; those whose document stands in ``validation`` or ``test`` are left out.
        validation: Pairs that choose the checkpoint, and that ROUGE is measured on.
        lora: Shape of the adapter; ``max_length`` is how many tokens of a document are read.
        folder: Where the artefact goes; one that stands there is replaced when all went well.
        test: Pairs to measure on that chose nothing.
        base_name: Hub name of the base for the manifest; None takes ``base``.
        prefix: Put before every document; None: 'summarize: ' for T5, nothing for others.
        max_target_length: Most tokens of a summary.
        beams: Beams of the search for a summary.
        version: Version for the manifest.
        command: The command line that was typed, for training_info.json.
        resume: True goes on from the last checkpoint of an interrupted run with the same pairs and settings and
            refuses to start over; None goes on where there is one; False starts over.

    Returns:
        The artefact's folder.

    Raises:
        UsageError: too few pairs, a base of another kind, or there is nothing to resume.
        ConfigError: a setting that a summarizer does not have.
        HealdagError: the loss became no number, or not even one pair fits into memory.
        MissingExtraError: the extra 'train' is not installed.
    """
    _check_settings(training)
    rouge([], [])  # a missing package is said now, not after the training
    held_out = {pair.document for pair in (*validation, *test)}
    kept = [pair for pair in train if pair.document not in held_out]
    if len(kept) < 2 or not validation:
        raise UsageError(
            f"{len(kept)} training pairs (validation and test documents left out) and {len(validation)} validation "
            "pairs are too few; give at least 2 and 1"
        )
    config = load_seq2seq(base)[0].config  # a base of another kind is refused before anything is written
    manifest = SummarizerManifest(
        task=TASK,
        version=version,
        base=BaseReference(name=base_name or str(base), sha256=sha256(base / WEIGHTS)),
        prefix=prefix if prefix is not None else _usual_prefix(config.model_type),
        max_source_length=min(lora.max_length, getattr(config, "max_position_embeddings", lora.max_length)),
        max_target_length=max_target_length,
        beams=beams,
    )
    hashes = {"train": pairs_hash(kept), "validation": pairs_hash(validation), "test": pairs_hash(test)}
    settings = {
        "lora": {**lora.model_dump(mode="json"), "base": manifest.base.name},
        "training": training.model_dump(mode="json"),
    }
    run = run_hash(settings, manifest.model_dump(mode="json"), hashes)
    checkpoints = run_folder(folder.parent / RUNS / folder.name, run, resume)

    def attempt(fitted: TrainingSettings) -> tuple[Any, dict[str, Any]]:
        return _train(base, kept, validation, lora, fitted, manifest, checkpoints)

    try:
        adapted, outcome = fit_batch(attempt, training)
    finally:
        if last_checkpoint(checkpoints) is None:
            _forget(checkpoints)  # nothing to go on from
    info = {
        "command": command,
        "run": run,
        **settings,
        "rows": len(kept),
        "left_out_as_held_out": len(train) - len(kept),
        "data_sha256": hashes,
        "seed": training.seed,
        "packages": {name: package_version(name) for name in ("torch", "transformers", "peft", "rouge-score")},
        "machine": platform.machine(),
        **outcome,
    }
    with replacing(folder) as fresh:
        # The name, not the folder that it was found in: that is this machine's.
        adapted.peft_config["default"].base_model_name_or_path = manifest.base.name
        adapted.save_pretrained(str(fresh), safe_serialization=True, save_embedding_layers=False)
        write_manifest(fresh, manifest, [ADAPTER, "adapter_config.json"])
        figures = _measure(fresh, base, {"validation": validation, "test": test})
        write_json(fresh / "metrics.json", figures)
        write_metrics_csv(fresh / "metrics.csv", figures)
        write_json(fresh / "training_info.json", info)
        (fresh / "README.md").write_text(_card(manifest, figures, info), encoding="utf-8")
    _forget(checkpoints)
    return folder


def _forget(checkpoints: Path) -> None:
    """Deletes a run's checkpoints, and the folder of all runs where it was the only one."""
    shutil.rmtree(checkpoints, ignore_errors=True)
    with suppress(OSError):  # another run is in it
        checkpoints.parent.rmdir()


def _check_settings(training: TrainingSettings) -> None:
    if training.method != "lora":
        raise ConfigError(f"training.method {training.method!r}: a summarizer is trained as 'lora'")


def _usual_prefix(model_type: str) -> str:
    return "summarize: " if model_type == "t5" else ""


class SummaryTrainer(ResumingTrainer, Seq2SeqTrainer):  # type: ignore[misc]
    """The Seq2SeqTrainer with checkpoints of the adapter and of the best weights so far."""


def _train(
    base: Path,
    train: Sequence[Pair],
    validation: Sequence[Pair],
    lora: LoraSettings,
    training: TrainingSettings,
    manifest: SummarizerManifest,
    checkpoints: Path,
) -> tuple[Any, dict[str, Any]]:
    """The trained PEFT model, and the run's figures for training_info.json."""
    model, tokenizer = load_seq2seq(base)
    set_seed(training.seed)
    adapted = _with_lora(model, lora, manifest)
    rows = tokenize(train, tokenizer, manifest)
    alarms, keeper = Alarms(), KeepBest(training.patience)
    trainer = SummaryTrainer(
        model=adapted,
        args=_arguments(training, len(rows), checkpoints),
        train_dataset=rows,
        eval_dataset=tokenize(validation, tokenizer, manifest),
        data_collator=_collator(tokenizer, adapted),
        compute_metrics=_rouge_of_ids(tokenizer),
        callbacks=[alarms, keeper],
    )
    trainer.best = keeper.best
    trainer.fit(last_checkpoint(checkpoints))
    if keeper.best.weights is not None:
        put(keeper.best.weights, adapted)
    return adapted, {
        "seconds": round(trainer.seconds, 1),
        "batch_size": training.batch_size,
        "gradient_accumulation": training.gradient_accumulation,
        "best_step": keeper.best.step,
        "alarms": alarms.said,
        "documents_cut": sum(row["length"] >= manifest.max_source_length for row in rows),
        "history": trainer.state.log_history,
    }


def _with_lora(model: Any, lora: LoraSettings, manifest: SummarizerManifest) -> Any:
    """The model with a fresh adapter, set to generate as it will be served."""
    model.generation_config = generation_config(model, manifest.max_target_length, manifest.beams)
    try:
        with quiet_transformers():
            return get_peft_model(model, lora_config(lora, "SEQ_2_SEQ_LM"))
    except ValueError as error:  # no layer has one of the names
        raise UsageError(f"lora.target_modules {lora.target_modules!r} does not fit the base: {error}") from error


class KeepBest(TrainerCallback):  # type: ignore[misc]
    """Keeps the weights with the best ROUGE-L (of equals the lowest loss), and stops where patience ends.

    Args:
        patience: Evaluations without a better one after which the training stops; 0 never stops.
    """

    def __init__(self, patience: int) -> None:
        self.best = BestWeights()
        self._patience = patience

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **kwargs: Any
    ) -> None:
        """Looks at the figures of an evaluation."""
        # Early on every summary may share nothing with its reference: then the loss tells the weights apart.
        self.best.update(model, metrics["eval_rougeL"] - 1e-6 * metrics["eval_loss"], state.global_step)
        if self._patience and self.best.waited >= self._patience:
            control.should_training_stop = True


def tokenize(pairs: Sequence[Pair], tokenizer: Any, manifest: SummarizerManifest) -> list[dict[str, Any]]:
    """Rows for the trainer: input_ids, labels and length; what is beyond the manifest's lengths is cut."""
    sources = tokenizer(
        [manifest.prefix + pair.document for pair in pairs], truncation=True, max_length=manifest.max_source_length
    )["input_ids"]
    targets = tokenizer(
        text_target=[pair.summary for pair in pairs], truncation=True, max_length=manifest.max_target_length
    )["input_ids"]
    return [{"input_ids": s, "labels": t, "length": len(s)} for s, t in zip(sources, targets, strict=True)]


def _collator(tokenizer: Any, model: Any) -> Callable[[list[dict[str, Any]]], Any]:
    """Pads each batch to its own longest row; the length was for the order of the rows alone."""
    pad = DataCollatorForSeq2Seq(tokenizer, model=model)
    return lambda rows: pad([{key: row[key] for key in ("input_ids", "labels")} for row in rows])


def _arguments(training: TrainingSettings, rows: int, checkpoints: Path) -> Any:
    gpu = torch.cuda.is_available()
    if training.precision == "fp16" and not gpu:
        raise UsageError("training.precision 'fp16' needs a GPU; take 'auto', 'bf16' or 'fp32'")
    bf16 = training.precision == "bf16" or (training.precision == "auto" and gpu and torch.cuda.is_bf16_supported())
    per_epoch = max(1, math.ceil(rows / (training.batch_size * training.gradient_accumulation)))
    return Seq2SeqTrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation,
        num_train_epochs=training.epochs,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        lr_scheduler_kwargs={"num_cycles": training.restarts} if training.schedule == "cosine_with_restarts" else {},
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        label_smoothing_factor=training.label_smoothing,
        bf16=bf16,
        fp16=training.precision == "fp16",
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        eval_strategy="steps",
        eval_steps=max(1, per_epoch // training.evaluations),
        predict_with_generate=True,
        save_strategy="steps",
        save_steps=max(1, per_epoch // training.checkpoints),
        save_total_limit=training.save_total_limit,
        report_to=[],
        logging_steps=max(1, min(100, math.ceil(per_epoch * training.epochs) // 20)),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        seed=training.seed,
    )


def _rouge_of_ids(tokenizer: Any) -> Callable[[Any], dict[str, float]]:
    """ROUGE of generated token ids, for the trainer's evaluations."""

    def compute(outcome: Any) -> dict[str, float]:
        texts = [
            tokenizer.batch_decode(np.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True)
            for ids in (outcome.predictions, outcome.label_ids)
        ]
        return rouge(texts[0], texts[1])

    return compute


def _measure(folder: Path, base: Path, splits: dict[str, Sequence[Pair]]) -> dict[str, Any]:
    """ROUGE of the artefact as it is loaded again, per split; lengths in words beside it."""
    summarizer = load_summarizer(folder, base_path=base)
    figures: dict[str, Any] = {}
    for split, pairs in splits.items():
        if not pairs:
            continue
        written = summarizer.condense([pair.document for pair in pairs])
        figures[split] = {
            "n": len(pairs),
            **rouge(written, [pair.summary for pair in pairs]),
            "words_document": _mean_words([pair.document for pair in pairs]),
            "words_summary": _mean_words(written),
            "words_reference": _mean_words([pair.summary for pair in pairs]),
        }
        log.info("%s: %s", split, {kind: round(figures[split][kind], 4) for kind in ROUGE_TYPES})
    return figures


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(text.split()) for text in texts) / max(len(texts), 1)


def _card(manifest: SummarizerManifest, figures: dict[str, Any], info: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {split} | {row['n']:,} | " + " | ".join(f"{row[kind]:.3f}" for kind in ROUGE_TYPES) + " |"
        for split, row in figures.items()
    )
    return f"""# {manifest.task} {manifest.version}

A summarizer: a LoRA adapter (rank {info["lora"]["r"]}) on `{manifest.base.name}`.

- Trained on {info["rows"]:,} pairs; {info["documents_cut"]:,} of their documents fill all
  {manifest.max_source_length} tokens that are read, so their ends may have been cut.
- Command: `{info["command"]}` (seed {info["seed"]})
- Hashes of the pairs, library versions and the loss curve: `training_info.json`

## Figures

ROUGE F-measure with stemming, of the adapter as it is served. The validation pairs have also chosen the weights.

| split | n | ROUGE-1 | ROUGE-2 | ROUGE-L | ROUGE-Lsum |
|---|---|---|---|---|---|
{rows}

## Use

    create_classifier(condenser="this folder")

shortens texts that are longer than the classifier's window before they are classified. Off by default: the
classifier's calibration was fitted on whole texts, and a summary can leave out what decides a label.

## Limits

A summary can say what the text does not. Longer documents than {manifest.max_source_length} tokens are summarised
piece by piece.
"""
