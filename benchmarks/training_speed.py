"""How fast a LoRA adapter is trained: healdag's trainer beside a plain Hugging Face Trainer script, in one run.

    python benchmarks/training_speed.py --source DATA

The plain script is what tutorials show: fp32, every text padded to 128 tokens, torch's dropout. Both train the same
adapter (rank 16 on all linear layers) with the same settings on the same rows of goemotions_8, one after the other in
turns, and are scored on the same validation rows. Then healdag's trainer alone runs over 24,000 texts three times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score

from healdag.artifacts import resolve_base
from healdag.config import LoraSettings, TrainingSettings
from healdag.training.data import load_split
from healdag.training.data.samples import in_turn
from healdag.training.datasets import Example
from healdag.training.finetuning.finetune import fine_tune
from healdag.training.tasks import load_task

RESULT = Path(__file__).parent / "results" / "training_speed.json"
BASE = "sentence-transformers/all-MiniLM-L6-v2"
LABELS = ("joy", "sadness", "anger", "fear", "love", "surprise", "neutral", "disgust")
FULL, EPOCHS = 24_000, 3.0
SHAPE = LoraSettings(r=16, alpha=32, dropout=0.1)


def settings(seed: int) -> TrainingSettings:
    return TrainingSettings(
        epochs=EPOCHS,
        batch_size=32,
        learning_rate=1e-3,
        warmup_steps=0.0,
        class_weight_power=0.0,
        auxiliary_weight=0.0,
        average_decay=0.0,
        seed=seed,
    )


def plain(rows: list[Example], seed: int) -> tuple[float, Any]:
    """Seconds and model of the tutorial's script."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

    set_seed(seed)
    base = str(resolve_base(BASE))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(LABELS))
    model = get_peft_model(
        model, LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear")
    )
    encoded = tokenizer([row.text for row in rows], padding="max_length", truncation=True, max_length=128)
    data = [
        {"input_ids": ids, "attention_mask": mask, "labels": LABELS.index(row.label)}
        for ids, mask, row in zip(encoded["input_ids"], encoded["attention_mask"], rows, strict=True)
    ]
    arguments = TrainingArguments(
        output_dir="unused",
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=32,
        learning_rate=1e-3,
        seed=seed,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    start = time.perf_counter()
    Trainer(model=model, args=arguments, train_dataset=data).train()
    return time.perf_counter() - start, model


def ours(rows: list[Example], seed: int) -> tuple[float, Any]:
    """Seconds, the choice of precision included, and model of healdag's trainer."""
    start = time.perf_counter()
    trained = fine_tune(resolve_base(BASE), LABELS, rows, SHAPE, settings(seed))
    return time.perf_counter() - start, trained.model


def macro_f1(model: Any, rows: list[Example]) -> float:
    from transformers import AutoTokenizer

    from healdag.predictors._encoder import Encoder

    encoder = Encoder(model, AutoTokenizer.from_pretrained(str(resolve_base(BASE))), max_length=128)
    said = encoder.predict_proba([row.text for row in rows]).argmax(axis=1)
    truth = np.array([LABELS.index(row.label) for row in rows])
    return float(f1_score(truth, said, average="macro", zero_division=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1200, help="Rows of the side-by-side training.")
    parser.add_argument("--seeds", type=int, default=2, help="Trainings of each kind.")
    parser.add_argument("--only", choices=("side_by_side", "whole"), help="Measure this part of the file anew.")
    options = parser.parse_args()
    # Only the rows: the auxiliary labels and the authored texts are left out.
    task = load_task("emotion")
    only = tuple(reference for reference in task.train if reference.set == "goemotions_8")
    task = task.model_copy(update={"train": only})
    rows = load_split(task, "train", options.source)
    validation = load_split(task, "validation", options.source)
    found = json.loads(RESULT.read_text(encoding="utf-8")) if options.only else {}
    found["command"] = "python benchmarks/training_speed.py --source DATA"
    found["machine"] = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if options.only != "whole":
        found["side_by_side"] = side_by_side(in_turn(rows, 13)[: options.rows], validation, options.seeds)
    if options.only != "side_by_side":
        found["whole"] = whole(rows[:FULL])
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def side_by_side(rows: list[Example], validation: list[Example], seeds: int) -> dict[str, Any]:
    """Both ways in turns, on the same rows."""
    runs: dict[str, list[dict[str, float]]] = {"plain": [], "healdag": []}
    for seed in range(seeds):
        for name, train in (("plain", plain), ("healdag", ours)):
            seconds, model = train(rows, seed)
            score = macro_f1(model, validation)
            runs[name].append(
                {"seed": seed, "texts_per_second": round(len(rows) * EPOCHS / seconds, 1), "macro_f1": round(score, 4)}
            )
            print(name, runs[name][-1], flush=True)
    speeds = {name: statistics.median(run["texts_per_second"] for run in found) for name, found in runs.items()}
    return {
        "rows": len(rows),
        "epochs": EPOCHS,
        "runs": runs,
        "ratio": round(speeds["healdag"] / speeds["plain"], 2),
    }


def whole(rows: list[Example]) -> dict[str, Any]:
    """The trainer alone, over many texts."""
    seconds, _ = ours(rows, 13)
    return {
        "rows": len(rows),
        "epochs": EPOCHS,
        "minutes": round(seconds / 60, 2),
        "texts_per_second": round(len(rows) * EPOCHS / seconds, 1),
    }


if __name__ == "__main__":
    main()
