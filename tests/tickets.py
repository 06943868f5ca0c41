"""A noisy task with two labels, and the command line that is run on it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from healdag.cli import app

LABELS = ("bakery", "workshop")
SURE = {"bakery": ["bread", "butter", "flour", "oven"], "workshop": ["screw", "drill", "plank", "hammer"]}
VAGUE = ["morning", "counter", "queue", "ready", "please", "where", "today", "parcel", "still", "hour"]
COLUMNS = ("--text-column", "body", "--label-column", "tag")


def tickets(n: int, seed: int, lies: float = 0.0) -> list[tuple[str, str]]:
    """Tickets with up to two telling words; the fewer there are, the less a reader can know.

    Where the words lie, a model that was trained without lies is too sure of itself.
    """
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        label = LABELS[generator.integers(2)]
        lie = lies and generator.random() < lies  # without lies nothing is drawn
        shown = LABELS[1 - LABELS.index(label)] if lie else label
        telling = generator.choice(SURE[shown], generator.integers(0, 3)).tolist()
        words = telling + generator.choice(VAGUE, 8 - len(telling)).tolist()
        generator.shuffle(words)
        made.append((" ".join(words), label))
    return made


def write(path: Path, content: list[tuple[str, str]]) -> Path:
    """A CSV file with the columns that COLUMNS names."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["body", "tag"])
        writer.writerows(content)
    return path


def invoke(*arguments: str | Path) -> Any:
    """What comes of ``healdag`` with these arguments."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def run(*arguments: str | Path) -> str:
    """What ``healdag`` prints, where all goes well."""
    result = invoke(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.stdout)
