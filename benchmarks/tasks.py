"""Trains the tasks that are reported, shipped or not, and writes down what came out.

    python benchmarks/tasks.py --source DATA --models DIR [--only topic,journal]

Each is trained by the command that stands beside its figures in benchmarks/results/tasks.json; figures are those on
the test split, which nothing was chosen on. Tasks whose data may not train a shipped model go to DIR and stay there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

RESULT = Path(__file__).parent / "results" / "tasks.json"
MODEL, WHOLE = "model", "model,tfidf,ensemble"
TASKS: dict[str, tuple[tuple[int, ...], str]] = {
    "journal": ((13,), MODEL),
    "emotion_tweets": ((13, 14, 15), MODEL),
    "emotion_dair": ((13,), MODEL),
    "topic": ((13,), WHOLE),
    "sentiment": ((13,), MODEL),
}
"""Seeds, and what is trained, per task; where there are backups, the whole graph is measured too."""
FIGURES = ("n", "accuracy", "macro_f1", "weighted_f1", "roc_auc", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", default=",".join(TASKS))
    options = parser.parse_args()
    for task in options.only.split(","):
        seeds, steps = TASKS[task]
        runs = [run(task, seed, steps, options.source, options.models / str(seed)) for seed in seeds]
        found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
        found[task] = {"runs": runs}
        if len(runs) > 1:
            found[task]["mean"] = {
                key: round(mean(r["test"][key] for r in runs), 4) for key in ("accuracy", "macro_f1")
            }
        RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n", encoding="utf-8")
        print(json.dumps(found[task], indent=2), flush=True)


def run(task: str, seed: int, steps: str, source: Path, models: Path) -> dict[str, Any]:
    """One training, with its command and test figures."""
    arguments = ["train", task, "--steps", steps, "--seed", str(seed), "--version", "1.0.0"]
    healdag = [sys.executable, "-m", "healdag"]
    subprocess.run([*healdag, *arguments, "--source", str(source), "--models", str(models)], check=True)
    folder = models / task / "1.0.0"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    info = json.loads((folder / "training_info.json").read_text(encoding="utf-8"))
    whole = {}
    if steps != MODEL:
        evaluation = [*healdag, "evaluate", str(folder), "--graph", "--source", str(source), "--json"]
        shown = subprocess.run(evaluation, check=True, capture_output=True, text=True).stdout
        whole = {"graph": {key: json.loads(shown)["test"][key] for key in FIGURES}}
    return {
        "command": shlex.join(["healdag", *arguments, "--source", "DATA", "--models", "DIR"]),
        "rows": info["rows"],
        "minutes": round(info["seconds"] / 60, 1),
        "data_sha256": info["data_sha256"],
        "validation": {key: metrics["validation"][key] for key in FIGURES},
        "test": {key: metrics["test"][key] for key in FIGURES},
        **whole,
    }


if __name__ == "__main__":
    main()
