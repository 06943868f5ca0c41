"""What a page says about a classifier on labelled rows: figures and pictures; tables are in :mod:`.report_tables`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..artifacts import Certificate
from ..nodes.records import Label
from ..predictors import FloatArray
from ..training.evaluation.measure import intervals
from ..training.evaluation.metrics import macro_f1
from ..training.evaluation.plots import BLUE, GREY, ORANGE
from ..trust.fit import measure_graph
from ..trust.observe import Observed, answer_columns
from ..trust.risk import RISKS, augrc, aurc, coverage_at, risk_coverage
from .evidence import NO_LABEL, ORACLE, PRIMARY, WHOLE, Evidence
from .page import Picture, Section, Table
from .pictures import Mark, confidence_boxes_svg, reliability_svg, risk_coverage_svg
from .svg import percent
from .tables import label_section, policy_section, provenance_section, step_section, wrong_section
from .ways import REASONS, reason_stage, ways_svg

_ORDER = (
    *(
        "texts",
        "emoji only",
        *REASONS,
        "empty or too long",
        "emoji lexicon",
        "model accepted",
        "model kept",
        "backup confirms it",
    ),
    *("backup changes it", "no answer", "right", "wrong"),
)
_COLOURS = {"right": BLUE, "wrong": ORANGE, "no answer": GREY}


def labelled_sections(found: Evidence, wrong: int = 10) -> list[Section]:
    """The sections of a page about labelled rows.

    Args:
        wrong: How many of the surest wrong answers are shown, with their texts.
    """
    return [
        _headline(found),
        _risk(found),
        _reliability(found),
        _boxes(found),
        _ways(found),
        step_section(found),
        label_section(found),
        *([wrong_section(found, wrong)] if wrong else []),
        policy_section(found),
        provenance_section(found),
    ]


def _headline(found: Evidence) -> Section:
    seen, labels, multi_label = found.seen, found.classifier.labels, found.classifier.multi_label
    figures = measure_graph(seen, seen.confidence)
    truth = answer_columns(found.truth, labels, multi_label=multi_label)
    answers = {"primary": seen.primary_answers, "graph": seen.answers}
    columns = []
    for way, given in answers.items():
        predicted = answer_columns(given, labels, multi_label=multi_label)
        spans = intervals(truth, predicted, len(labels))
        f1 = macro_f1(truth, predicted, len(labels))
        columns.append(_figures(figures[way], f1, spans))
    knows = seen.right.astype(np.float64)
    oracle = {
        "aurc": aurc(knows, ~seen.right),
        "augrc": augrc(knows, ~seen.right),
        "coverage_at_risk": {f"{risk:g}": coverage_at(knows, ~seen.right, risk) for risk in RISKS},
    }
    columns.append(_figures(oracle, None, {}))
    low, high = figures["aurc_difference_95"]
    whole_lists = "An answer is right where its whole list of labels is. " if multi_label else ""
    return Section(
        "figures",
        "Figures",
        (
            f"Of {figures['n']:,} answers the backups made {figures['fixed']:,} wrong ones right and "
            f"{figures['broke']:,} right ones wrong. The graph's AURC differs from the primary's by {low:+.4f} to "
            f"{high:+.4f} (95 % bootstrap interval; less is better).",
            f"{whole_lists}AURC and AUGRC: the area under the risk-coverage curve and under the "
            "generalised one (Traub et al. 2024), the less the better. ECE and Brier score: how far the confidence is "
            "from the truth, the less the better. Coverage at a risk: the largest share of these rows that can be "
            "answered with no more wrong ones among them than that; no promise for other rows. The oracle answers as "
            "the graph does and knows which of its answers are wrong.",
        ),
        tables=(
            Table(
                f"Figures on {figures['n']:,} rows, with 95 % bootstrap intervals",
                ("figure", PRIMARY, WHOLE, ORACLE),
                [(name, *(column[name] for column in columns)) for name in columns[0]],
            ),
        ),
    )


def _figures(figures: Mapping[str, Any], f1: float | None, spans: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """One column of the headline table; a dash where a figure says nothing."""

    def with_span(name: str, value: float | None) -> str:
        return "-" if value is None else f"{value:.3f} ({spans[name][0]:.3f} to {spans[name][1]:.3f})"

    shown = {"accuracy": with_span("accuracy", figures.get("accuracy")), "macro-F1": with_span("macro_f1", f1)}
    for key, name in (("aurc", "AURC"), ("augrc", "AUGRC"), ("ece", "ECE, 15 bins"), ("brier", "Brier score")):
        shown[name] = "-" if key not in figures else f"{figures[key]:.4f}"
    for risk, coverage in figures["coverage_at_risk"].items():
        shown[f"coverage at {100 * float(risk):g} % risk"] = percent(coverage)
    return shown


def _risk(found: Evidence) -> Section:
    seen = found.seen
    curves = {
        PRIMARY: risk_coverage(seen.primary, ~seen.primary_right),
        WHOLE: risk_coverage(seen.confidence, ~seen.right),
        ORACLE: risk_coverage(seen.right, ~seen.right),
    }
    certificate, lapsed = found.certificate
    marks = [] if certificate is None or lapsed else _marks(certificate, seen)
    if certificate is None:
        text: tuple[str, ...] = (
            "There is no certificate: no error budget is promised. 'healdag certify' makes one from other rows.",
        )
        tables: tuple[Table, ...] = ()
    else:
        text = (f"The certificate does not hold, and is not drawn: {lapsed}",) if lapsed else ()
        tables = (_certificate(certificate),)
    caption = (
        f"From the surest answers on the left to all {len(seen.right):,} on the right. The primary goes by its own "
        "confidence, the graph by that of its final answers."
    )
    if marks:
        caption += (
            " A dot is where a certified threshold lies on these rows; the bar is the certificate's bound on "
            "the risk, which was computed on other rows."
        )
    return Section("risk", "Risk and coverage", text, (Picture(risk_coverage_svg(curves, marks), caption),), tables)


def _marks(certificate: Certificate, seen: Observed) -> list[Mark]:
    """The budgets that hold for all answers together, where their thresholds lie on these rows."""
    marks = []
    for budget in certificate.budgets:
        if budget.label is None and budget.threshold is not None:
            given = seen.confidence >= budget.threshold
            if given.any():
                risk = float((~seen.right[given]).mean())
                marks.append(Mark(f"{100 * budget.max_error:g} %", budget.bound, float(given.mean()), risk))
    return marks


def _certificate(certificate: Certificate) -> Table:
    rows = []
    for budget, labels in certificate.rows():
        name = (percent(budget.max_error), ", ".join(labels) or "all", f"{budget.certainty:.3g}")
        if budget.threshold is None:
            rows.append((*name, "none holds", percent(0.0), "-", "-"))
        else:
            wrong = f"{budget.errors:,} of {budget.accepted:,}"
            rows.append((*name, f"{budget.threshold:.4f}", percent(budget.coverage), wrong, percent(budget.bound)))
    columns = ("error budget", "answers", "certainty", "threshold", "coverage", "wrong", "bound")
    caption = (
        f"Certificate of {certificate.date}, from {certificate.n:,} rows ({certificate.data}, SHA-256 "
        f"{certificate.data_sha256[:12]}). Method: {certificate.method}"
    )
    return Table(caption, columns, rows, words=2)


def _reliability(found: Evidence) -> Section:
    seen = found.seen
    svg = reliability_svg(
        {PRIMARY: seen.primary, WHOLE: seen.confidence}, {PRIMARY: seen.primary_right, WHOLE: seen.right}
    )
    model = found.classifier.nodes.trust.model
    origin = (
        "The graph's confidence is the calibrated probability of the answer that stands."
        if model is None or not model.features
        else f"The graph's confidence was fitted on its answers to {model.n:,} other rows."
    )
    caption = (
        "Ten bins of equal width: mean confidence and share of right answers, with exact 95 % intervals. On the dashed "
        "line the confidence is what it says; above it the answers are better than it says."
    )
    return Section("reliability", "Reliability", (origin,), (Picture(svg, caption),))


def _boxes(found: Evidence) -> Section:
    seen = found.seen
    groups: dict[str, dict[str, FloatArray]] = {}
    labels = (*found.classifier.labels, *((NO_LABEL,) if found.classifier.multi_label else ()))
    for label in labels:
        own = np.array([label in _names(answer) for answer in seen.answers], dtype=bool)
        boxes = {"right": seen.confidence[own & seen.right], "wrong": seen.confidence[own & ~seen.right]}
        if own.any():
            groups[label] = {kind: values for kind, values in boxes.items() if len(values)}
    if not groups:
        return Section("labels", "Confidence per label", ("Nothing was answered.",))
    caption = "Final answers with each label: median, quartiles, and whiskers from the 5 % to the 95 % quantile."
    if found.classifier.multi_label:
        caption += " The confidence is that of the whole list that the label is in."
    return Section("labels", "Confidence per label", (), (Picture(confidence_boxes_svg(groups), caption),))


def _names(answer: Label | None) -> tuple[str, ...]:
    if answer is None:
        return ()
    return (answer,) if isinstance(answer, str) else (*answer,) or (NO_LABEL,)


def _ways(found: Evidence) -> Section:
    seen = found.seen
    ways: Counter[tuple[str, ...]] = Counter()
    for i, answer in enumerate(seen.answers):
        outcome = "right" if seen.right[i] else "no answer" if answer is None else "wrong"
        if seen.primary_ms[i] is None:
            stages = ("empty or too long", "no answer") if answer is None else ("emoji only", "emoji lexicon")
        else:
            stages = (reason_stage(seen.reasons[i]), _outcome(seen, i))
        ways["texts", *stages, outcome] += 1
    caption = (
        f"{len(seen.sources):,} texts: why the primary's answer was doubted, what became of it, and whether the final "
        "answer is right. Accepted: no backup was asked. Kept: those that were asked left it as it was."
    )
    return Section("ways", "The way through the graph", (), (Picture(ways_svg(ways, _ORDER, _COLOURS), caption),))


def _outcome(seen: Observed, i: int) -> str:
    """What became of the primary's answer to a row."""
    if seen.answers[i] is None:
        return "no answer"
    if any(one.took for one in seen.tried[i]):
        return "backup confirms it" if seen.answers[i] == seen.primary_answers[i] else "backup changes it"
    return "model kept" if seen.tried[i] else "model accepted"
