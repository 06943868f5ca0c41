"""What a page says about a classifier on labelled rows in tables: steps, labels, wrong answers, policy, provenance."""

from __future__ import annotations

import numpy as np

from ..artifacts import read_manifest, read_policy
from ..training.data import data_hash
from ..training.evaluation.metrics import precision_recall_f1
from ..training.evaluation.slices import raw_text
from ..trust.observe import answer_columns
from ..trust.steps import Step, change_cells, node_times
from .evidence import PRIMARY, Evidence, show
from .page import Picture, Section, Table
from .pictures import Bars, steps_svg

LONGEST_TEXT = 200


def rule_words(step: Step) -> str:
    """What a step may do, in words."""
    words = {"always": "replaces", "surer": "replaces where surer", "never": "off by itself"}
    if step.rule is None:
        return "-"
    through = f"through the {', '.join(step.through)}" if step.through else ""
    return through if step.rule == "never" and through else ", ".join(filter(None, (words[step.rule], through)))


def step_section(found: Evidence) -> Section:
    """What each step fixed, broke and left, and how long each node took."""
    rows = []
    for step in found.steps:
        alone = "-" if step.alone is None else f"+{step.alone.fixed:,} / -{step.alone.broke:,}"
        ms = "-" if step.ms is None else f"{step.ms:.2f}"
        rows.append(
            (
                *(step.name, rule_words(step), f"{step.asked:,}", f"{step.failed:,}", f"{step.right:,}"),
                *change_cells(step.change),
                *(alone, ms),
            )
        )
    scores = Table(
        f"Steps on {len(found.rows):,} rows. Right: right answers among those asked, after the step. Net: fixed less "
        "broken, with an exact 95 % interval given how many changed, and McNemar's exact p. Alone: what its own "
        "answers would fix and break of the primary's, wherever it was asked. ms: per text asked",
        ("step", "what it may do", "asked", "failed", "right", "fixed", "broke", "left", "net", "p", "alone", "ms"),
        rows,
        words=2,
    )
    times = node_times(found.seen)
    nodes = Table(
        "Milliseconds per text by node of the graph, all texts counted",
        ("node", "ms"),
        [(name, f"{ms:.3f}") for name, ms in times.items()],
    )
    bars = [
        Bars(
            step.name, change.fixed, change.broke, None if step.alone is None else (step.alone.fixed, step.alone.broke)
        )
        for step in found.steps
        if (change := step.change) is not None
    ]
    caption = "Wrong answers made right, and right ones made wrong, by each step and by the graph as a whole."
    return Section("steps", "What each step did", (), (Picture(steps_svg(bars), caption),), (scores, nodes))


def label_section(found: Evidence) -> Section:
    """Precision, recall and F1 of the final answers, and F1 of the primary's."""
    labels, multi_label = found.classifier.labels, found.classifier.multi_label
    k = len(labels)
    truth, before, after = (
        answer_columns(answers, labels, multi_label=multi_label)
        for answers in (found.truth, found.seen.primary_answers, found.seen.answers)
    )
    precision, recall, f1 = precision_recall_f1(truth, after, k)
    first = precision_recall_f1(truth, before, k)[2]
    support = truth.sum(axis=0) if multi_label else np.bincount(truth, minlength=k)
    rows = [
        (
            *(label, f"{support[i]:,}", f"{precision[i]:.3f}", f"{recall[i]:.3f}", f"{f1[i]:.3f}"),
            *(f"{first[i]:.3f}", f"{f1[i] - first[i]:+.3f}"),
        )
        for i, label in enumerate(labels)
    ]
    columns = ("label", "rows", "precision", "recall", "F1", f"F1, {PRIMARY}", "change")
    caption = f"Final answers per label, {len(found.rows):,} rows"
    return Section("classes", "Per label", tables=(Table(caption, columns, rows),))


def wrong_section(found: Evidence, most: int) -> Section:
    """The wrong answers with the highest confidence, with the beginnings of their texts."""
    seen = found.seen
    wrong = [
        i for i in np.argsort(-seen.confidence, kind="stable") if not seen.right[i] and seen.answers[i] is not None
    ]
    rows = [
        (
            cut(raw_text(found.rows[i])),
            show(found.truth[i]),
            show(seen.answers[i]),
            show(seen.primary_answers[i]),
            seen.sources[i],
            ", ".join(seen.reasons[i]) or "-",
            f"{seen.confidence[i]:.3f}",
        )
        for i in wrong[:most]
    ]
    columns = ("text", "right label", "answer", "primary's answer", "source", "reasons", "confidence")
    title = "The surest wrong answers"
    if not rows:
        return Section("wrong", title, ("No answer is wrong.",))
    caption = f"{len(rows)} of {len(wrong):,} wrong answers; texts are cut after {LONGEST_TEXT} characters"
    return Section("wrong", title, tables=(Table(caption, columns, rows, words=6),))


def cut(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def policy_section(found: Evidence) -> Section:
    """What the classifier says about its policy, and how its backups did when that was fitted."""
    words = tuple(found.classifier.explain_policy().splitlines())
    policy = None if found.folder is None else read_policy(found.folder)
    if policy is None or not policy.backups:
        return Section("policy", "What the graph goes by", words)
    rows = [
        (name, one.rule, f"{one.n:,}", f"{one.fixed:,}", f"{one.broke:,}", f"{one.fixed - one.broke:+,}")
        for name, one in policy.backups.items()
    ]
    columns = ("backup", "rule", "rows", "fixed", "broke", "net")
    caption = "Backups as they were measured when the policy was fitted, on other rows: each one's own answers"
    return Section("policy", "What the graph goes by", words, tables=(Table(caption, columns, rows, words=2),))


def provenance_section(found: Evidence) -> Section:
    """Which model, and which rows."""
    classifier = found.classifier
    facts = {
        "model": classifier.model_version,
        "rows": f"{len(found.rows):,}, {found.part}",
        "SHA-256 of the rows": data_hash(found.rows),
        "labels": ", ".join(classifier.labels),
        "form": "several labels per text, or none" if classifier.multi_label else "one label per text",
        "primary": classifier.nodes.classify.primary.version,
        "backups": ", ".join(rung.name for rung in classifier.nodes.backup.ladder) or "none",
    }
    if found.folder is not None:
        manifest = read_manifest(found.folder)
        facts["kind"] = manifest.kind
        if manifest.base is not None:
            facts["base"] = f"{manifest.base.name}, SHA-256 {manifest.base.sha256}"
    caption = "The classifier and the rows of this page"
    return Section(
        "provenance", "Where this is from", tables=(Table(caption, ("what", "which"), list(facts.items()), 2),)
    )
