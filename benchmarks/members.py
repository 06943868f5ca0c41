"""What the members of the emotion graph could give at most: each alone, put together, and an oracle's choice.

    python benchmarks/members.py --source DATA

Writes benchmarks/results/members.json: accuracy on test splits of each model alone, of their mean, of the shipped
ensemble asked about every text, and of an oracle that takes a right member wherever there is one. It says how far
another rule for asking the backups could carry.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from healdag import create_classifier
from healdag.artifacts import find_artifact, read_manifest
from healdag.predictors import FloatArray, Spec, load_predictor
from healdag.predictors.ensemble import Ensemble
from healdag.predictors.restricted import whole
from healdag.training.datasets import read_examples

RESULT = Path(__file__).parent / "results" / "members.json"
SETS = ("goemotions_8", "dair_emotion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    options = parser.parse_args()
    found = {name: measure(name, options.source) for name in SETS}
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def measure(name: str, source: Path) -> dict[str, Any]:
    """One test split."""
    folder = find_artifact("emotion")
    labels = read_manifest(folder).labels
    rows = read_examples(name, "test", source)
    texts, truth = [row.text for row in rows], np.array([labels.index(row.label) for row in rows])
    said = {member: ask(place, labels, texts) for member, place in places(folder).items()}
    ladder = create_classifier("emotion").nodes.backup.ladder
    ensemble = next(found for rung in ladder if isinstance(found := whole(rung.predictor), Ensemble))
    ways = {**said, "mean of all": np.mean(list(said.values()), axis=0), "ensemble": ensemble.predict_proba(texts)}
    right = {way: values.argmax(axis=1) == truth for way, values in ways.items()}
    right["oracle among the members"] = np.any([right[member] for member in said], axis=0)
    return {
        "version": read_manifest(folder).version,
        "n": len(rows),
        "accuracy": {way: round(float(hits.mean()), 4) for way, hits in right.items()},
    }


def places(folder: Path) -> dict[str, Path]:
    """Folders of the primary and of its backups, the ensemble aside."""
    backups = sorted(path for path in (folder / "backups").iterdir() if path.name != "ensemble")
    return {"primary": folder, **{path.name: path for path in backups}}


def ask(folder: Path, labels: tuple[str, ...], texts: list[str]) -> FloatArray:
    """Calibrated probabilities of one model, shape (n, labels)."""
    return load_predictor(read_manifest(folder).kind, Spec(labels, folder)).predict_proba(texts)


if __name__ == "__main__":
    main()
