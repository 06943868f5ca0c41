"""What the decision log costs: bulk classification with and without it, in turns, in one process.

    python benchmarks/decision_log.py [--only instant]

Two classifiers: the shipped emotion model, and a predictor that answers at once, which leaves the graph and the log
alone. Each round runs the same texts without a log, into JSON lines and into SQLite, every round in another order; a
log's cost is the median over the rounds of its time divided by the time without. ``--only`` writes no result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from healdag import create_classifier
from healdag.graph import Classifier
from healdag.predictors.fake import FakePredictor
from healdag.store import read_decisions

RESULT = Path(__file__).parent / "results" / "decision_log.json"
LOGS = {"none": None, "jsonl": "log.jsonl", "sqlite": "log.db"}
TEXTS, ROUNDS = 500, 5
STARTS = ("Honestly", "I can't believe it", "Wow", "Well", "Same here", "Not gonna lie", "To be fair", "[NAME]", "Ugh")
MIDDLES = (
    *("this made my whole week", "that referee should be ashamed", "you are the reason I quit this sub"),
    *("I have no idea what he means", "my dog did exactly that yesterday", "I'm scared to even open the letter"),
    *("she deserved so much better", "thanks for taking the time to explain", "that is the worst take of the season"),
)
ENDS = ("", ".", "!", " lol", ", and nobody will change my mind.", " 😂", "... just my two cents", "?", " Thank you!")


def make_texts(count: int) -> list[str]:
    """Texts of the length and tone of forum comments; the same ones every time."""
    draw = random.Random(13)
    return [
        f"{draw.choice(STARTS)}, {' and '.join(draw.sample(MIDDLES, draw.randint(1, 2)))}{draw.choice(ENDS)}"
        for _ in range(count)
    ]


def make(kind: str, log: Path | None) -> Classifier:
    """A classifier of a kind, with or without a log."""
    if kind == "emotion":
        return create_classifier(log=log)
    labels = ("joy", "anger", "neutral")
    return create_classifier(primary=FakePredictor(labels, default={"joy": 0.9}), enable_backup=False, log=log)


def measure(kind: str, texts: list[str], folder: Path) -> dict[str, Any]:
    """Texts per second of each way, and what a log costs."""
    classifiers = {name: make(kind, folder / f"{kind}-{log}" if log else None) for name, log in LOGS.items()}
    for classifier in classifiers.values():
        classifier.classify_many(texts)  # warm
    seconds: dict[str, list[float]] = {name: [] for name in LOGS}
    for turn in range(ROUNDS):
        names = list(LOGS)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            classifiers[name].classify_many(texts)
            seconds[name].append(time.perf_counter() - start)
    for name, log in LOGS.items():
        if log is not None:
            rows = sum(1 for _ in read_decisions(folder / f"{kind}-{log}"))
            assert rows == len(texts) * (ROUNDS + 1), (name, rows)
    found: dict[str, Any] = {
        "texts": len(texts),
        "rounds": ROUNDS,
        "texts_per_second": {name: round(len(texts) / statistics.median(s), 1) for name, s in seconds.items()},
    }
    for name in (name for name in LOGS if name != "none"):
        pairs = list(zip(seconds[name], seconds["none"], strict=True))
        extra = statistics.median(with_log - without for with_log, without in pairs) / len(texts)
        ratio = statistics.median(with_log / without for with_log, without in pairs)
        found[name] = {"time_ratio": round(ratio, 4), "microseconds_per_text": round(extra * 1e6, 1)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("instant", "emotion"), help="One of the classifiers; nothing is written.")
    options = parser.parse_args()
    kinds = [options.only] if options.only else ["instant", "emotion"]
    texts = make_texts(TEXTS)
    result: dict[str, Any] = {
        "command": "python benchmarks/decision_log.py",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            result[kind] = measure(kind, texts, Path(folder))
    if options.only is None:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
