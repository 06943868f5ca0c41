"""Small data sets for a quick look at the whole training: a sample of a task's rows, or synthetic reviews."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..datasets import Example, Split
from ..tasks import DataReference, Task
from . import HELD_OUT, load_split

SAMPLE: dict[Split, int] = {"train": 300, "validation": 100, "test": 100}
_SET = "sample"
_SHORT = {"epochs": 3.0, "evaluations": 1, "long_texts": "truncate", "warmup_steps": 0.1, "average_decay": 0.0}

_THINGS = ("film", "phone", "hotel room", "blender", "novel", "train journey", "restaurant", "jacket", "lamp", "course")
_PRAISE = ("works perfectly", "was a delight", "is worth every penny", "made my week", "could not be better")
_BLAME = ("broke on day one", "was a waste of money", "is a let-down", "ruined my week", "could hardly be worse")


def sample_task(task: Task, source: Path | None, folder: Path, rows: dict[Split, int] | None = None) -> Task:
    """Writes a sample of each split below ``folder`` and gives the task that reads it.

    Labels take turns, so that each is there as far as the rows go. Backups are left out.
    """
    sizes = rows or SAMPLE
    held_out: list[Split] = [split for split in HELD_OUT if getattr(task, split)]
    there: list[Split] = ["train", *held_out]
    place = folder / _SET
    place.mkdir(parents=True, exist_ok=True)
    for split in there:
        picked = in_turn(load_split(task, split, source), task.training.seed)[: sizes[split]]
        lines = [json.dumps({"text": row.text, "labels": list(row.labels)}, ensure_ascii=False) for row in picked]
        (place / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    reference = (DataReference(set=_SET, label_column="labels"),)
    changes: dict[str, Any] = dict.fromkeys(there, reference)
    training = task.training.model_copy(update=_SHORT)
    return task.model_copy(
        update={**changes, "auxiliary": None, "ensemble": (), "backups": {}, "sarcasm": False, "training": training}
    )


def in_turn(rows: Sequence[Example], seed: int) -> list[Example]:
    """The rows in random order, one of each label after the other as long as there are any."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    groups: dict[tuple[str, ...], list[Example]] = {}
    for row in shuffled:
        groups.setdefault(row.labels, []).append(row)
    rounds = zip_longest(*(groups[labels] for labels in sorted(groups)))
    return [row for turn in rounds for row in turn if row is not None]


def synthetic_reviews() -> list[dict[str, str]]:
    """100 made-up reviews with the labels positive and negative: enough to see whether a training works."""
    return [
        {"review": f"{opening} {thing} {verdict}.", "sentiment": label}
        for thing in _THINGS
        for label, verdicts in (("positive", _PRAISE), ("negative", _BLAME))
        for opening, verdict in zip(("This", "The", "My new", "That", "Our"), verdicts, strict=True)
    ]
