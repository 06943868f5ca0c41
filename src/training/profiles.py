"""Profiles: how much time a training may take, as one word. They replace a task's own values where they name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from .tasks import Task


@dataclass(frozen=True)
class Profile:
    """Values that replace those of the task.

    Attributes:
        summary: One line, for ``--help`` and the table before a training.
        training: Fields of :class:`healdag.config.TrainingSettings`.
        lora: Fields of :class:`healdag.config.LoraSettings`.
    """

    summary: str
    training: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)


PROFILES = {
    "fast": Profile(
        "one epoch, rank 8: a first answer",
        {"epochs": 1.0, "learning_rate": 1e-3, "schedule": "linear", "average_decay": 0.0, "label_smoothing": 0.0},
        {"r": 8, "alpha": 16},
    ),
    "balanced": Profile(
        "three epochs, rank 16: the usual choice",
        {"epochs": 3.0, "learning_rate": 7e-4, "schedule": "linear", "patience": 2},
        {"r": 16, "alpha": 32},
    ),
    "quality": Profile(
        "six epochs, rank 16, cosine, early stopping: for the last point",
        {
            "epochs": 6.0,
            "learning_rate": 7e-4,
            "schedule": "cosine",
            "warmup_steps": 0.1,
            "label_smoothing": 0.05,
            "evaluations": 2,
            "patience": 4,
        },
        {"r": 16, "alpha": 32},
    ),
    "fullscale": Profile(
        "ten epochs, rank 32, cosine with restarts, effective batch 64, early stopping: on a GPU, or over night",
        {
            "epochs": 10.0,
            "gradient_accumulation": 2,
            "learning_rate": 7e-4,
            "schedule": "cosine_with_restarts",
            "restarts": 3,
            "warmup_steps": 0.1,
            "label_smoothing": 0.1,
            "evaluations": 2,
            "patience": 6,
            "save_total_limit": 3,
        },
        {"r": 32, "alpha": 64},
    ),
}


def apply_profile(task: Task, name: str) -> Task:
    """The task with the profile's values.

    Raises:
        UsageError: there is no such profile.
    """
    if name not in PROFILES:
        there = "; ".join(f"{key}: {profile.summary}" for key, profile in PROFILES.items())
        raise UsageError(f"no profile {name!r}; there are: {there}")
    profile = PROFILES[name]
    return task.model_copy(
        update={
            "training": task.training.model_copy(update=profile.training),
            "lora": task.lora.model_copy(update=profile.lora),
        }
    )
