"""What healing is worth: a stream from another domain, repeated errors, poisoned corrections, and the screening alone.

    python benchmarks/healing.py --source DATA [--only stream,repeats,poison,screening,tuning] [--domains NAME,...]

Writes benchmarks/results/healing.json, part by part, and healing.png. Everything runs on a copy of the shipped models.

- stream: training texts of a domain that the emotion model has not seen, in random order. A simulated reviewer says
  about a random 5 % of them what is right, and is right himself in 95 %. Accuracy as the texts come, with the shipped
  model alone, with the memory of corrections, and with heals whenever so many corrections have gathered; and before and
  after on the domain's test split and on goemotions_8's, without any memory.
- repeats: the corrected texts of those streams once more; near twins and other texts are those of memory.json.
- poison: heals from corrections of which 30 % are wrong, spread over all or those of one reviewer of four. A candidate
  is harmful if it is significantly worse than the version in use on the domain's test split (exact sign test, 5 %), or
  more than half a point worse on goemotions_8's. Measured for those that were promoted, with --refused for the others.
- screening: which corrections are left of 400, before anything is trained.
- tuning (only where it is asked for): the settings of a heal's training that were tried, on 300 training texts of
  dair_emotion as corrections, by its validation rows and the emotion task's own; primaries alone, without calibration.

So dair_emotion is the domain that the training was chosen on; the other domains were looked at once.
Test splits are only ever measured on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _remembered import Remembered, remembering
from _reviewers import DOMAINS, LABELS, Said, as_events, at_random, corrections, domain_rows
from _timing import machine, say

from healdag import Classifier, create_classifier, heal
from healdag.artifacts import current_version, find_artifact, read_manifest, resolve_base
from healdag.healing import HealReport, Recipe
from healdag.healing.candidate import settings_of, task_to_heal, weighted
from healdag.healing.gate import paired_bound, sign_test
from healdag.healing.heal import without_memory
from healdag.healing.mix import replay
from healdag.healing.prepare import primary
from healdag.healing.screen import screen
from healdag.predictors._encoder import Encoder
from healdag.store.feedback import FeedbackStore
from healdag.training.data import load_split
from healdag.training.datasets import Example, read_examples
from healdag.training.evaluation.candidates import Artifact
from healdag.training.evaluation.slices import raw_text
from healdag.training.finetuning.finetune import fine_tune
from healdag.training.tasks import load_task
from healdag.trust.observe import observe_rows

RESULTS = Path(__file__).parent / "results"
PARTS = ("stream", "repeats", "poison", "screening")
"""By default."""
TASK, SEED, REVIEWER = "emotion", 13, "reviewer"
ASKED, RIGHT = 0.05, 0.95
STREAMS = {"dair_emotion": (10_000, 150), "tweeteval_emotion": (4_000, 75), "crowdflower_text_emotion": (5_000, 120)}
"""Texts at most, and corrections from which on it is healed."""
WINDOW, LATE = 500, 1 / 3
POISON = [
    *(("wrong", how) for how in ("random", "shift", "rule")),
    *(("hostile", how) for how in ("random", "rule")),
]
POISON_DOMAINS, POISON_SEEDS, POISONED, POISON_SHARE = ("dair_emotion", "tweeteval_emotion"), (1, 2), 300, 0.3
CARD_ROWS = 200
"""Test rows of goemotions_8 that a poisoned heal sees for its model card, in place of all; they decide nothing."""
HARMFUL, LEVEL = 0.005, 0.05
TUNED, TUNED_ON = 300, 800
TRIED = [
    Recipe(epochs=3.0, learning_rate=0.5, weight=1, anchor=0.0),
    Recipe(epochs=3.0, learning_rate=0.5, weight=1, anchor=0.3),
    Recipe(epochs=3.0, learning_rate=0.5, weight=1, anchor=0.6),
    *(
        Recipe(epochs=2.0, learning_rate=rate, weight=weight, anchor=anchor)
        for rate, weight in ((0.5, 4), (0.5, 8), (1.0, 4), (0.25, 4))
        for anchor in (0.0, 0.4)
    ),
]
SCREENED, SCREEN_SEEDS = 400, (1, 2, 3)
SCREEN_CASES: dict[str, dict[str, Any]] = {
    "all right": {},
    "35 % wrong, random": {"wrong": 0.35, "how": "random"},
    "35 % wrong, shift": {"wrong": 0.35, "how": "shift"},
    "hostile 32 %, random": {"hostile": 0.32, "how": "random"},
    "hostile 32 %, shift": {"hostile": 0.32, "how": "shift"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--domains", default=",".join(STREAMS), help="of the streams")
    parser.add_argument("--texts", type=int, default=None, help="of a stream at most, instead of its own number")
    parser.add_argument("--trials", type=int, default=None, help="of the poison, instead of all twenty")
    parser.add_argument("--refused", action="store_true", help="measure the poison's refused candidates on test, too")
    parser.add_argument("--resume", action="store_true", help="keep streams and trials that are in the results")
    parser.add_argument("--result", type=Path, default=RESULTS / "healing.json")
    options = parser.parse_args()
    options.source = options.source.resolve()  # heals look for it from elsewhere
    results = Results(options.result)
    results.put("machine", machine())
    results.put("model", version_in_use())
    results.put("seed", SEED)
    with remembering() as passes:
        for part in options.only.split(","):
            run = {"stream": streams, "repeats": repeats, "poison": poison, "screening": screening, "tuning": tuning}
            run[part](options, results, passes)
    if results.found.get("stream"):
        draw(results.found["stream"], options.result.with_suffix(".png"))


class Results:
    """The results file, written after every step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def put(self, part: str, content: Any, name: str | None = None) -> None:
        """Replaces a part, or one entry of it."""
        if name is None:
            self.found[part] = content
        else:
            self.found.setdefault(part, {})[name] = content
        self.path.write_text(json.dumps(self.found, indent=2) + "\n", encoding="utf-8")

    def there(self, part: str, name: str) -> bool:
        """Whether an entry has been made."""
        return name in self.found.get(part, {})


@contextmanager
def home() -> Iterator[Path]:
    """A copy of the shipped models, in which heals happen and which classifiers take their models from."""
    shipped, before = find_artifact(TASK).parents[1], os.environ.get("HEALDAG_MODELS")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "models"
        for task in (TASK, "sarcasm"):
            version = str(current_version(shipped / task))
            shutil.copytree(shipped / task / version, place / task / version)
            (place / task / "current").write_text(version + "\n", encoding="utf-8")
        os.environ["HEALDAG_MODELS"] = str(place)
        try:
            yield place
        finally:
            os.environ.pop("HEALDAG_MODELS")
            if before is not None:
                os.environ["HEALDAG_MODELS"] = before


def version_in_use() -> str:
    manifest = read_manifest(find_artifact(TASK))
    return f"{manifest.task}/{manifest.version}"


# --- the stream ------------------------------------------------------------------------------------------------------


def streams(options: argparse.Namespace, results: Results, passes: Remembered) -> None:
    """Each domain's stream."""
    for name in options.domains.split(","):
        if not (options.resume and results.there("stream", name)):
            results.put("stream", stream(name, options, passes), name)
        summary = {key: results.found["stream"][name][key] for key in ("late", "test", "goemotions_8_test")}
        say(f"{name}: {json.dumps(summary)}")


def stream(name: str, options: argparse.Namespace, passes: Remembered) -> dict[str, Any]:
    """One domain's texts as they come: the model alone, with memory, with memory and heals."""
    most, every = STREAMS[name]
    rows = domain_rows(name, "train", options.source, SEED)[: options.texts or most]
    said = answers_of(name, rows)
    with home() as place:
        store = FeedbackStore.open(place / "memory.db", text="store")
        memory = Follower(rows, said, store)
        memory.run()
        alone = [right and source != "memory" for right, source in zip(memory.right, memory.sources, strict=True)]
        asked_anew = [i for i, source in enumerate(memory.sources) if source == "memory"]
        for i, right in zip(asked_anew, right_of(plain(place), [rows[i] for i in asked_anew]), strict=True):
            alone[i] = bool(right)
        again = repeated(memory.classifier, said, rows)
        store.close()
    with home() as place:
        store = FeedbackStore.open(place / "heals.db", text="store")
        first = str(current_version(place / TASK))
        healed = Follower(rows, said, store, place, options.source, every)
        healed.run()
        tests = {
            "test": domain_rows(name, "test", options.source),
            "goemotions_8_test": load_split(load_task(TASK), "test", options.source),
        }
        changes = {key: change(place, first, test) for key, test in tests.items()}
        store.close()
        passes.forget_all_but(4)
    ways = {"alone": alone, "memory": memory.right, "heals": healed.right}
    late = slice(len(rows) - round(LATE * len(rows)), None)
    return {
        "texts": len(rows),
        "corrections": len(said),
        "wrong_corrections": sum(label != rows[i].label for i, label in said.items()),
        "asked": "at random",
        "heal_every": every,
        "window": WINDOW,
        "accuracy": {way: windows(right) for way, right in ways.items()},
        "overall": {way: round(float(np.mean(right)), 4) for way, right in ways.items()},
        "late": {
            "n": len(rows[late]),
            **{way: round(float(np.mean(right[late])), 4) for way, right in ways.items()},
            "memory_gain": gain(alone[late], memory.right[late]),
            "heals_gain": gain(alone[late], healed.right[late]),
        },
        "answered_by_memory": sum(source == "memory" for source in memory.sources),
        "repeated": again,
        "heals": healed.heals,
        **changes,
    }


def answers_of(name: str, rows: Sequence[Example]) -> dict[int, str]:
    """What the reviewer says about which texts."""
    chance = random.Random(f"{SEED} {name}")
    asked = sorted(chance.sample(range(len(rows)), round(ASKED * len(rows))))
    return {i: rows[i].label if chance.random() < RIGHT else at_random(rows[i].label, chance) for i in asked}


class Follower:
    """A classifier that a stream comes to, and a reviewer who corrects it.

    Args:
        rows: The stream.
        said: What he says, by place in the stream.
        store: Where that is kept.
        place: Folder of models to heal in; None: no heals.
        source: Folder with the data sets.
        every: Corrections from which on it is healed.
    """

    def __init__(
        self,
        rows: Sequence[Example],
        said: dict[int, str],
        store: FeedbackStore,
        place: Path | None = None,
        source: Path | None = None,
        every: int = 0,
    ) -> None:
        self.rows, self.said, self.store = rows, said, store
        self.place, self.source, self.every = place, source, every
        self.right: list[bool] = []
        self.sources: list[str] = []
        self.heals: list[dict[str, Any]] = []
        self.classifier = create_classifier(TASK, engine="torch", feedback=store)

    def run(self) -> None:
        """All of it."""
        for start in range(0, len(self.rows), WINDOW):
            part = self.rows[start : start + WINDOW]
            results = self.classifier.classify_many([raw_text(row) for row in part])
            self.right += [result.final_label == row.label for result, row in zip(results, part, strict=True)]
            self.sources += [result.source for result in results]
            for i, result in enumerate(results, start):
                if i in self.said:
                    self.classifier.correct(result.decision_id, self.said[i], by=REVIEWER)
            if self.place is not None:
                self._heal(start + len(part))
            say(f"{start + len(part):,} texts, {np.mean(self.right[-WINDOW:]):.3f}")

    def _heal(self, seen: int) -> None:
        report = heal(TASK, feedback=self.store, models=self.place, source=self.source, at_least=self.every)
        if report.outcome == "nothing_new":
            return
        self.heals.append({"after": seen, **told(report)})
        say("\n".join(report.words))
        if report.outcome == "promoted":
            assert self.classifier.reload_if_changed()


def told(report: HealReport) -> dict[str, Any]:
    """What of a heal is kept."""
    figures = {check.name: check.figures for check in report.checks if check.name in ("golden", "fresh", "calibration")}
    return {
        "outcome": report.outcome,
        "candidate": report.candidate,
        "seconds": report.seconds,
        "counts": report.counts,
        "left_out": dict(report.reasons),
        "not_kept": [check.name for check in report.failed],
        **figures,
    }


def plain(place: Path, version: str | None = None) -> Classifier:
    """A version's graph without memory."""
    return without_memory(place / TASK / (version or str(current_version(place / TASK))))


def right_of(classifier: Classifier, rows: Sequence[Example]) -> Any:
    """Whether each answer is right, shape (n,)."""
    return observe_rows(classifier, rows).right if rows else np.zeros(0, dtype=bool)


def change(place: Path, first: str, rows: Sequence[Example], second: str | None = None) -> dict[str, Any]:
    """One version beside another on the same rows, both without memory; the second is by default that in use."""
    return gain(right_of(plain(place, first), rows), right_of(plain(place, second), rows))


def gain(before: Any, after: Any) -> dict[str, Any]:
    """Accuracy before and after on the same rows, with the 95 % interval of the difference (Bonett & Price 2012)."""
    then, now = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    n, broke, fixed = len(then), int((then & ~now).sum()), int((~then & now).sum())
    return {
        "n": n,
        "before": round(float(then.mean()), 4),
        "after": round(float(now.mean()), 4),
        "difference": round((fixed - broke) / n, 4),
        "interval_95": [round(paired_bound(broke, fixed, n, 1.96), 4), round(-paired_bound(fixed, broke, n, 1.96), 4)],
        "fixed": fixed,
        "broke": broke,
    }


def windows(right: Sequence[bool]) -> list[float]:
    """Accuracy of each window."""
    return [round(float(np.mean(right[i : i + WINDOW])), 4) for i in range(0, len(right), WINDOW)]


# --- repeated errors -------------------------------------------------------------------------------------------------


def repeated(classifier: Classifier, said: dict[int, str], rows: Sequence[Example]) -> dict[str, Any]:
    """The corrected texts once more: how often the answer is what the reviewer said."""
    results = classifier.classify_many([raw_text(rows[i]) for i in said])
    held = [result.final_label == label for result, label in zip(results, said.values(), strict=True)]
    return {"n": len(held), "as_corrected": round(float(np.mean(held)), 4)}


def repeats(_: argparse.Namespace, results: Results, __: Remembered) -> None:
    """Corrected texts of the streams, and the figures of benchmarks/memory.py at the similarity that is in use."""
    memory = json.loads((RESULTS / "memory.json").read_text(encoding="utf-8"))
    used = memory["least"][f"{memory['chosen']['least']:g}"]
    found = [one["repeated"] for one in results.found.get("stream", {}).values()]
    n = sum(one["n"] for one in found)
    results.put(
        "repeats",
        {
            "same_text": {
                "n": n,
                "as_corrected": round(sum(one["n"] * one["as_corrected"] for one in found) / max(n, 1), 4),
            },
            "near_twins": {"n": memory["texts"]["twins"], "right": used["twins_right"], "wrong": used["twins_wrong"]},
            "other_texts": {"n": memory["texts"]["others"], "changed": used["others_changed"]},
            "from": f"the streams, and memory.json ({memory['model']})",
        },
    )


# --- poison ----------------------------------------------------------------------------------------------------------


def poison(options: argparse.Namespace, results: Results, passes: Remembered) -> None:
    """Twenty heals from bad corrections."""
    cases = [(kind, how, name, seed) for seed in POISON_SEEDS for name in POISON_DOMAINS for kind, how in POISON]
    for kind, how, name, seed in cases[: options.trials]:
        title = f"{kind}, {how}, {name}, {seed}"
        if not (options.resume and results.there("poison", title)):
            results.put("poison", trial(kind, how, name, seed, options, passes), title)
        one = results.found["poison"][title]
        changes = {key: one[key]["difference"] for key in ("test", "goemotions_8_test") if key in one}
        say(f"{title}: {one['outcome']} {one['not_kept']} {changes}")
        results.put("poison_summary", summary(results.found["poison"]))


def trial(kind: str, how: str, name: str, seed: int, options: argparse.Namespace, passes: Remembered) -> dict[str, Any]:
    """One heal, and what its candidate would do."""
    rows = domain_rows(name, "train", options.source, seed)[:POISONED]
    share = {"wrong": POISON_SHARE} if kind == "wrong" else {"hostile": POISON_SHARE}
    said = corrections(rows, seed=seed, how=how, **share)
    with home() as place:
        store = FeedbackStore.open(place / "feedback.db", text="store")
        first = str(current_version(place / TASK))
        events = [store.add(task=TASK, text=one.row.text, label=one.label, labels=LABELS, by=one.by) for one in said]
        source = thin(options.source, place.parent / "data")
        report = heal(TASK, feedback=store, models=place, source=source, seed=SEED + seed)
        store.close()
        left = {one.id for one in report.dropped}
        kept = [one for event, one in zip(events, said, strict=True) if event.id not in left]
        found = {
            **told(report),
            "reviewers_left_out": [one.by for one in report.reviewers if not one.trusted],
            "wrong_given": round(1 - float(np.mean([one.right for one in said])), 4),
            "wrong_kept": round(1 - float(np.mean([one.right for one in kept])), 4) if kept else None,
        }
        measured = report.candidate if report.outcome == "promoted" or options.refused else None
        if measured is not None:
            tests = {
                "test": domain_rows(name, "test", options.source),
                "goemotions_8_test": load_split(load_task(TASK), "test", options.source),
            }
            found |= {key: change(place, first, test, measured) for key, test in tests.items()}
            found["harmful"] = harmful(found["test"], found["goemotions_8_test"])
    passes.forget_all_but(4)
    return found


def thin(source: Path, place: Path) -> Path:
    """The data sets, with few test rows of the task's own."""
    for folder in source.iterdir():
        if folder.is_dir():
            (place / folder.name).mkdir(parents=True)
            for path in folder.iterdir():
                (place / folder.name / path.name).symlink_to(path)
    test = place / "goemotions_8" / "test.jsonl.gz"
    with gzip.open(test, "rt", encoding="utf-8") as lines:
        few = list(islice(lines, CARD_ROWS))
    test.unlink()
    with gzip.open(test, "wt", encoding="utf-8") as lines:
        lines.writelines(few)
    return place


def harmful(domain: dict[str, Any], general: dict[str, Any]) -> bool:
    """Significantly worse in its domain, or more than half a point worse where the model comes from."""
    worse = domain["difference"] < 0 and sign_test(domain["broke"], domain["fixed"]) <= LEVEL
    return bool(worse or general["difference"] < -HARMFUL)


def summary(trials: dict[str, Any]) -> dict[str, Any]:
    """Counts over the trials."""
    promoted = [one for one in trials.values() if one["outcome"] == "promoted"]
    return {
        "trials": len(trials),
        "promoted": len(promoted),
        "measured": sum("harmful" in one for one in trials.values()),
        "harmful": sum(one.get("harmful", False) for one in trials.values()),
        "harmful_promoted": sum(one["harmful"] for one in promoted),
        "promoted_domain_change": [one["test"]["difference"] for one in promoted],
        "promoted_goemotions_8_change": [one["goemotions_8_test"]["difference"] for one in promoted],
    }


# --- the screening ---------------------------------------------------------------------------------------------------


def screening(options: argparse.Namespace, results: Results, _: Remembered) -> None:
    """What is left of corrections; nothing is trained."""
    found: dict[str, Any] = {}
    folder = find_artifact(TASK)
    answer = primary(Artifact(TASK, folder, read_manifest(folder)))
    for name in POISON_DOMAINS:
        rows = domain_rows(name, "train", options.source, SEED)[:3200]
        values = dict(zip((row.text for row in rows), answer([row.text for row in rows]), strict=True))
        mistakes = [row for row in rows if LABELS[int(np.argmax(values[row.text]))] != row.label]
        for among, some in (("texts at random", rows), ("mistakes only", mistakes)):
            for case, how in SCREEN_CASES.items():
                figures = []
                for seed in SCREEN_SEEDS:
                    chosen = random.Random(seed).sample(some, SCREENED)
                    figures.append(screened(corrections(chosen, seed=seed, **how), values, bool(how.get("hostile"))))
                found.setdefault(name, {}).setdefault(among, {})[case] = pooled(figures)
                say(f"{name}, {among}, {case}: {pooled(figures)}")
        results.put("screening", {"n": SCREENED, "seeds": list(SCREEN_SEEDS), "reviewers": 4, **found})


def screened(said: Sequence[Said], values: dict[str, Any], hostile: bool) -> dict[str, int]:
    """Counts of one case."""
    events = as_events(said, "bench")
    report = screen(events, LABELS, lambda texts: np.array([values[text] for text in texts]))
    kept = {one.id for one in report.kept}
    right = [one for event, one in zip(events, said, strict=True) if event.id in kept and one.right]
    bad = {one.by for one in report.reviewers if not one.trusted}
    enemy = "reviewer 1" if hostile else None
    return {
        "right": sum(one.right for one in said),
        "right_kept": len(right),
        "kept": len(kept),
        "hostile": int(hostile),
        "hostile_left_out": int(enemy in bad),
        "honest": 4 - hostile,
        "honest_left_out": len(bad - {enemy}),
    }


def pooled(figures: Sequence[dict[str, int]]) -> dict[str, Any]:
    """Over the seeds."""
    total = {key: sum(one[key] for one in figures) for key in figures[0]}
    return {
        "right_kept": round(total["right_kept"] / total["right"], 3),
        "wrong_given": round(1 - total["right"] / (SCREENED * len(figures)), 3),
        "wrong_kept": round(1 - total["right_kept"] / max(total["kept"], 1), 3),
        "hostile_left_out": f"{total['hostile_left_out']} of {total['hostile']}",
        "honest_left_out": f"{total['honest_left_out']} of {total['honest']}",
    }


# --- the settings ----------------------------------------------------------------------------------------------------


def tuning(options: argparse.Namespace, results: Results, _: Remembered) -> None:
    """Trainings with other settings; no figure of a test split is looked at."""
    from healdag.predictors.lora import load_merged

    folder = find_artifact(TASK)
    found = Artifact(TASK, folder, read_manifest(folder))
    task = task_to_heal(found, golden=False)
    chance, taught = random.Random(1), read_examples("dair_emotion", "train", options.source)
    chance.shuffle(taught)
    said = [
        row if chance.random() < RIGHT else replace(row, labels=(chance.choice([o for o in LABELS if o != row.label]),))
        for row in taught[:TUNED]
    ]
    sets = {
        "dair_emotion": read_examples("dair_emotion", "validation", options.source)[:TUNED_ON],
        "emotion": load_split(task, "validation", options.source),
    }
    base = resolve_base(task.lora.base)
    incumbent, tokenizer = load_merged(base, folder, LABELS)
    before = {name: right_by(incumbent, tokenizer, found, rows) for name, rows in sets.items()}
    known = load_split(task, "train", options.source)
    for recipe in TRIED:
        replayed = replay(known, set(), recipe.least_replay, SEED)
        rows = [*replayed, *weighted(task, said, recipe)]
        with tempfile.TemporaryDirectory() as scratch:
            trained = fine_tune(
                *(base, LABELS, rows, task.lora, settings_of(task.training, recipe)),
                start=folder,
                keep_head=True,
                anchor=recipe.anchor,
                checkpoints=Path(scratch) / "run",
            )
        model = trained.model.merge_and_unload()
        change = {name: gain(before[name], right_by(model, tokenizer, found, sets[name])) for name in sets}
        name = (
            f"{recipe.epochs:g} epochs, learning rate x {recipe.learning_rate:g}, weight {recipe.weight}, "
            f"anchor {recipe.anchor:g}"
        )
        results.put("tuning", {**asdict(recipe), "corrections": TUNED, **change}, name)
        say(f"{name}: {change}")


def right_by(model: Any, tokenizer: Any, found: Artifact, rows: Sequence[Example]) -> Any:
    """Whether each answer of a bare model is right, shape (n,)."""
    encoder = Encoder(model, tokenizer, max_length=found.manifest.max_length)
    said = encoder.predict_proba([row.text for row in rows]).argmax(axis=1)
    return np.array([LABELS[column] == row.label for column, row in zip(said, rows, strict=True)])


# --- the picture -----------------------------------------------------------------------------------------------------


def draw(found: dict[str, Any], path: Path) -> None:
    """Accuracy over time by domain, heals marked."""
    from healdag.training.evaluation.plots import BLUE, GREEN, GREY, ORANGE, _figure, _save

    names = [name for name in DOMAINS if name in found]
    figure = _figure(9.0, 2.9 * len(names))
    axes = figure.subplots(len(names), squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        one = found[name]
        x = [min((i + 1) * one["window"], one["texts"]) for i in range(len(one["accuracy"]["alone"]))]
        for way, color, title in (
            ("alone", GREY, "shipped model"),
            ("memory", BLUE, "with memory"),
            ("heals", GREEN, "with memory and heals"),
        ):
            axis.plot(x, one["accuracy"][way], color=color, label=title, lw=1.6, ls="--" if way == "memory" else "-")
        for each in one["heals"]:
            kept = each["outcome"] == "promoted"
            axis.axvline(each["after"], color=GREEN if kept else ORANGE, lw=1, ls="-" if kept else ":")
        axis.set_title(f"{name} ({one['corrections']:,} corrections, 5 % of them wrong)", fontsize=10, loc="left")
        axis.set_ylabel(f"accuracy by {one['window']}")
        axis.grid(alpha=0.25)
    axes[0].plot([], [], color=GREEN, lw=1, label="heal promoted")
    axes[0].plot([], [], color=ORANGE, lw=1, ls=":", label="heal refused")
    axes[0].legend(fontsize=8, ncols=2, loc="best")
    axes[-1].set_xlabel("texts seen")
    _save(figure, path)


if __name__ == "__main__":
    main()
