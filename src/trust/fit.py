"""Fits what the whole graph needs beside its models: how sure it may be of its final answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import CERTIFICATE, CONFIDENCE, PROFILE, ConfidenceModel
from ..errors import UsageError
from ..graph import Classifier, build_graph, create_classifier
from ..graph.classifier import Engine
from ..predictors import FloatArray
from ..training.artifact_writer import write_json
from ..training.data import certification_rows, load_split
from ..training.datasets import Example
from ..training.evaluation.metrics import binned_gap, bootstrap_interval
from ..training.evaluation.slices import raw_text
from ..training.tasks import Task
from .certify import Asked, certify, check_environment, set_aside
from .confidence import fit_confidence
from .observe import Observed, observe_rows
from .profile import Seen, profile_of
from .risk import RISKS, BoolArray, augrc, aurc, coverage_at

FIGURES = "graph_metrics.json"

log = logging.getLogger("healdag")


def fit_graph(task: Task, source: Path | None, folder: Path) -> dict[str, Any]:
    """Fits the confidence of final answers on the validation split, and measures the graph there and on test.

    What it came to on validation is kept as profile.json, which decision logs are held against.

    A certificate that lay in the folder is deleted: it was another confidence's.

    Args:
        folder: The artefact, with its backups and policy in place.

    Returns:
        The content of graph_metrics.json.

    Raises:
        UsageError: HEALDAG_CONFIG makes another graph; the artefact is left as it was. Or too few validation rows; it
            is left without a fitted confidence.
    """
    check_environment()
    for name in (CONFIDENCE, CERTIFICATE, PROFILE, FIGURES):
        (folder / name).unlink(missing_ok=True)
    rows = load_split(task, "validation", source)
    classifier = create_classifier(str(folder), human_review=False, engine="torch")
    seen = observe_rows(classifier, rows)
    asked = [i for i, known in enumerate(seen.features) if known is not None]
    model, crossed = fit_confidence(
        [seen.features[i] or {} for i in asked],
        seen.right[asked],
        tuple(rung.name for rung in classifier.nodes.backup.ladder),
        task.training.seed,
    )
    write_json(folder / CONFIDENCE, model.model_dump(mode="json"))
    served = _with_confidence(classifier, model)
    profile = profile_of(_served(served, seen, rows), classifier.model_version, f"validation rows of {task.name!r}")
    write_json(folder / PROFILE, profile.model_dump(mode="json"))
    confidence = seen.confidence.copy()
    confidence[asked] = crossed
    figures: dict[str, Any] = {"validation": measure_graph(seen, confidence)}
    test = load_split(task, "test", source) if task.test else []
    if test:
        later = observe_rows(served, test)
        figures["test"] = measure_graph(later, later.confidence)
    write_json(folder / FIGURES, figures)
    for split, found in figures.items():
        before, after = found["primary"], found["graph"]
        log.info(
            "graph on %s: accuracy %.3f (primary %.3f), AURC %.3f (%.3f), ECE %.3f (%.3f)",
            split,
            *(figure for key in ("accuracy", "aurc", "ece") for figure in (after[key], before[key])),
        )
    return figures


def _served(served: Classifier, seen: Observed, rows: Sequence[Example]) -> Iterator[Seen]:
    """The observed rows as the graph with its fitted confidence decides them."""
    trust = served.nodes.trust
    for i, row in enumerate(rows):
        label, known, sure = seen.answers[i], seen.features[i], float(seen.confidence[i])
        if known is not None and label is not None:
            sure = trust.sure_of(known, label, seen.unfamiliar[i])
        yield Seen(
            label=label,
            confidence=None if label is None else sure,
            source=seen.sources[i],
            reasons=tuple(seen.reasons[i]),
            sarcasm=seen.sarcasm[i],
            unfamiliar=seen.unfamiliar[i],
            chars=len(raw_text(row)),
        )


def _with_confidence(classifier: Classifier, model: ConfidenceModel) -> Classifier:
    """The graph as it will be served with the confidence; its models are those that are loaded already."""
    nodes = replace(classifier.nodes, trust=replace(classifier.nodes.trust, model=model))
    graph = build_graph(nodes).compile(name="healdag")
    return Classifier(lambda: Engine(graph, nodes, classifier.nodes.memory.task))


def fit_graph_if_possible(task: Task, source: Path | None, folder: Path) -> dict[str, Any] | None:
    """:func:`fit_graph`; None, with a warning in the log, where the rows do not allow it.

    Raises:
        UsageError: HEALDAG_CONFIG makes another graph.
    """
    check_environment()
    try:
        return fit_graph(task, source, folder)
    except UsageError as error:
        log.warning("no fitted confidence: %s", error)
        return None


def finish(task: Task, source: Path | None, folder: Path) -> None:
    """The last step of a training: :func:`fit_graph`, and a certificate where the task sets rows aside for one.

    With too few validation rows the answers' own calibrated probabilities stay the confidence, and the log says so.

    Raises:
        UsageError: HEALDAG_CONFIG makes another graph.
    """
    if fit_graph_if_possible(task, source, folder) is not None and task.certify:
        asked = Asked(RISKS, by_label=not task.multi_label)
        certify(folder, certification_rows(task, source), asked, set_aside(task))


def measure_graph(seen: Observed, confidence: FloatArray) -> dict[str, Any]:
    """The whole graph beside the primary alone: accuracy, how well the confidence ranks errors, coverage at risks.

    Args:
        confidence: Of the final answers, shape (n,).

    Raises:
        UsageError: there is no row.
    """
    if not len(seen.right):
        raise UsageError("there is no row to measure the graph on")
    ways: dict[str, tuple[FloatArray, BoolArray]] = {
        "primary": (seen.primary, seen.primary_right),
        "graph": (confidence, seen.right),
    }
    figures: dict[str, Any] = {"n": len(seen.right)}
    figures |= {name: selective_figures(sure, right) for name, (sure, right) in ways.items()}
    fixed, broke = int((seen.right & ~seen.primary_right).sum()), int((~seen.right & seen.primary_right).sum())
    figures |= {"fixed": fixed, "broke": broke}

    everyone = np.arange(len(seen.right))

    def difference(rows: Any, _: Any) -> float:
        after, before = (aurc(sure[rows], ~right[rows]) for sure, right in (ways["graph"], ways["primary"]))
        return after - before

    figures["aurc_difference_95"] = bootstrap_interval(difference, everyone, everyone)
    return figures


def selective_figures(sure: FloatArray, right: BoolArray) -> dict[str, Any]:
    """How often answers are right, and what their confidence is worth.

    Args:
        sure: Confidence of each answer, shape (n,).
        right: Whether it is right, shape (n,).
    """
    return {
        "accuracy": round(float(right.mean()), 4),
        "aurc": round(aurc(sure, ~right), 4),
        "augrc": round(augrc(sure, ~right), 4),
        "ece": round(binned_gap(sure, right), 4),
        "brier": round(float(np.mean((sure - right) ** 2)), 4),
        "coverage_at_risk": {f"{risk:g}": round(coverage_at(sure, ~right, risk), 4) for risk in RISKS},
    }
