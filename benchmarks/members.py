"""What the members of the emotion graph could give at most: each alone, put together, and an oracle's choice.

    python benchmarks/members.py --source DATA

Writes benchmarks/results/members.json: accuracy on test splits of each model alone, of their mean, of the shipped
ensemble asked about every text, and of an oracle that takes a right member wherever there is one; and on the
validation split, cross-validated, whether a learned rule says better than the primary's confidence which texts are
worth asking the ensemble about. It says how far other members, or another rule for asking them, could carry.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from healdag import create_classifier
from healdag.artifacts import find_artifact, read_manifest
from healdag.predictors import FloatArray, Spec, load_predictor
from healdag.predictors.ensemble import Ensemble
from healdag.predictors.restricted import whole
from healdag.training.data import load_split
from healdag.training.datasets import read_examples
from healdag.training.tasks import load_task

RESULT = Path(__file__).parent / "results" / "members.json"
SETS = ("goemotions_8", "dair_emotion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    options = parser.parse_args()
    found: dict[str, Any] = {name: measure(name, options.source) for name in SETS}
    found["deferral"] = deferral(options.source)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def measure(name: str, source: Path) -> dict[str, Any]:
    """One test split."""
    folder = find_artifact("emotion")
    labels = read_manifest(folder).labels
    rows = read_examples(name, "test", source)
    texts, truth = [row.text for row in rows], np.array([labels.index(row.label) for row in rows])
    said = {member: ask(place, labels, texts) for member, place in places(folder).items()}
    mean, together = np.mean(list(said.values()), axis=0), shipped_ensemble().predict_proba(texts)
    ways = {**said, "mean of all": mean, "ensemble": together}
    right = {way: values.argmax(axis=1) == truth for way, values in ways.items()}
    right["oracle among the members"] = np.any([right[member] for member in said], axis=0)
    return {
        "version": read_manifest(folder).version,
        "n": len(rows),
        "accuracy": {way: round(float(hits.mean()), 4) for way, hits in right.items()},
    }


def deferral(source: Path) -> dict[str, Any]:
    """Accuracy with the ensemble asked about a share of the texts, picked by low confidence or by a learned gain.

    The learned rule is "will the ensemble be right here and the primary wrong?" minus the reverse: a multinomial
    regression on the primary's log-probabilities, its answer, its margin and its entropy, of three strengths.
    """
    folder = find_artifact("emotion")
    labels = read_manifest(folder).labels
    rows = load_split(load_task("emotion"), "validation", source)
    texts, truth = [row.text for row in rows], np.array([labels.index(row.label) for row in rows])
    primary, together = ask(folder, labels, texts), shipped_ensemble().predict_proba(texts)
    before, after = primary.argmax(axis=1) == truth, together.argmax(axis=1) == truth
    logs = np.log(primary)
    top = np.sort(logs, axis=1)
    table = np.column_stack(
        [logs, np.eye(len(labels))[primary.argmax(axis=1)], top[:, -1] - top[:, -2], -(primary * logs).sum(axis=1)]
    )
    outcome = after.astype(int) - before.astype(int)
    ranked = {"low confidence": -primary.max(axis=1)}
    for strength in (0.001, 0.01, 0.1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
        folds = StratifiedKFold(10, shuffle=True, random_state=13)
        chances = cross_val_predict(model, table, outcome, cv=folds, method="predict_proba")
        ranked[f"learned gain, C = {strength:g}"] = chances[:, 2] - chances[:, 0]
    shares = (0.1, 0.2, 0.3, 0.5, 1.0)
    return {
        "n": len(rows),
        "fixed": int((outcome > 0).sum()),
        "broke": int((outcome < 0).sum()),
        "accuracy_at_share_asked": {
            name: {
                f"{share:g}": round(float(np.where(score >= np.quantile(score, 1 - share), after, before).mean()), 4)
                for share in shares
            }
            for name, score in ranked.items()
        },
    }


def shipped_ensemble() -> Ensemble:
    """The emotion graph's ensemble, with its members."""
    ladder = create_classifier("emotion").nodes.backup.ladder
    return next(found for rung in ladder if isinstance(found := whole(rung.predictor), Ensemble))


def places(folder: Path) -> dict[str, Path]:
    """Folders of the primary and of its backups, the ensemble aside."""
    backups = sorted(path for path in (folder / "backups").iterdir() if path.name != "ensemble")
    return {"primary": folder, **{path.name: path for path in backups}}


def ask(folder: Path, labels: tuple[str, ...], texts: list[str]) -> FloatArray:
    """Calibrated probabilities of one model, shape (n, labels)."""
    return load_predictor(read_manifest(folder).kind, Spec(labels, folder)).predict_proba(texts)


if __name__ == "__main__":
    main()
