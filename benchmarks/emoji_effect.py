"""Does it help the classifiers to read emoji as words? Real tweets with emoji, three ways to write them.

Usage: python benchmarks/emoji_effect.py --source DATA
Validation splits choose nothing here and test splits are only reported; no model was trained on these sets.
Writes benchmarks/results/emoji_effect.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from healdag.artifacts import find_artifact, read_manifest
from healdag.emojis import emoticons_to_emoji, find_emoji
from healdag.predictors import Predictor, Spec, load_predictor
from healdag.text import clean_text
from healdag.training.datasets import json_lines

RESULTS = Path(__file__).parent / "results"
TO_EMOTION = {"anger": "anger", "joy": "joy", "sadness": "sadness"}  # optimism has no counterpart among the eight


def without_emoji(text: str) -> str:
    """The text with emoji and emoticons removed."""
    plain = emoticons_to_emoji(text)
    for start, end, _ in reversed(find_emoji(plain)):
        plain = plain[:start] + " " + plain[end:]
    return clean_text(plain) if plain.strip() else "?"


WAYS: dict[str, Callable[[str], str]] = {
    "as words": clean_text,
    "as they are": lambda text: " ".join(text.split()),
    "removed": without_emoji,
}


def main() -> None:
    """Measures each way on each set and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the data sets")
    source = parser.parse_args().source
    figures = {"tweeteval_emotion": emotion(source), "tweeteval_irony": irony(source)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "emoji_effect.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def with_emoji(source: Path, name: str) -> list[dict[str, Any]]:
    """Rows of all splits that hold an emoji or emoticon; none of them trained or tuned anything."""
    rows = [row for split in ("train", "validation", "test") for row in json_lines(source / name / f"{split}.jsonl.gz")]
    return [row for row in rows if find_emoji(emoticons_to_emoji(row["text"]))]


def load(task: str) -> Predictor:
    """The task's primary predictor alone."""
    folder = find_artifact(task)
    manifest = read_manifest(folder)
    return load_predictor(manifest.kind, Spec(manifest.labels, folder))


def emotion(source: Path) -> dict[str, Any]:
    """Accuracy and macro-F1 with the answers restricted to anger, joy and sadness."""
    from sklearn.metrics import f1_score

    model = load("emotion")
    rows = [row for row in with_emoji(source, "tweeteval_emotion") if row["label"] in TO_EMOTION]
    truth = [TO_EMOTION[row["label"]] for row in rows]
    columns = [model.labels.index(label) for label in sorted(set(truth))]
    found: dict[str, Any] = {"n": len(rows)}
    for way, write in WAYS.items():
        probabilities = model.predict_proba([write(row["text"]) for row in rows])[:, columns]
        said = [sorted(set(truth))[i] for i in probabilities.argmax(axis=1)]
        found[way] = {
            "accuracy": round(float(np.mean([s == t for s, t in zip(said, truth, strict=True)])), 4),
            "macro_f1": round(float(f1_score(truth, said, average="macro")), 4),
        }
    return found


def irony(source: Path) -> dict[str, Any]:
    """ROC-AUC of the sarcasm detector."""
    from sklearn.metrics import roc_auc_score

    model = load("sarcasm")
    rows = with_emoji(source, "tweeteval_irony")
    truth = [row["label"] == "irony" for row in rows]
    found: dict[str, Any] = {"n": len(rows)}
    for way, write in WAYS.items():
        score = model.predict_proba([write(row["text"]) for row in rows])[:, model.labels.index("sarcastic")]
        found[way] = {"roc_auc": round(float(roc_auc_score(truth, score)), 4)}
    return found


if __name__ == "__main__":
    main()
