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
TASKS: dict[str, tuple[int, ...]] = {
    "journal": (13,),
    "emotion_tweets": (13, 14, 15),
    "emotion_dair": (13,),
    "topic": (13,),
    "sentiment": (13,),
}
"""Seeds per task."""
FIGURES = ("n", "accuracy", "macro_f1", "weighted_f1", "roc_auc", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", default=",".join(TASKS))
    options = parser.parse_args()
    for task in options.only.split(","):
        runs = [run(task, seed, options.source, options.models / str(seed)) for seed in TASKS[task]]
        found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
        found[task] = {"runs": runs}
        if len(runs) > 1:
            found[task]["mean"] = {
                key: round(mean(r["test"][key] for r in runs), 4) for key in ("accuracy", "macro_f1")
            }
        RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n", encoding="utf-8")
        print(json.dumps(found[task], indent=2), flush=True)


def run(task: str, seed: int, source: Path, models: Path) -> dict[str, Any]:
    """One training, with its command and test figures."""
    arguments = ["train", task, "--steps", "model", "--seed", str(seed)]
    subprocess.run(
        [sys.executable, "-m", "healdag", *arguments, "--source", str(source), "--models", str(models)], check=True
    )
    current = (models / task / "current").read_text(encoding="utf-8").strip()
    folder = models / task / current
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    info = json.loads((folder / "training_info.json").read_text(encoding="utf-8"))
    return {
        "command": shlex.join(["healdag", *arguments, "--source", "DATA", "--models", "DIR"]),
        "rows": info["rows"],
        "minutes": round(info["seconds"] / 60, 1),
        "data_sha256": info["data_sha256"],
        "validation": {key: metrics["validation"][key] for key in FIGURES},
        "test": {key: metrics["test"][key] for key in FIGURES},
    }


if __name__ == "__main__":
    main()
