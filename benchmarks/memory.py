"""What the memory of corrections is worth: near twins that it answers, other texts that it changes, and its cost.

    python benchmarks/memory.py --source DATA [--corrections 10000] [--others 2000] [--twins 250]

Writes benchmarks/results/memory.json. The memory holds training texts of goemotions_8 with their labels. Against it:

- near twins of some of them, made by letter case, punctuation, a typo, a synonym, an emoji, a filler word;
- opposites: texts of it whose feeling is denied, and whose label is therefore another one;
- other texts: of the validation split. Their answer should stay; where the memory changes it, `fixed` and `broke` say
  whether that was right by the text's own label.

For several least similarities, and for three ways to compare hidden states. The logistic curve of the confidence is
fitted on near twins and other texts in equal weight. Nothing here reads a test split.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from langgraph.store.memory import InMemoryStore
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from healdag.artifacts import find_artifact, read_manifest
from healdag.nodes import Corrections, Decider, Memory, Recall
from healdag.nodes.corrections import as_bytes
from healdag.nodes.memory import LEAST_SIMILARITY, OFFSET, SLOPE, confidence_of
from healdag.nodes.twin_index import Vectors, unit
from healdag.predictors import Spec, load_predictor
from healdag.store.feedback import FeedbackEvent, FeedbackStore, text_key
from healdag.text import clean_text
from healdag.training.augmentation.rewrites import emoji_of, negate, vary_punctuation
from healdag.training.augmentation.synonyms import replace_synonyms
from healdag.training.datasets import Example, read_examples
from healdag.training.familiarity import MOST_ROWS, layer_of

RESULT = Path(__file__).parent / "results" / "memory.json"
SET, TASK, SEED = "goemotions_8", "emotion", 13
LEASTS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
FITTED_FROM = 0.6
"""Similarity from which on the curve of the confidence is fitted."""
FILLERS = ("well,", "honestly,", "like", "i mean", "so", "just", "really", "lol", "tbh", "btw")
Change = Callable[[Example, random.Random], str | None]


def typo(text: str, chance: random.Random) -> str | None:
    """Two letters swapped, one left out or one doubled, inside a word of four letters or more."""
    words = list(re.finditer(r"[A-Za-z]{4,}", text))
    if not words:
        return None
    word = chance.choice(words)
    i = word.start() + chance.randrange(1, len(word.group()) - 2)
    return chance.choice(
        (text[:i] + text[i + 1] + text[i] + text[i + 2 :], text[:i] + text[i + 1 :], text[:i] + text[i:][0] + text[i:])
    )


def filler(text: str, chance: random.Random) -> str:
    """A filler word more, or one of those that are there less."""
    words = text.split()
    there = [i for i, word in enumerate(words) if word.lower().strip(",") in {f.strip(",") for f in FILLERS}]
    if there and len(words) > 2 and chance.random() < 0.5:
        del words[chance.choice(there)]
        return " ".join(words)
    return f"{chance.choice(FILLERS)} {text}" if chance.random() < 0.6 else f"{text} {chance.choice(FILLERS)}"


def with_emoji(row: Example, chance: random.Random) -> str:
    """An emoji of the row's emotion behind it, or for neutral one that says little."""
    return f"{row.text} {chance.choice(emoji_of(row.label) or ('🙂', '👍', '🤔'))}"


TWINS: dict[str, Change] = {
    "letter case": lambda row, _: row.text.swapcase(),
    "punctuation": lambda row, chance: vary_punctuation(row.text, chance),
    "typo": lambda row, chance: typo(row.text, chance),
    "synonym": lambda row, chance: replace_synonyms(row.text, chance),
    "emoji": with_emoji,
    "filler word": lambda row, chance: filler(row.text, chance),
}


class Data:
    """The texts, the model's answers to them and their vectors."""

    def __init__(self, options: argparse.Namespace) -> None:
        chance = random.Random(SEED)
        train = read_examples(SET, "train", options.source)
        chance.shuffle(train)
        self.memory: list[Example] = list({clean_text(r.text).casefold(): r for r in train}.values())[
            : options.corrections
        ]
        known = {clean_text(row.text).casefold() for row in self.memory}
        validation = read_examples(SET, "validation", options.source)
        self.others = [r for r in validation if clean_text(r.text).casefold() not in known][: options.others]
        self.twins: list[tuple[str, str, str]] = []  # kind, text, label
        for kind, change in TWINS.items():
            made = ((change(row, chance), row) for row in chance.sample(self.memory, len(self.memory)))
            fresh = ((text, row) for text, row in made if text and (clean_text(text) != clean_text(row.text)))
            self.twins += [(kind, text, row.label) for (text, row), _ in zip(fresh, range(options.twins), strict=False)]
        denied = ((negate(row, chance), row) for row in self.memory)
        self.opposites = [(found[0], found[1][0]) for found, _ in denied if found is not None]
        self.texts = [clean_text(row.text) for row in (*self.memory, *self.others)]
        self.texts += [clean_text(text) for _, text, _ in self.twins] + [clean_text(text) for text, _ in self.opposites]
        self.parts = np.cumsum([0, len(self.memory), len(self.others), len(self.twins), len(self.opposites)])

    def part(self, array: Any, i: int) -> Any:
        """What belongs to 0 the memory, 1 the other texts, 2 the near twins, 3 the opposites."""
        return array[self.parts[i] : self.parts[i + 1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--corrections", type=int, default=10_000)
    parser.add_argument("--others", type=int, default=2_000)
    parser.add_argument("--twins", type=int, default=250, help="of each kind")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    data = Data(options)
    folder = find_artifact(TASK)
    manifest = read_manifest(folder)
    model: Any = load_predictor(manifest.kind, Spec(manifest.labels, folder, {"engine": "torch", "device": "cpu"}))
    layer = layer_of(model.layers)
    answers = [
        model.encoder.examine(data.texts[i : i + 1024], layer, model.calibration)
        for i in range(0, len(data.texts), 1024)
    ]
    values, hidden = (np.concatenate([found[i] for found in answers]) for i in (0, 1))
    mean, whitening = whitened(data.part(hidden, 0)[:MOST_ROWS])
    spaces = {"mean hidden state": hidden, "centred": hidden - mean, "whitened": (hidden - mean) @ whitening}
    vectors = unit(spaces["whitened"])
    decider = Decider(manifest.labels)
    corrections = remembered(data, vectors, manifest.labels)
    result = {
        "command": "python benchmarks/memory.py --source DATA",
        "model": f"{manifest.task}/{manifest.version}",
        "corrections": len(corrections),
        "texts": {"others": len(data.others), "twins": len(data.twins), "opposites": len(data.opposites)},
        "chosen": {"least": LEAST_SIMILARITY, "slope": SLOPE, "offset": OFFSET},
        "least": {f"{least:g}": figures(data, corrections, decider, vectors, values, least) for least in LEASTS},
        "spaces": {name: separation(data, unit(space)) for name, space in spaces.items()},
        "confidence": confidence(data, vectors),
        "cost": cost(data, corrections, decider, vectors, values, model),
    }
    options.result.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def whitened(known: Any) -> tuple[Any, Any]:
    """Mean and whitening as healdag.training.familiarity fits them."""
    return known.mean(axis=0), np.linalg.cholesky(LedoitWolf().fit(known).precision_)


def remembered(data: Data, vectors: Vectors, labels: tuple[str, ...]) -> Corrections:
    """The memory, as a feedback store would fill it."""
    corrections, now = Corrections(InMemoryStore(), TASK, space="bench", capacity=len(data.memory)), datetime.now(UTC)
    corrections.apply(
        FeedbackEvent(
            id=f"f-{i}",
            seq=i + 1,
            time=now + timedelta(milliseconds=i),
            task=TASK,
            kind="correction",
            text_sha256=text_key(data.texts[i]),
            label=row.label,
            labels=labels,
            model_version="bench",
            embedding=as_bytes(vectors[i]),
        )
        for i, row in enumerate(data.memory)
    )
    return corrections


def figures(
    data: Data, corrections: Corrections, decider: Decider, vectors: Vectors, values: Any, least: float
) -> dict[str, Any]:
    """What the memory does to near twins, opposites and other texts from this similarity on."""
    recall = Recall(corrections, decider, least)
    rows = values.tolist()
    others, twins, opposites = (recall(data.part(vectors, i), data.part(rows, i)) for i in (1, 2, 3))
    own = [decider.name(row)[0] for row in data.part(rows, 1)]
    said = [own[i] if found is None else found["label"] for i, found in enumerate(others)]
    truth = [row.label for row in data.others]
    kinds: dict[str, list[bool]] = {}
    for (kind, _, label), found in zip(data.twins, twins, strict=True):
        kinds.setdefault(kind, []).append(found is not None and found["label"] == label)
    answered = sum(found is not None for found in twins)
    right = sum(map(sum, kinds.values()))
    return {
        "twins_right": share(right, len(twins)),
        "twins_wrong": share(answered - right, len(twins)),
        "twins_right_by_kind": {kind: share(sum(each), len(each)) for kind, each in kinds.items()},
        "opposites_answered": share(sum(found is not None for found in opposites), len(opposites)),
        "others_answered": share(sum(found is not None for found in others), len(others)),
        "others_changed": share(sum(a != b for a, b in zip(own, said, strict=True)), len(others)),
        "others_fixed": sum(a != t == b for a, b, t in zip(own, said, truth, strict=True)),
        "others_broke": sum(a == t != b for a, b, t in zip(own, said, truth, strict=True)),
    }


def separation(data: Data, vectors: Vectors) -> dict[str, float]:
    """Share of near twins that are nearer to the memory than all but 1 % of the other texts."""
    known = data.part(vectors, 0)
    others, twins = (np.max(data.part(vectors, i) @ known.T, axis=1) for i in (1, 2))
    limit = float(np.quantile(others, 0.99))
    return {"least": round(limit, 3), "twins": share(int((twins >= limit).sum()), len(twins))}


def confidence(data: Data, vectors: Vectors) -> dict[str, Any]:
    """The curve of the confidence, fitted; and how often the nearest correction is right, by similarity."""
    known = data.part(vectors, 0)
    labels = np.array([row.label for row in data.memory])
    similar, right = [], []
    for i, truth in ((1, [row.label for row in data.others]), (2, [label for _, _, label in data.twins])):
        found = data.part(vectors, i) @ known.T
        similar.append(found.max(axis=1))
        right.append(labels[found.argmax(axis=1)] == np.array(truth))
    near = [each >= FITTED_FROM for each in similar]
    weights = np.concatenate([np.full(int(kept.sum()), 0.5 / max(int(kept.sum()), 1)) for kept in near])
    x, y = (np.concatenate([each[kept] for each, kept in zip(both, near, strict=True)]) for both in (similar, right))
    if len(set(y.tolist())) < 2:
        return {}  # of few texts none near enough is wrong
    fitted = LogisticRegression(C=1e6).fit(x[:, None], y, sample_weight=weights * len(y))
    bins = {}
    for low in (0.6, 0.7, 0.75, 0.8, 0.9):
        high = {0.6: 0.7, 0.7: 0.75, 0.75: 0.8, 0.8: 0.9, 0.9: 1.01}[low]
        inside = [(each >= low) & (each < high) for each in similar]
        bins[f"{low:g}"] = {
            name: {"n": int(kept.sum()), "right": share(int(ok[kept].sum()), int(kept.sum()))}
            for name, kept, ok in zip(("others", "twins"), inside, right, strict=True)
        }
    return {
        "slope": round(float(fitted.coef_[0, 0]), 2),
        "offset": round(float(fitted.intercept_[0]), 2),
        "given": {f"{s:g}": round(confidence_of(s), 3) for s in (0.75, 0.85, 0.95, 1.0)},
        "nearest_right": bins,
    }


def cost(
    data: Data, corrections: Corrections, decider: Decider, vectors: Vectors, values: Any, model: Any
) -> dict[str, Any]:
    """Milliseconds of the look-ups for one text and for many, in turns with the model's pass over the same texts."""
    recall, memory = Recall(corrections, decider), Memory(corrections, decider)
    others, rows, texts = data.part(vectors, 1), data.part(values, 1).tolist(), data.part(data.texts, 1)
    single = [timed(lambda i=i: recall(others[i : i + 1], rows[i : i + 1])) for i in range(min(300, len(texts)))]
    exact = [timed(lambda i=i: memory({"clean": texts[i : i + 1]})) for i in range(min(300, len(texts)))]
    turns, n = [], min(512, len(texts))
    for _ in range(5):
        looked = timed(lambda: (recall(others[:n], rows[:n]), memory({"clean": texts[:n]})))
        turns.append((looked, timed(lambda: model.predict_proba(texts[:n]))))
    with tempfile.TemporaryDirectory() as folder:
        store = FeedbackStore.open(Path(folder) / "feedback.db")
        store.add(task=TASK, text="one", label=data.memory[0].label, labels=decider.labels)
        poll = [timed(store.last_seq) for _ in range(100)]
        add = [
            timed(lambda i=i: store.add(task=TASK, text=f"text {i}", label="joy", labels=decider.labels))
            for i in range(50)
        ]
    return {
        "single_ms": {"near_twin": median(single), "exact": median(exact)},
        "bulk_ms_per_text": median([looked / n for looked, _ in turns]),
        "model_ms_per_text": median([read / n for _, read in turns]),
        "bulk_share_of_model": median([looked / read for looked, read in turns]),
        "poll_ms_at_most_once_a_second": median(poll),
        "correction_written_ms": median(add),
    }


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def median(values: list[float]) -> float:
    return round(statistics.median(values), 4)


def share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


if __name__ == "__main__":
    main()
