"""Measures the shipped models on test splits that they were never trained on or tuned with.

Usage: python benchmarks/evaluate.py --source DATA [--only davidson_hate,shift]
DATA is a folder with <set>/test.jsonl.gz. Writes benchmarks/results/evaluation.json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from healdag import Classification, Classifier, create_classifier
from healdag.artifacts import available_tasks, find_artifact, read_manifest
from healdag.predictors import Predictor, Spec, load_predictor
from healdag.training.datasets import json_lines, read_examples
from healdag.training.evaluation.metrics import evaluate

RESULTS = Path(__file__).parent / "results"
DRAWS = 1000
SEED = 13


def main() -> None:
    """Runs everything, or what ``--only`` names, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--only", default="", help="measure these parts of the file anew, with commas between")
    options = parser.parse_args()
    source = options.source
    emotion, sarcasm = create_classifier("emotion"), create_classifier("sarcasm")
    parts: dict[str, Callable[[], Any]] = {
        "versions": lambda: {task: read_manifest(folder).version for task, folder in available_tasks().items()},
        "goemotions_8": lambda: emotion_figures(emotion, source),
        "isarcasmeval": lambda: sarcasm_figures(sarcasm, source, "isarcasmeval", "sarcastic"),
        "tweeteval_irony": lambda: sarcasm_figures(sarcasm, source, "tweeteval_irony", "irony"),
        "shift": lambda: {"dair_emotion": shifted(emotion, source, "dair_emotion")},
        "authored": lambda: authored(emotion),
        "davidson_hate": lambda: hate_figures(source),
        "jigsaw_toxic_partial": lambda: toxicity_figures(source),
    }
    place = RESULTS / "evaluation.json"
    chosen = options.only.split(",") if options.only else list(parts)
    known = json.loads(place.read_text(encoding="utf-8")) if options.only else {}
    found = {name: parts[name]() for name in dict.fromkeys(["versions", *chosen])}
    figures = {name: {**known, **found}[name] for name in parts if name in known or name in found}
    RESULTS.mkdir(exist_ok=True)
    place.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def read(source: Path, name: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a test split."""
    rows = list(json_lines(source / name / "test.jsonl.gz"))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def emotion_figures(classifier: Classifier, source: Path) -> dict[str, Any]:
    """The primary alone and the whole graph on goemotions_8, and what the backups changed."""
    texts, truth = read(source, "goemotions_8")
    alone = create_classifier("emotion", enable_backup=False).classify_many(texts)
    whole = classifier.classify_many(texts)
    right_before = np.array([r.attempts[0].label == t for r, t in zip(whole, truth, strict=True)])
    right_after = np.array([r.final_label == t for r, t in zip(whole, truth, strict=True)])
    changed = np.array([r.source == "backup" for r in whole])
    return {
        "tfidf": figures_of(
            create_classifier("emotion", primary=tfidf()).classify_many(texts), truth, classifier.labels
        ),
        "primary": figures_of(alone, truth, classifier.labels),
        "whole_graph": figures_of(whole, truth, classifier.labels),
        "backup": {
            "asked": sum(len(r.attempts) > 1 for r in whole),
            "changed": int(changed.sum()),
            "fixed": int((changed & right_after & ~right_before).sum()),
            "broke": int((changed & ~right_after & right_before).sum()),
        },
        "sources": {s: sum(r.source == s for r in whole) for s in sorted({r.source for r in whole})},
        "cheap_first": cheap_first(texts, truth, whole),
    }


def cheap_first(texts: list[str], truth: list[str], whole: list[Classification]) -> dict[str, Any]:
    """With TF-IDF asked first: the share that it answers, and the accuracy of all answers beside the whole graph's."""
    results = create_classifier("emotion", cheap_first=True).classify_many(texts)
    pairs = np.array([[r.final_label == t, w.final_label == t] for r, w, t in zip(results, whole, truth, strict=True)])
    change = pairs.astype(float) @ [1.0, -1.0]
    return {
        "share_answered": round(float(np.mean([r.attempts[0].by == "tfidf" for r in results])), 4),
        "accuracy": round(float(pairs[:, 0].mean()), 4),
        "change": round(float(change.mean()), 4),
        "change_interval_95": bootstrap(change, lambda chosen: float(chosen.mean())),
    }


def tfidf() -> Predictor:
    """TF-IDF with logistic regression on the same rows, calibrated: what people would try first."""
    folder = find_artifact("emotion") / "backups" / "tfidf"
    return load_predictor("tfidf", Spec(read_manifest(folder).labels, folder))


def figures_of(results: list[Classification], truth: list[str], labels: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, macro-F1, calibration, per class; with a bootstrap interval for the accuracy."""
    probabilities = np.array([[r.probabilities[label] for label in labels] for r in results])
    said = np.array([labels.index(r.final_label) for r in results])
    figures = evaluate(probabilities, np.array([labels.index(t) for t in truth]), labels, predicted=said)
    right = np.array([r.final_label == t for r, t in zip(results, truth, strict=True)])
    return {**figures, "accuracy_interval_95": bootstrap(right, lambda chosen: float(chosen.mean()))}


def sarcasm_figures(classifier: Classifier, source: Path, name: str, positive: str) -> dict[str, Any]:
    """F1 of the sarcastic class by the label that the classifier gives, and the ranking's ROC-AUC."""
    from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

    texts, labels = read(source, name)
    results = classifier.classify_many(texts, errors="return")
    kept = [i for i, r in enumerate(results) if isinstance(r, Classification)]
    truth = np.array([labels[i] == positive for i in kept])
    said = np.array([results[i].final_label == "sarcastic" for i in kept])
    score = np.array([results[i].probabilities["sarcastic"] for i in kept])
    pairs = np.stack([truth, said], axis=1)
    return {
        "n": len(kept),
        "positives": int(truth.sum()),
        "f1": round(float(f1_score(truth, said)), 4),
        "f1_interval_95": bootstrap(pairs, lambda p: float(f1_score(p[:, 0], p[:, 1], zero_division=0))),
        "precision": round(float(precision_score(truth, said)), 4),
        "recall": round(float(recall_score(truth, said)), 4),
        "roc_auc": round(float(roc_auc_score(truth, score)), 4),
        "f1_of_always_yes": round(2 * float(truth.mean()) / (1 + float(truth.mean())), 4),
    }


def shifted(classifier: Classifier, source: Path, name: str) -> dict[str, Any]:
    """Another domain: accuracy as answered, and with the answers restricted to that set's labels."""
    texts, truth = read(source, name)
    known = sorted(set(truth))
    return {
        "n": len(texts),
        "accuracy": share_right(classifier.classify_many(texts), truth),
        "accuracy_restricted": share_right(create_classifier("emotion", labels=known).classify_many(texts), truth),
    }


def share_right(results: list[Classification], truth: Sequence[str]) -> float:
    """Accuracy of the final labels."""
    return round(float(np.mean([r.final_label == t for r, t in zip(results, truth, strict=True)])), 4)


def authored(classifier: Classifier) -> dict[str, Any]:
    """Our own held-out texts, sincere ones and sarcastic ones (the emotion that is meant) apart."""
    sets = ("authored", "authored_irony", "authored_feelings")
    rows = [row for name in sets for row in read_examples(name, "test", None, label_column="emotion")]
    figures = {}
    for name, sarcastic in (("sincere", False), ("sarcastic", True)):
        chosen = [row for row in rows if row.sarcastic is sarcastic]
        texts, truth = [row.text for row in chosen], [row.label for row in chosen]
        alone = create_classifier("emotion", enable_backup=False).classify_many(texts)
        whole = classifier.classify_many(texts)
        figures[name] = {
            "n": len(chosen),
            "primary": share_right(alone, truth),
            "whole_graph": share_right(whole, truth),
            "commonest_label": round(max(Counter(truth).values()) / len(truth), 4),
        }
    return figures


def hate_figures(source: Path) -> dict[str, Any]:
    """The primary alone and the whole graph on davidson_hate."""
    texts, truth = read(source, "davidson_hate")
    ways = {"primary": create_classifier("hate", enable_backup=False), "whole_graph": create_classifier("hate")}
    return {name: figures_of(way.classify_many(texts), truth, way.labels) for name, way in ways.items()}


def toxicity_figures(source: Path) -> dict[str, Any]:
    """Primary and whole graph; the rows that somebody has lower-cased and stripped (cleaned_text) apart."""
    rows = list(json_lines(source / "jigsaw_toxic_partial" / "test.jsonl.gz"))
    ways = {"primary": create_classifier("toxicity", enable_backup=False), "whole_graph": create_classifier("toxicity")}
    slices = {"all": rows, "as_written": [r for r in rows if not r["cleaned_text"]]}
    return {
        name: {way: toxic(classifier, chosen) for way, classifier in ways.items()} for name, chosen in slices.items()
    }


def toxic(classifier: Classifier, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Multi-label figures."""
    results = classifier.classify_many([row["text"] for row in rows])
    labels = classifier.labels
    probabilities = np.array([[r.probabilities[label] for label in labels] for r in results])
    said = np.array([[int(label in r.final_label) for label in labels] for r in results])
    truth = np.array([[int(label in row["labels"]) for label in labels] for row in rows])
    return evaluate(probabilities, truth, labels, multi_label=True, predicted=said)


def bootstrap(rows: Any, figure: Any) -> list[float]:
    """95 % percentile interval over resampled rows."""
    generator = np.random.default_rng(SEED)
    values = [figure(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(DRAWS)]
    return [round(float(v), 4) for v in np.percentile(values, [2.5, 97.5])]


if __name__ == "__main__":
    main()
