"""Which methods of augmentation help? Each alone, all, and none, with two fast classifiers on a small training set.

Usage: python benchmarks/augmentation.py --source DATA
Trains on a sample of goemotions_8's training split (small, because there augmentation has most to give), adds one new
row per row, or as many as the method can make, and scores macro-F1 on validation splits: goemotions_8, and
dair_emotion for the shift to other writers (answers restricted to its six labels; never trained on). Several seeds
draw the sample. `repeat` adds copies in place of new rows: what it gains is the weight of the data, not its variety.
`back_off` fills the rare labels only, with all methods; `fill_repeat` does so with copies. Test splits are not read.
Writes benchmarks/results/augmentation.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from healdag.artifacts import resolve_base
from healdag.training.augmentation.augment import augment
from healdag.training.augmentation.rewrites import METHODS
from healdag.training.datasets import Example, read_examples

RESULTS = Path(__file__).parent / "results"
BASE = "sentence-transformers/all-MiniLM-L6-v2"
SEEDS = (13, 14, 15)
SIZES = {"tfidf": 4000, "minilm": 1500}  # rows of a sample; embeddings take most of the time
SETS = ("goemotions_8", "dair_emotion")


def main() -> None:
    """Measures each way of adding rows and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the data sets")
    source = parser.parse_args().source
    started = time.perf_counter()
    train = read_examples("goemotions_8", "train", source)
    validation = {name: read_examples(name, "validation", source) for name in SETS}
    held_out = {row.text for rows in validation.values() for row in rows}
    embed = Embedder()
    runs = {
        model: [
            run(Random(seed).sample(train, size), validation, held_out, seed, None if model == "tfidf" else embed)
            for seed in SEEDS
        ]
        for model, size in SIZES.items()
    }
    figures = {
        "trained_on": f"goemotions_8 train, random samples of so many rows, seeds {list(SEEDS)}",
        "sample_sizes": SIZES,
        "scored_on": "validation splits, macro-F1, mean and standard deviation over the seeds",
        "models": {"tfidf": "TF-IDF of words + logistic regression", "minilm": f"{BASE}, frozen, mean + the same"},
        **{model: {way: summary(found, way) for way in found[0]} for model, found in runs.items()},
        "seconds": round(time.perf_counter() - started),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "augmentation.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def run(
    rows: list[Example], validation: dict[str, list[Example]], held_out: set[str], seed: int, embed: Embedder | None
) -> dict[str, dict[str, Any]]:
    """Rows added and scores of every way, for one sample; TF-IDF features where no embedder is given."""
    found = {}
    for way, added in ways(rows, held_out, seed).items():
        labelled = [*rows, *added]
        truth = [row.label for row in labelled]
        found[way] = {"added": len(added)}
        features = embed or tfidf(labelled)
        classifier = fitted(features([row.text for row in labelled]), truth)
        for name, others in validation.items():
            found[way][name] = macro_f1(classifier, features([row.text for row in others]), others)
        print(seed, way, found[way], flush=True)
    return found


def ways(rows: list[Example], held_out: set[str], seed: int) -> dict[str, list[Example]]:
    """The rows that each way adds."""
    counts = Counter(row.label for row in rows)
    target = round(len(rows) / len(counts))
    everything: dict[str, list[Example]] = {"none": [], "repeat": list(rows)}
    for name in METHODS:
        everything[name] = list(augment(rows, factor=1, seed=seed, methods=[name], held_out=held_out).rows)
    everything["all"] = list(augment(rows, factor=1, seed=seed, held_out=held_out).rows)
    everything["back_off"] = list(augment(rows, target_per_label=target, seed=seed, held_out=held_out).rows)
    everything["fill_repeat"] = [
        row
        for label, count in sorted(counts.items())
        for row in Random(seed).choices([row for row in rows if row.label == label], k=max(0, target - count))
    ]
    return everything


class Embedder:
    """Mean-pooled, normalised sentence embeddings of the frozen base; each text is computed once."""

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = resolve_base(BASE)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()
        self._known: dict[str, Any] = {}

    def __call__(self, texts: list[str]) -> Any:
        """Embeddings, shape (n, 384)."""
        import torch

        new = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            tokens = self._tokenizer(batch, padding=True, truncation=True, max_length=64, return_tensors="pt")
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                states = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            mean = (states.float() * mask).sum(1) / mask.sum(1)
            self._known.update(zip(batch, torch.nn.functional.normalize(mean).numpy(), strict=True))
        return np.stack([self._known[text] for text in texts])


def tfidf(rows: list[Example]) -> Any:
    """TF-IDF over words, fitted on the training rows; no lowest count, which copies of a row would pass."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    vectorizer.fit([row.text for row in rows])
    return vectorizer.transform


def fitted(features: Any, truth: list[str]) -> Any:
    """Logistic regression with balanced classes."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=3.0, class_weight="balanced", max_iter=1000).fit(features, truth)


def macro_f1(classifier: Any, features: Any, rows: list[Example]) -> float:
    """Macro-F1 in percent over the labels of these rows; other labels are no answer."""
    from sklearn.metrics import f1_score

    truth = [row.label for row in rows]
    labels = sorted(set(truth))
    scores = classifier.decision_function(features)[:, [list(classifier.classes_).index(label) for label in labels]]
    said = [labels[i] for i in scores.argmax(axis=1)]
    return 100 * float(f1_score(truth, said, average="macro"))


def summary(runs: list[dict[str, dict[str, Any]]], way: str) -> dict[str, Any]:
    """Mean and deviation of the scores, and the gain over `none` seed by seed."""
    found: dict[str, Any] = {"rows_added": [one[way]["added"] for one in runs]}
    for name in SETS:
        values = np.array([one[way][name] for one in runs])
        gains = values - np.array([one["none"][name] for one in runs])
        found[name] = {
            "mean": round(float(values.mean()), 2),
            "std": round(float(values.std(ddof=1)), 2),
            "gains": [round(float(gain), 2) for gain in gains],
        }
    return found


if __name__ == "__main__":
    main()
