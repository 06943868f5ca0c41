"""``healdag evaluate``: how good a model, or the whole graph around it, is on labelled texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .options import DeviceOption
from .terminal import console, data_stdout, plain, report
from .train import DataOption, LabelColumnOption, SeparatorOption, TextColumnOption, checked_source

if TYPE_CHECKING:
    from ..graph import Classifier
    from ..nodes.records import Label
    from ..predictors import FloatArray
    from ..training.datasets import Example
    from ..training.evaluation.candidates import Artifact
    from ..training.evaluation.measure import Answer, Answered, Measured, Model
    from ..training.evaluation.metrics import IntArray
    from ..trust.observe import Observed
    from ..trust.steps import Step

SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="test, validation, train, or all. Default: test; with --data all of the file, or its test part where the "
        "model was trained on that file.",
    ),
]
SourceOption = Annotated[
    Path | None, typer.Option("--source", metavar="DIR", help="Folder with the data sets of the task.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Write the figures and the picture into this folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The figures as JSON, for programs.")]
HEADLINES = (
    *("accuracy", "macro_f1", "weighted_f1", "micro_f1", "macro_precision", "macro_recall", "roc_auc"),
    *("average_precision", "hamming_loss", "log_loss", "brier", "ece_before", "ece", "adaptive_ece"),
    *("confidence_before", "confidence"),
)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="TASK|FOLDER", help="A task, task@version, task/backup, or the folder of a model."),
    ] = "emotion",
    version: Annotated[
        str | None, typer.Option("--version", metavar="X.Y.Z", help="Version of the task's model.")
    ] = None,
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    split: SplitOption = None,
    source: SourceOption = None,
    graph: Annotated[
        bool,
        typer.Option(
            "--graph",
            help="Measure the whole classifier, its backups included, not the model alone; and what each step of it "
            "fixed, broke and left.",
        ),
    ] = False,
    detect_sarcasm: Annotated[
        bool,
        typer.Option(
            "--detect-sarcasm",
            help="Let the sarcasm detector say which texts are sarcastic, not the field 'sarcastic'.",
        ),
    ] = False,
    feedback: Annotated[
        str | None,
        typer.Option(
            "--feedback",
            metavar="PLACE",
            help="With --graph: also what the corrections in this SQLite file or database fix and break.",
        ),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    device: DeviceOption = None,
) -> None:
    """Measure a model on labelled texts: figures per class and per kind of text, intervals, latency.

    On your own data: healdag evaluate TASK --data my.csv --text-column body --label-column tag.
    With --out: metrics.json, metrics.csv and confusion_matrix.png.
    """
    from ..training.data import data_hash
    from ..training.evaluation import candidates
    from ..training.evaluation.labelled import labelled_rows
    from ..training.evaluation.measure import measure
    from ..trust.observe import observe_rows
    from ..trust.steps import node_times, score_memory, score_steps

    found = candidates.find(model, version)
    rows, part = labelled_rows(
        found,
        data=data,
        text_column=text_column,
        label_column=label_column,
        separator=separator,
        split=split,
        source=checked_source(source),
    )
    warn_of_seen(found, rows)
    detector = candidates.detector(device or "auto") if detect_sarcasm else None
    figures: dict[str, Any] = {
        "model": f"{found.manifest.task}/{found.manifest.version}",
        "kind": "graph" if graph else found.manifest.kind,
        "data": {"split": part, "rows": len(rows), "sha256": data_hash(rows)},
    }
    steps: list[Step] = []
    if graph:
        classifier = open_graph(found, device=device, feedback=feedback)
        opened = graph_model(found, classifier)
        seen = observe_rows(classifier, rows)
        measured = measure(opened, rows, detector=detector, answered=_as_answered(seen, opened))
        steps = score_steps(seen, classifier.nodes.backup.ladder)
        if len(classifier.nodes.memory.corrections):
            steps.append(score_memory(classifier, rows, seen))
        figures |= {"steps": [asdict(step) for step in steps], "node_ms": node_times(seen)}
    else:
        opened = candidates.open_artifact(found, device=device or "auto")
        measured = measure(opened, rows, detector=detector)
    figures[part] = measured.figures
    if out is not None:
        write_evaluation(out, measured, figures)
    if as_json:
        data_stdout().write(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
        return
    _print(opened.name, part, measured.figures)
    if steps:
        _print_steps(steps)
    if out is not None:
        console().print(plain(f"written: {out}"), soft_wrap=True)


def warn_of_seen(found: Artifact, rows: Sequence[Example]) -> None:
    """A line on stderr where the model was trained on some of the rows."""
    from ..training.evaluation.labelled import seen_in_training

    seen = seen_in_training(found, rows)
    if seen:
        report(
            f"{seen:,} of {len(rows):,} texts were in the training data of {found.name!r}: figures on them say little "
            "about new texts; --split test leaves them out where this is the file that it was trained on",
            prefix="warning: ",
        )


def open_graph(found: Artifact, *, device: str | None = None, feedback: str | None = None) -> Classifier:
    """The whole classifier around an artefact; nothing waits for a person."""
    from ..graph import create_classifier

    return create_classifier(str(found.folder), device=device, human_review=False, engine="torch", feedback=feedback)


def graph_model(found: Artifact, classifier: Classifier) -> Model:
    """The whole classifier around an artefact, as something that can be measured."""
    from ..training.evaluation import candidates
    from ..training.evaluation.measure import Model

    name = found.name if found.name.startswith(candidates.GRAPH) else f"{candidates.GRAPH}{found.name}"
    size = candidates.size_of(found.folder, backups=True)
    return Model(name, classifier.labels, graph_answer(classifier), classifier.multi_label, size)


def graph_answer(classifier: Classifier) -> Answer:
    """A classifier as a function from texts to probabilities and answers, see measure.Answer."""
    import numpy as np

    from ..schema import Classification
    from ..trust.observe import answer_columns

    labels = classifier.labels

    def answer(texts: Sequence[str]) -> tuple[FloatArray, IntArray]:
        probabilities = np.full((len(texts), len(labels)), np.nan)
        given: list[Label | None] = [None] * len(texts)
        for i, result in enumerate(classifier.classify_many(texts, errors="return")):
            if isinstance(result, Classification):
                probabilities[i] = [result.probabilities.get(label, np.nan) for label in labels]
                given[i] = result.final_label
        return probabilities, answer_columns(given, labels, multi_label=classifier.multi_label)

    return answer


def _as_answered(seen: Observed, model: Model) -> Answered:
    """What the graph said to the rows, for the figures of measure."""
    import numpy as np

    from ..training.evaluation.measure import Answered
    from ..trust.observe import answer_columns

    missing = [np.nan] * len(model.labels)
    probabilities = np.array([missing if row is None else row for row in seen.rows], dtype=np.float64)
    given = [None if by == "abstain" else answer for answer, by in zip(seen.answers, seen.sources, strict=True)]
    predicted = answer_columns(given, model.labels, multi_label=model.multi_label)
    return Answered(probabilities, predicted, sum(seen.node_ms.values()) / len(seen.rows))


def _print_steps(steps: Sequence[Step]) -> None:
    """What each step of the graph did to the answers."""
    from ..trust.steps import change_cells

    made = table("steps", "step", "asked", "right", "fixed", "broke", "left", "net (95 %)", "alone", "ms")
    for step in steps:
        numbers = change_cells(step.change)[:-1]
        own = "-" if step.alone is None else f"+{step.alone.fixed:,} -{step.alone.broke:,}"
        made.add_row(plain(step.name), f"{step.asked:,}", f"{step.right:,}", *numbers, own, figure(step.ms, 2))
    console().print(made)
    silent = [step for step in steps if step.rule == "never"]
    for step in silent:
        how = f"speaks through the {', '.join(step.through)}" if step.through else "is off by itself"
        console().print(
            plain(f"{step.name} {how}; 'alone' is what its own answers would fix and break"), soft_wrap=True
        )
    console().print()


def write_evaluation(folder: Path, measured: Measured, figures: Mapping[str, Any]) -> None:
    """Writes metrics.json, metrics.csv and confusion_matrix.png into ``folder``: all three or none."""
    from ..training.artifact_writer import write_json
    from ..training.evaluation.measure import adding_to, write_metrics_csv
    from ..training.evaluation.plots import confusion_matrix_png

    with adding_to(folder) as fresh:
        write_json(fresh / "metrics.json", figures)
        write_metrics_csv(fresh / "metrics.csv", {key: figures[key] for key in (figures["data"]["split"],)})
        confusion_matrix_png(
            fresh / "confusion_matrix.png",
            measured.truth,
            measured.predicted,
            measured.labels,
            multi_label=measured.multi_label,
        )


def figure(value: float | None, digits: int = 3) -> str:
    """A figure for a table; a dash where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(title: str, *columns: str) -> Table:
    """An empty table whose first column is text and whose others are numbers."""
    made = Table(title=plain(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def _print(name: str, part: str, figures: Mapping[str, Any]) -> None:
    latency = figures["latency_ms"]
    headline = table(f"{name}: {figures['n']:,} rows ({part})", "figure", "value", "95 % interval")
    for key in HEADLINES:
        if key in figures:
            span = figures["intervals"].get(key)
            shown = f"{span[0]:.3f} to {span[1]:.3f}" if span is not None else ""
            headline.add_row(key.replace("_", " "), figure(figures[key]), shown)
    headline.add_row("ms per text, alone / in a batch", f"{latency['single']:.2f} / {latency['batch']:.2f}", "")
    if figures["unanswered"]:
        headline.add_row("rows without an answer", str(figures["unanswered"]), "")
    classes = table("per label", "label", "precision", "recall", "F1", "ROC-AUC", "rows")
    for label, values in figures["per_class"].items():
        shown_values = (figure(values[key]) for key in ("precision", "recall", "f1", "roc_auc"))
        classes.add_row(plain(label), *shown_values, f"{values['support']:,}")
    slices = table("kinds of text", "kind", "accuracy", "macro-F1", "ECE", "rows")
    for kind, values in figures["slices"].items():
        slices.add_row(
            plain(kind), *(figure(values[key]) for key in ("accuracy", "macro_f1", "ece")), f"{values['n']:,}"
        )
    for shown_table in (headline, classes, slices):
        console().print(shown_table)
        console().print()
