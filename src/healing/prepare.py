"""What a heal learns from and measures on, before anything is trained; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..artifacts import current_version, read_manifest
from ..errors import UsageError
from ..predictors import FloatArray, Spec, load_predictor
from ..store.feedback import FeedbackEvent, FeedbackStore
from ..training.data import data_hash, golden_rows, held_out_rows, load_split, targets
from ..training.datasets import Example
from ..training.evaluation.candidates import Artifact
from ..training.evaluation.labelled import labelled_rows, unseen
from ..training.tasks import Task
from .candidate import Recipe, replayed, task_to_heal, weighted
from .corrections import Correction, Screening
from .mix import Parts, hold_out, replay
from .report import HealReport, Outcome, read_report
from .screen import Rules, screen
from .state import Golden, State, now, read_state

FEWEST_LEARNED = 4


@dataclass(frozen=True)
class Asked:
    """What was asked for; see :func:`healdag.healing.heal`.

    Attributes:
        golden: 'data' (None: validation rows), 'text_column', 'label_column' and 'separator'.
    """

    place: Path
    source: Path | None
    golden: Mapping[str, Any]
    new_golden: bool
    at_least: int
    again: bool
    held_out: float
    rules: Rules
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class Ground:
    """The version in use, and what there is to learn beyond it.

    Attributes:
        found: The version in use.
        before: The report of the heal that made it; None where none did.
        standing: All corrections that stand, by ``seq``.
        fresh: Those that it has not seen.
        store: Where they are from.
        state: What heals have left beside the models.
    """

    found: Artifact
    before: HealReport | None
    standing: Sequence[FeedbackEvent]
    fresh: Sequence[FeedbackEvent]
    store: str
    state: State

    @property
    def last(self) -> FeedbackEvent | None:
        """The last of the corrections."""
        return self.standing[-1] if self.standing else None


@dataclass(frozen=True)
class Prepared:
    """What a candidate is made from and measured on.

    Attributes:
        ground: What it starts from.
        outcome: Why there is nothing to train; None where there is.
        words: The same in words.
        task: To train; None where that was not looked for.
        golden: Mark of the golden set.
        golden_rows: Its rows.
        screening: Of the fresh corrections.
        parts: What is learned of them and what is held out.
        rows: To train on.
        earlier: How many of them are corrections that were learned before.
        replay: How many of them are original training rows.
    """

    ground: Ground
    outcome: Outcome | None = None
    words: tuple[str, ...] = ()
    task: Task | None = None
    golden: Golden | None = None
    golden_rows: Sequence[Example] = ()
    screening: Screening = field(default_factory=lambda: Screening([]))
    parts: Parts = field(default_factory=lambda: Parts([], []))
    rows: Sequence[Example] = ()
    earlier: int = 0
    replay: int = 0


def tried(state: State, store: FeedbackStore) -> int:
    """The ``seq`` of the last correction that a heal has tried; 0 where it is not in this store."""
    found = store.get(state.tried) if state.tried else None
    return found.seq if found is not None else 0


def prepare(asked: Asked, store: FeedbackStore) -> Prepared:
    """Collects and screens the corrections, and chooses the rows.

    Raises:
        UsageError: the training data or the corrections' texts are not at hand, or the golden set has changed.
    """
    ground = survey(asked.place, store)
    new = [event for event in ground.fresh if event.seq > tried(ground.state, store)]
    if not ground.fresh or (len(new) < asked.at_least and not asked.again):
        words = _nothing_new(len(ground.fresh), len(new), asked.at_least)
        return Prepared(ground, "nothing_new", (words,), golden=ground.state.golden)
    _check_texts(ground)
    task = task_to_heal(ground.found, golden=asked.golden["data"] is None)
    task = task.model_copy(update={"training": task.training.model_copy(update={"seed": asked.seed})})
    training = _training_rows(task, asked.source)
    rows = _golden_rows(asked, ground.found, task)
    mark = _marked(asked, rows, ground.state, task)
    held_out = frozenset(row.text for row in (*held_out_rows(task, asked.source), *rows))
    answer = primary(ground.found)
    screening = screen(
        ground.fresh,
        task.labels,
        answer,
        multi_label=task.multi_label,
        held_out=held_out,
        rules=asked.rules,
        seed=asked.seed,
    )
    before = ground.before
    parts = hold_out(
        screening.kept,
        asked.held_out,
        learned=before.learned if before is not None else (),
        held_out=before.held_out if before is not None else (),
    )
    found = Prepared(ground, task=task, golden=mark, golden_rows=rows, screening=screening, parts=parts)
    if len(parts.learned) < FEWEST_LEARNED or not parts.held_out:
        words = (
            f"{len(parts.learned)} corrections to learn from and {len(parts.held_out)} to measure on are too few; "
            "give more corrections, with at least four for one label"
        )
        return replace(found, outcome="nothing_left", words=(words,))
    earlier = _earlier(ground, screening, task)
    learned = [one.example() for one in (*parts.learned, *earlier)]
    corrected = {one.text for one in (*parts.learned, *parts.held_out, *earlier)}
    n = replayed(task, len(learned), asked.recipe)
    repeated = replay(training, corrected, len(training) if n is None else n, asked.seed)
    learned = weighted(task, learned, asked.recipe)
    return replace(found, rows=[*repeated, *learned], earlier=len(earlier), replay=len(repeated))


def survey(place: Path, store: FeedbackStore) -> Ground:
    """The version in use in ``models/<task>``, and the corrections that it has not seen."""
    folder = place / str(current_version(place))
    before = read_report(folder)
    seen = set(before.events) if before is not None else set()
    standing = store.standing(place.name)
    fresh = [event for event in standing if event.id not in seen]
    found = Artifact(place.name, folder, read_manifest(folder))
    return Ground(found, before, standing, fresh, store.place, read_state(place))


def primary(found: Artifact) -> Callable[[Sequence[str]], FloatArray]:
    """A version's own probabilities, without the graph; it is loaded when they are asked for."""

    def answer(texts: Sequence[str]) -> FloatArray:
        manifest = found.manifest
        model = load_predictor(manifest.kind, Spec(manifest.labels, found.folder, multi_label=manifest.multi_label))
        return model.predict_proba(texts)

    return answer


def _nothing_new(fresh: int, new: int, at_least: int) -> str:
    if not fresh:
        return "no correction since the last heal"
    waiting = f"{new} new correction{'s' * (new != 1)} since the last try, {at_least} are asked for"
    return f"{waiting}; all {fresh} that are not learned yet can be tried again: --again (again=True)"


def _check_texts(ground: Ground) -> None:
    if all(event.text is None for event in ground.fresh):
        raise UsageError(
            f"the {len(ground.fresh)} corrections in {ground.store!r} hold no texts, only their hashes: nothing can be "
            "learned from them. Keep texts from now on: feedback: {text: store} in config.yaml"
        )


def _training_rows(task: Task, source: Path | None) -> list[Example]:
    try:
        return load_split(task, "train", source)
    except UsageError as error:
        raise UsageError(
            f"the training data of {task.name!r} is not at hand: {error}. A heal repeats a part of it, so that the "
            "model does not forget; give the folder with the data sets: --source DIR (source=)"
        ) from None


def _golden_rows(asked: Asked, found: Artifact, task: Task) -> list[Example]:
    if asked.golden["data"] is None:
        rows = golden_rows(task, asked.source)
        if not rows:
            raise UsageError(
                f"no validation row of {task.name!r} is left for a golden set; give labelled texts: --golden FILE"
            )
        return rows
    rows, _ = labelled_rows(found, **asked.golden, split="all")
    rows = list({row.text: row for row in unseen(found, rows)}.values())
    targets(rows, task.labels, multi_label=task.multi_label)  # says which labels are not the task's
    return rows


def _marked(asked: Asked, rows: Sequence[Example], state: State, task: Task) -> Golden:
    """The golden set's mark.

    Raises:
        UsageError: it was another one before.
    """
    file = asked.golden["data"]
    source = f"{task.golden:g} of the validation rows of {task.name!r}" if file is None else file.name
    mark, known = Golden(sha256=data_hash(rows), n=len(rows), source=source, since=now()), state.golden
    if known is None or asked.new_golden:
        return mark
    if (known.sha256, known.n) != (mark.sha256, mark.n):
        raise UsageError(
            f"the golden set of {task.name!r} has changed: {known.n} rows from {known.source} with SHA-256 "
            f"{known.sha256[:12]}... since {known.since}, now {mark.n} rows from {mark.source} with "
            f"{mark.sha256[:12]}...; versions are compared on the same rows. Restore them, or take the new ones from "
            "now on: --new-golden (new_golden=True)"
        )
    return known


def _earlier(ground: Ground, screening: Screening, task: Task) -> list[Correction]:
    """Corrections that the version in use has learned and that still stand, unless they were corrected anew."""
    if ground.before is None:
        return []
    learned, again = set(ground.before.learned), {one.key for one in screening.kept}
    events = set(ground.before.events) - {one.id for one in ground.before.dropped}
    old = [
        event
        for event in ground.standing
        if event.id in events and event.text_sha256 in learned and event.text_sha256 not in again
    ]
    bare = Rules(per_hour=None, share=None, fewest=len(old) + 1)  # they were screened when they were learned
    return screen(old, task.labels, primary(ground.found), multi_label=task.multi_label, rules=bare).kept
