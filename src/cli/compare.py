"""``healdag compare``: models, baselines and whole graphs side by side on one split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from .evaluate import (
    JsonOption,
    OutOption,
    SourceOption,
    SplitOption,
    figure,
    graph_model,
    open_graph,
    table,
    warn_of_seen,
)
from .options import DeviceOption
from .terminal import console, data_stdout, plain
from .train import DataOption, LabelColumnOption, SeparatorOption, TextColumnOption, checked_source

_TRUST = ("model", "confidence", "calibration error", "MB", "ms/text")


def compare(
    items: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="Each a task, task@version, task/backup, the folder of a model, graph:TASK (with its backups), base "
            "(the untrained base: the label whose name is nearest), majority, tfidf or svm.",
        ),
    ],
    data: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    separator: SeparatorOption = None,
    split: SplitOption = None,
    source: SourceOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    device: DeviceOption = None,
) -> None:
    """Compare models on the same texts; the others are tested against the first.

    Accuracy is tested with McNemar's exact test, macro-F1 with a paired bootstrap; p values are corrected for the
    number of models (Holm). With --out: comparison.json, comparison.csv and comparison.png.
    """
    from ..training.evaluation import candidates
    from ..training.evaluation.comparison import compare as run
    from ..training.evaluation.comparison import write_comparison
    from ..training.evaluation.labelled import labelled_rows

    reference = candidates.reference_of(items)
    models = [
        graph_model(one := candidates.find(item), open_graph(one, device=device))
        if item.startswith(candidates.GRAPH)
        else candidates.open_item(item, reference, device=device or "auto")
        for item in items
    ]
    rows, part = labelled_rows(
        reference,
        data=data,
        text_column=text_column,
        label_column=label_column,
        separator=separator,
        split=split,
        source=checked_source(source),
    )
    warn_of_seen(reference, rows)
    compared = run(models, rows)
    if out is not None:
        write_comparison(out, compared)
    if as_json:
        data_stdout().write(json.dumps(compared, indent=2, ensure_ascii=False) + "\n")
        return
    _print(compared, part)
    if out is not None:
        console().print(plain(f"written: {out}"), soft_wrap=True)


def _print(compared: Sequence[Mapping[str, Any]], part: str) -> None:
    quality = table(f"{compared[0]['n']:,} rows ({part})", "model", "accuracy", "macro-F1", "ROC-AUC")
    trust = table("before calibration > after; own files, without a shared base", *_TRUST)
    for row in compared:
        name = plain(row["name"])
        quality.add_row(name, _with_interval(row, "accuracy"), _with_interval(row, "macro_f1"), figure(row["roc_auc"]))
        size, time = figure(row["megabytes"], 1), figure(row["ms_per_text"], 2)
        trust.add_row(name, _before_and_now(row, "confidence"), _before_and_now(row, "ece"), size, time)
    console().print(quality)
    console().print()
    console().print(trust)
    if len(compared) < 2:
        return
    tests = table(f"against {compared[0]['name']}", "model", "accuracy", "p", "macro-F1", "95 % interval", "p")
    for row in compared[1:]:
        against = row["against_first"]
        low, high = against["macro_f1_difference_interval"]
        tests.add_row(
            plain(row["name"]),
            f"{against['accuracy_difference']:+.3f}",
            _p(against["accuracy_p"]),
            f"{against['macro_f1_difference']:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
            _p(against["macro_f1_p"]),
        )
    console().print()
    console().print(tests)


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.3f} ({low:.3f}-{high:.3f})"


def _before_and_now(row: Mapping[str, Any], name: str) -> str:
    before = row[f"{name}_before"]
    return figure(row[name]) if before is None else f"{before:.3f} > {row[name]:.3f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
