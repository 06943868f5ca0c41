"""What the confidence of final answers is worth: coverage under a risk, budgets on new rows, foreign texts.

    python benchmarks/trust.py --source DATA [--only goemotions_8,davidson_hate]

Writes benchmarks/results/trust.json. Per set, on its test split:

- coverage at 1, 2, 5, 10 and 20 % risk, AURC and AUGRC of: the primary by its raw softmax, the primary calibrated, the
  graph by its answers' own probabilities (primary + backups), the whole graph with the fitted confidence, and an
  oracle that knows which of the graph's answers are right; a paired bootstrap interval for whole graph against raw;
- 200 random halves of the split: a budget is certified on one half; how often the risk is above it, estimated on all
  rows, and as it happens to come out on the other half (which has luck of its own: an exact bound on one half is
  passed on another of the same size in up to 12 % of draws);
- AUROC of the distance to the training texts between the split's texts and the half of our foreign texts that nothing
  was fitted on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from healdag import Classifier, create_classifier
from healdag.artifacts import find_artifact, read_manifest
from healdag.predictors import FloatArray, ask
from healdag.text import clean_text
from healdag.training.data import load_split
from healdag.training.datasets import Example, read_examples
from healdag.training.familiarity import foreign_texts
from healdag.training.tasks import load_task
from healdag.trust.fit import selective_figures
from healdag.trust.observe import Observed, observe_rows
from healdag.trust.risk import RISKS, BoolArray, augrc, aurc, fixed_sequence, sequence

RESULT = Path(__file__).parent / "results" / "trust.json"
SETS: dict[str, tuple[str, dict[str, str] | None]] = {
    "goemotions_8": ("emotion", None),
    "dair_emotion": ("emotion", {}),
    # Optimism is a part of joy: Demszky et al. 2020, the mapping to Ekman's emotions.
    "tweeteval_emotion": ("emotion", {"optimism": "joy"}),
    "davidson_hate": ("hate", None),
}
"""Task, and what labels of the set are called in it; None for the task's own test split."""
HALVES, CERTAINTY, DRAWS, SEED = 200, 0.95, 1000, 13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SETS))
    options = parser.parse_args()
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    for name in options.only.split(","):
        found[name] = measure(name, options.source)
        ordered = {key: found[key] for key in SETS if key in found}
        RESULT.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
        print(name, json.dumps(found[name], indent=2), flush=True)


def measure(name: str, source: Path) -> dict[str, Any]:
    """Everything about one set."""
    task, rename = SETS[name]
    own = rename is None
    rows = load_split(load_task(task), "test", source) if own else read_examples(name, "test", source, rename=rename)
    classifier = create_classifier(task, human_review=False)
    seen = observe_rows(classifier, rows)
    texts = [clean_text(row.text) for row in rows]
    raw = raw_softmax(classifier, texts, rows)
    return {
        "task": task,
        "version": read_manifest(find_artifact(task)).version,
        "n": len(rows),
        **selective(classifier, seen, raw),
        "halves": halves(classifier, seen),
        "foreign": foreign(classifier, texts),
    }


def raw_softmax(classifier: Classifier, texts: list[str], rows: list[Example]) -> tuple[FloatArray, BoolArray]:
    """Top probability of the primary before its calibration, and whether that answer is right."""
    values = classifier.nodes.classify.primary.uncalibrated(texts)
    right = [classifier.labels[column] == row.label for column, row in zip(values.argmax(axis=1), rows, strict=True)]
    return values.max(axis=1), np.array(right)


def selective(classifier: Classifier, seen: Observed, raw: tuple[FloatArray, BoolArray]) -> dict[str, Any]:
    """Risk and coverage of the five ways, and the whole graph against the raw softmax."""
    decider = classifier.nodes.finalize.decider
    own = np.array([0.0 if row is None else decider.name(row)[1] for row in seen.rows])
    ways = {
        "primary_raw": raw,
        "primary_calibrated": (seen.primary, seen.primary_right),
        "with_backups": (own, seen.right),
        "whole_graph": (seen.confidence, seen.right),
        "oracle": (seen.right.astype(float), seen.right),
    }
    figures = {name: selective_figures(sure, right) for name, (sure, right) in ways.items()}
    generator = np.random.default_rng(SEED)
    ratios: dict[str, list[float]] = {"aurc": [], "augrc": []}
    gains = []
    for _ in range(DRAWS):
        drawn = generator.integers(0, len(own), len(own))
        for name, area in (("aurc", aurc), ("augrc", augrc)):
            before, after = (area(ways[way][0][drawn], ~ways[way][1][drawn]) for way in ("primary_raw", "whole_graph"))
            ratios[name].append(after / before)
        gains.append(float(seen.right[drawn].mean() - raw[1][drawn].mean()))
    whole, first = figures["whole_graph"], figures["primary_raw"]
    return {
        "ways": figures,
        "whole_graph_to_primary_raw": {
            **{
                name: {"ratio": round(whole[name] / first[name], 4), "interval_95": interval(values)}
                for name, values in ratios.items()
            },
            "accuracy": {"gain": round(whole["accuracy"] - first["accuracy"], 4), "interval_95": interval(gains)},
        },
    }


def halves(classifier: Classifier, seen: Observed) -> dict[str, Any]:
    """Per budget: how often a threshold that was certified on one half lets more errors through than it allows."""
    model = classifier.nodes.trust.model
    if model is None:
        return {}
    generator = np.random.default_rng(SEED)
    n = len(seen.right)
    found: dict[str, Any] = {}
    orders = [generator.permutation(n) for _ in range(HALVES)]
    for max_error in RISKS:
        thresholds = sequence(model.grid, n // 2, max_error)
        above, above_on_other, certified, coverages = 0, 0, 0, []
        for order in orders:
            one, other = order[: n // 2], order[n // 2 :]
            held = fixed_sequence(seen.confidence[one], ~seen.right[one], thresholds, max_error, CERTAINTY)
            if held is None:
                coverages.append(0.0)
                continue
            certified += 1
            accepted = seen.confidence[other] >= held.threshold
            coverages.append(float(accepted.mean()))
            above += risk_of(seen, seen.confidence >= held.threshold) > max_error
            above_on_other += risk_of(seen, other[accepted]) > max_error
        found[f"{max_error:g}"] = {
            "certified": certified,
            "violations": above,
            "violations_on_other_half": above_on_other,
            "of": HALVES,
            "mean_coverage": round(float(np.mean(coverages)), 4),
        }
    return found


def risk_of(seen: Observed, chosen: Any) -> float:
    """Share of wrong answers among some rows; 0 for none."""
    wrong = ~seen.right[chosen]
    return float(wrong.mean()) if len(wrong) else 0.0


def foreign(classifier: Classifier, texts: list[str]) -> dict[str, Any]:
    """How well the distance to the training texts tells the split's texts from foreign ones."""
    strange = foreign_texts("test")
    predictor = classifier.nodes.classify.primary
    near, far = ask(predictor, texts).distances, ask(predictor, strange).distances
    if near is None or far is None:
        return {}
    truth = [0] * len(near) + [1] * len(far)
    sure = [classifier.classify_many(some) for some in (texts[:1000], strange)]
    means = [round(float(np.mean([result.confidence for result in results])), 4) for results in sure]
    return {
        "n": len(strange),
        "auroc": round(float(roc_auc_score(truth, [*near, *far])), 4),
        "mean_confidence": {"own": means[0], "foreign": means[1]},
    }


def interval(values: list[float]) -> list[float]:
    """95 % percentile interval."""
    return [round(float(value), 4) for value in np.percentile(values, [2.5, 97.5])]


if __name__ == "__main__":
    main()
