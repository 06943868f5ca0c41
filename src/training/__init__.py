"""Training: from labelled texts to an artefact that ``create_classifier`` serves."""

from __future__ import annotations

from .data.sources import task_from_file
from .pipeline import train
from .tasks import Task, apply_settings, load_task

__all__ = ["Task", "apply_settings", "load_task", "task_from_file", "train"]
