"""Answers of the past that another version would give otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from ..artifacts import find_artifact, read_manifest, root_of
from ..errors import InputError, UsageError
from ..graph import Classifier
from ..nodes.records import Label
from ..report.page import Section, Table, render
from ..store import Decision
from ..store.feedback import FeedbackEvent, text_key
from ..text import prepare
from ..training.datasets import Example
from ..training.evaluation.slices import raw_text
from ..trust.observe import right_answers
from .heal import without_memory

Effect = Literal["fixes", "breaks", "wrong both ways", "not known"]
EFFECTS: tuple[Effect, ...] = ("breaks", "fixes", "wrong both ways", "not known")
LONGEST_TEXT = 200
_PEOPLE = frozenset({"human", "memory", "pending"})


@dataclass(frozen=True)
class Flip:
    """An answer that would change.

    Attributes:
        text: As it was given.
        old: The answer of the one version; None where it had none.
        old_confidence: Its probability to be right.
        new: The answer of the other.
        new_confidence: Likewise.
        truth: What is right, where a label or a correction says so.
        known: Whether it does.
        times: How often the text was decided about.
        last: When it was last; None where there is no log.
    """

    text: str
    old: Label | None
    old_confidence: float | None
    new: Label | None
    new_confidence: float | None
    truth: Label | None = None
    known: bool = False
    times: int = 1
    last: datetime | None = None

    @property
    def effect(self) -> Effect:
        """What the change does."""
        if not self.known:
            return "not known"
        if self.new == self.truth:
            return "fixes"
        return "breaks" if self.old == self.truth else "wrong both ways"

    def row(self) -> dict[str, object]:
        """As plain values."""
        return {
            "text": self.text,
            "old": self.old,
            "old_confidence": self.old_confidence,
            "new": self.new,
            "new_confidence": self.new_confidence,
            "truth": self.truth,
            "effect": self.effect,
            "times": self.times,
            "last": None if self.last is None else self.last.isoformat(),
        }


@dataclass(frozen=True)
class Flips:
    """What would change, and of how much.

    Attributes:
        task: Its name.
        old: The one version.
        new: The other.
        flips: What would change: what breaks first, then by confidence of the new answer.
        texts: Distinct texts that were compared.
        decisions: Decisions about them.
        by_people: Decisions that a person made or that came from memory, which no version changes.
        without_text: Decisions whose text the log does not hold.
    """

    task: str
    old: str
    new: str
    flips: tuple[Flip, ...]
    texts: int
    decisions: int
    by_people: int = 0
    without_text: int = 0

    def counts(self) -> dict[str, int]:
        """Changes by effect."""
        found = Counter(flip.effect for flip in self.flips)
        return {effect: found[effect] for effect in EFFECTS}

    def words(self) -> str:
        """The whole in one sentence."""
        counts = ", ".join(f"{n:,} {effect}" for effect, n in self.counts().items() if n)
        share = f" ({len(self.flips) / self.texts:.1%})" if self.texts else ""
        return (
            f"{self.task} {self.old} -> {self.new}: {len(self.flips):,} of {self.texts:,} texts{share} would be "
            f"answered otherwise{f': {counts}' if counts else ''}"
        )


@dataclass(frozen=True)
class _Past:
    text: str
    truth: Label | None = None
    known: bool = False
    times: int = 1
    last: datetime | None = None
    answered: tuple[Label | None, float | None] | None = None


def find_flips(
    task: str,
    old: str,
    new: str,
    *,
    decisions: Iterable[Decision] = (),
    rows: Sequence[Example] = (),
    corrections: Sequence[FeedbackEvent] = (),
    models: Path | None = None,
) -> Flips:
    """Compares the answers of two versions, as whole graphs without memory, on texts of the past.

    Args:
        task: Its name.
        old: A version, such as the one in use.
        new: Another.
        decisions: Of a log that keeps texts.
        rows: Labelled texts.
        corrections: What people said is right, by ``seq``.
        models: Folder of models; by default the one that decides which version is in use.

    Raises:
        UsageError: no such version, no texts, or decisions of which none holds its text.
    """
    root = models if models is not None else root_of(task)
    folders = [_version(task, root, version) for version in (old, new)]
    past, by_people, without_text, n = _past(decisions, f"{task}/{old}")
    manifest = read_manifest(folders[0])
    truths = dict(zip([raw_text(row) for row in rows], right_answers(rows, manifest), strict=True))
    for text, right in truths.items():
        past[text] = replace(past.get(text, _Past(text)), truth=right, known=True)
    if not past:
        raise UsageError(_no_texts(by_people, without_text))
    said = {one.text_sha256: one.label for one in corrections}
    texts = list(past)
    before, after = (_answers(without_memory(folder), texts) for folder in folders)
    flips = []
    for text, was, would in zip(texts, before, after, strict=True):
        one = past[text]
        was = one.answered or was
        if _form(was[0]) == _form(would[0]):
            continue
        truth, known = one.truth, one.known
        if not known and (key := text_key(prepare(text).clean)) in said:
            truth, known = said[key], True
        flips.append(Flip(text, *was, *would, truth, known, one.times, one.last))
    flips.sort(key=lambda flip: (EFFECTS.index(flip.effect), -(flip.new_confidence or 0.0), flip.text))
    return Flips(task, old, new, tuple(flips), len(texts), n + len(rows), by_people, without_text)


def page(found: Flips, *, texts: bool = True, most: int = 500) -> str:
    """One HTML file of what would change.

    Args:
        texts: Whether the texts are shown.
        most: Changes that are listed.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    counts = [(effect, f"{n:,}") for effect, n in found.counts().items()]
    about = Table(f"Of {found.texts:,} texts {len(found.flips):,} change", ("what the change does", "texts"), counts)
    moves = Counter((_show(flip.old), _show(flip.new)) for flip in found.flips)
    labels = Table(
        "From which label to which",
        ("from", "to", "texts"),
        [(*pair, f"{n:,}") for pair, n in moves.most_common()],
        words=2,
    )
    rows = [
        (
            cut(flip.text) if texts else f"text of {len(flip.text)} characters",
            flip.effect,
            *(_show(flip.old), _show(flip.new), _show(flip.truth) if flip.known else "-"),
            *(_sure(flip.old_confidence), _sure(flip.new_confidence), f"{flip.times:,}"),
        )
        for flip in found.flips[:most]
    ]
    columns = ("text", "effect", "old", "new", "right", "old confidence", "new confidence", "times")
    caption = f"{len(rows):,} of {len(found.flips):,}, what breaks first"
    words = [found.words()]
    if found.by_people:
        words.append(f"{found.by_people:,} decisions were made by people or remembered; no version changes them.")
    if found.without_text:
        words.append(f"{found.without_text:,} decisions are left out: the log does not hold their texts.")
    sections = [
        Section("what", "What changes", tables=(about, labels)),
        Section("texts", "Which texts", tables=(Table(caption, columns, rows, words=5),)),
    ]
    return render(f"{found.task}: {found.old} to {found.new}", words, sections)


def cut(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _version(task: str, root: Path, version: str) -> Path:
    folder = root / task / version
    return folder if (folder / "manifest.json").is_file() else find_artifact(task, version)


def _past(decisions: Iterable[Decision], old: str) -> tuple[dict[str, _Past], int, int, int]:
    """Texts that were decided about; decisions by people, decisions without text, and the others."""
    past: dict[str, _Past] = {}
    by_people = without_text = n = 0
    for one in decisions:
        if one.source in _PEOPLE:
            by_people += 1
        elif one.text is None:
            without_text += 1
        else:
            n += 1
            times = past[one.text].times + 1 if one.text in past else 1
            answered = (one.label, one.confidence) if one.model_version == old and one.source != "abstain" else None
            past[one.text] = _Past(one.text, times=times, last=one.time, answered=answered)
    return past, by_people, without_text, n


def _no_texts(by_people: int, without_text: int) -> str:
    if without_text:
        return (
            f"none of the {without_text:,} logged decisions holds its text, only its hash or nothing; keep texts from "
            "now on with log: {text: store} in config.yaml, or give labelled texts: --data FILE"
        )
    there = f"all {by_people:,} decisions were made by people" if by_people else "no decision and no labelled text"
    return f"{there}: nothing to compare versions on; give a log (--log FILE) or labelled texts (--data FILE)"


def _answers(classifier: Classifier, texts: Sequence[str]) -> list[tuple[Label | None, float | None]]:
    found: list[tuple[Label | None, float | None]] = []
    for answer in classifier.classify_many(texts, errors="return"):
        if isinstance(answer, InputError):
            found.append((None, None))
        else:
            label = answer.final_label
            found.append((label if isinstance(label, str | None) else list(label), answer.confidence))
    return found


def _form(label: Label | None) -> object:
    return frozenset(label) if isinstance(label, list) else label


def _show(label: Label | None) -> str:
    if label is None:
        return "none"
    return label if isinstance(label, str) else "|".join(label) or "[]"


def _sure(confidence: float | None) -> str:
    return "-" if confidence is None else f"{confidence:.3f}"
