"""Pictures of a training and of its figures, as PNG files; needs matplotlib (extra ``train``).

The colours are one-hue scales and those of Okabe and Ito (2008), which people with colour-blindness can tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MissingExtraError, UsageError
from ...predictors import FloatArray
from .metrics import IntArray, precision_recall_f1

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
NO_ANSWER = "no answer"
_GRID_LABELS = 9
_LONGEST = 26
_SCORES = ("macro_f1", "accuracy", "roc_auc", "rouge1", "rouge2", "rougeL", "rougeLsum")


def confusion_matrix_png(
    path: Path, truth: IntArray, predicted: IntArray, labels: Sequence[str], *, multi_label: bool = False
) -> None:
    """Draws which labels are taken for which.

    Single-label: one cell per pair, with its rows and, up to 12 labels, their share of the true label's; the colour is
    that share. Multi-label: four cells per label, or with more than nine labels its precision and recall.

    Args:
        truth: Column of the right label, shape (n,); multi-label: 0 or 1, shape (n, labels).
        predicted: The same for what was answered; -1 is "no answer".

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not multi_label:
        _draw_confusion(path, truth, predicted, labels)
    elif len(labels) <= _GRID_LABELS:
        _draw_label_grid(path, truth, predicted, labels)
    else:
        _draw_label_scores(path, truth, predicted, labels)


def confusion_counts(truth: IntArray, predicted: IntArray, k: int) -> IntArray:
    """Rows of each pair of true label (row) and answer (column), shape (k, k + 1); the last column is no answer."""
    counts = np.zeros((k, k + 1), dtype=np.int64)
    np.add.at(counts, (truth, np.where(predicted < 0, k, predicted)), 1)
    return counts


def _draw_confusion(path: Path, truth: IntArray, predicted: IntArray, labels: Sequence[str]) -> None:
    k = len(labels)
    counts = confusion_counts(truth, predicted, k)
    columns = [_short(label) for label in labels]
    rows = [f"{_short(label)} ({n:,})" for label, n in zip(labels, counts.sum(axis=1), strict=True)]
    if counts[:, k].any():
        columns.append(NO_ANSWER)
    else:
        counts = counts[:, :k]
    cell = 1.0 if k <= 4 else 0.75 if k <= 12 else 0.45
    margin = 0.09 * max(map(len, rows))
    figure = _figure(cell * len(columns) + margin + 1.4, cell * k + margin * 0.6 + 1.0)
    axes = figure.subplots()
    _draw_cells(axes, counts, percent=k <= 12, size=11 if k <= 4 else 8.5 if k <= 12 else 7.5)
    axes.set_xticks(range(len(columns)), columns, rotation=0 if k <= 4 else 90, fontsize=9)
    axes.set_yticks(range(k), rows, fontsize=9)
    axes.set_xlabel("answered")
    axes.set_ylabel("true label (its rows)")
    figure.colorbar(axes.images[0], ax=axes, fraction=0.04, pad=0.02, aspect=30, label="share of the true label's rows")
    _save(figure, path)


def _draw_cells(axes: Any, counts: IntArray, *, percent: bool, size: float) -> None:
    """A matrix of counts, coloured by the share within each row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for (i, j), n in np.ndenumerate(counts):
        if n == 0 and counts.size > 16:  # a page of zeros hides the numbers that matter
            continue
        text = f"{n:,}\n{shares[i, j]:.0%}" if percent else str(n)
        axes.text(
            j, i, text, ha="center", va="center", fontsize=size, color="white" if shares[i, j] > 0.55 else "black"
        )
    axes.set_xticks(np.arange(-0.5, counts.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, counts.shape[0]), minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)


def _draw_label_grid(path: Path, truth: IntArray, predicted: IntArray, labels: Sequence[str]) -> None:
    wide = min(len(labels), 3)
    high = -(-len(labels) // wide)
    figure = _figure(2.9 * wide, 2.8 * high)
    for place, axes in enumerate(figure.subplots(high, wide, squeeze=False).flat):
        if place >= len(labels):
            axes.axis("off")
            continue
        counts = confusion_counts(truth[:, place], predicted[:, place], 2)[:, :2]
        _draw_cells(axes, counts, percent=True, size=9.5)
        axes.set_title(_short(labels[place]), fontsize=10.5)
        axes.set_xticks([0, 1], ["not answered", "answered"], fontsize=8.5)
        axes.set_yticks([0, 1], ["not so", "so"], fontsize=8.5)
    figure.supylabel("truth", fontsize=9.5)
    _save(figure, path)


def _draw_label_scores(path: Path, truth: IntArray, predicted: IntArray, labels: Sequence[str]) -> None:
    precision, recall, f1 = precision_recall_f1(truth, predicted, len(labels))
    support = truth.sum(axis=0)
    order = np.argsort(f1)
    figure = _figure(7.5, 0.3 * len(labels) + 1.3)
    axes = figure.subplots()
    places = np.arange(len(labels))
    axes.barh(places, f1[order], color="#D6E4EE", height=0.7, label="F1")
    axes.hlines(places, np.minimum(precision, recall)[order], np.maximum(precision, recall)[order], color=GREY, lw=1)
    axes.plot(precision[order], places, "o", color=BLUE, label="precision", ms=6)
    axes.plot(recall[order], places, "D", color=ORANGE, label="recall", ms=5)
    axes.set_yticks(places, [f"{_short(labels[i])} ({support[i]:,})" for i in order], fontsize=9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    axes.set_xlabel("label (its rows) by F1")
    axes.grid(axis="x", color="#DDDDDD")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    _save(figure, path)


def training_curves_png(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draws the course of a training: losses, figures on the validation split, learning rate.

    Args:
        history: ``log_history`` of a Trainer: entries with ``epoch`` and any of ``loss``, ``learning_rate``,
            ``eval_loss``, ``eval_macro_f1``, ``eval_accuracy``, ``eval_rougeLsum``, ...; values that are not finite
            are left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    scores = [name for name in _SCORES if _series(history, f"eval_{name}")[0]]
    figure = _figure(11.5, 3.6)
    losses, quality, rate = figure.subplots(1, 3)
    _lines(losses, history, {"loss": "training", "eval_loss": "validation"}, (GREY, BLUE))
    losses.set_title("loss")
    _lines(quality, history, {f"eval_{name}": name.replace("_f1", "-F1") for name in scores}, (BLUE, ORANGE, GREEN))
    quality.set_title("validation")
    if scores:
        epochs, values = _series(history, f"eval_{scores[0]}")
        top = int(np.argmax(values))
        quality.plot(epochs[top], values[top], "o", ms=12, mfc="none", mec="black")
        # Above and inwards, where the picture's edge cannot cut it.
        quality.annotate(
            f"{values[top]:.3f}",
            (epochs[top], values[top]),
            xytext=(0, 10),
            textcoords="offset points",
            ha="right" if top else "left",
        )
        quality.margins(y=0.2)
    _lines(rate, history, {"learning_rate": "learning rate"}, (GREEN,))
    rate.set_title("learning rate")
    _save(figure, path)


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Epochs and values of one key, where both are finite numbers."""
    pairs = [(entry.get("epoch"), entry.get(key)) for entry in history]
    kept = [(float(x), float(y)) for x, y in pairs if isinstance(x, int | float) and isinstance(y, int | float)]
    kept = [(x, y) for x, y in kept if np.isfinite(x) and np.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _lines(axes: Any, history: Sequence[Mapping[str, Any]], names: Mapping[str, str], colours: Sequence[str]) -> None:
    drawn = 0
    for number, (key, name) in enumerate(names.items()):
        epochs, values = _series(history, key)
        if epochs:
            marker = "" if len(epochs) > 40 else "os^Dvx"[number % 6]
            axes.plot(epochs, values, marker=marker, ms=4, color=colours[number % len(colours)], label=name)
            drawn += 1
    if not drawn:
        axes.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axes.transAxes, color=GREY)
    elif len(names) > 1:
        axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("epoch")
    axes.grid(color="#DDDDDD")
    axes.set_axisbelow(True)


@dataclass(frozen=True)
class Reliability:
    """A model's probabilities of held-out rows before and after something, shape (n, labels) each, and the truth.

    Attributes:
        truth: Shape (n,); multi-label: 0 or 1, shape (n, labels).
    """

    name: str
    truth: IntArray
    before: FloatArray
    after: FloatArray


def reliability_png(path: Path, models: Sequence[Reliability], bins: int = 15) -> None:
    """Draws confidence against the share of right answers, and how often each confidence occurs, per model.

    Single-label: the likeliest label's probability. Multi-label: every label's, against how often the label is right.
    The more rows a bin has, the larger its dot; the line goes through bins with one row of a hundred at least.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = _figure(3.4 * len(models) + 0.6, 4.6)
    axes = figure.subplots(2, len(models), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
    edges = np.linspace(0, 1, bins + 1)
    for model, (curve, counts) in zip(models, axes.T, strict=True):
        curve.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        ways = (("before", model.before, GREY, "white"), ("after", model.after, BLUE, BLUE))
        for name, values, colour, filling in ways:
            sure, right = _confidences(values, model.truth)
            place = np.minimum((sure * bins).astype(int), bins - 1)
            n = np.bincount(place, minlength=bins)
            there = n > 0
            x = np.bincount(place, sure, minlength=bins)[there] / n[there]
            y = np.bincount(place, right, minlength=bins)[there] / n[there]
            share = n[there] / len(sure)
            curve.scatter(x, y, 12 + 120 * np.sqrt(share), color=filling, edgecolors=colour, label=name, zorder=3)
            telling = share >= 0.01  # a line through bins of a few rows would show their chance
            curve.plot(x[telling], y[telling], color=colour, lw=1)
            counts.stairs(n, edges, color=colour, fill=name == "after", alpha=0.6 if name == "after" else 1)
        curve.set_title(_short(model.name), fontsize=10.5)
        counts.set_yscale("symlog", linthresh=10)
        counts.set_xlabel("confidence")
        for each in (curve, counts):
            each.grid(color="#DDDDDD")
            each.set_axisbelow(True)
    axes[0, 0].set_ylabel("share right")
    axes[1, 0].set_ylabel("rows" if models[0].truth.ndim == 1 else "labels of rows")
    axes[0, 0].legend(frameon=False, fontsize=9)
    _save(figure, path)


def _confidences(probabilities: FloatArray, truth: IntArray) -> tuple[FloatArray, IntArray]:
    """Confidence and 1 where it is right, else 0; shape (n,), multi-label (n * labels,)."""
    if truth.ndim == 2:
        return probabilities.ravel(), truth.ravel()
    return probabilities.max(axis=1), np.asarray(probabilities.argmax(axis=1) == truth, dtype=np.int64)


def comparison_png(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws models side by side: accuracy and macro-F1 with intervals, calibration, time.

    Args:
        rows: One per model, best read with up to 20: ``name``, ``accuracy``, ``accuracy_interval``, ``macro_f1``,
            ``macro_f1_interval``, ``ece``, and optionally ``ece_before`` and ``ms_per_text``.

    Raises:
        UsageError: there is no row.
        MissingExtraError: matplotlib is not installed.
    """
    if not rows:
        raise UsageError("there is nothing to compare; give at least one model")
    figure = _figure(12.5, 0.5 * len(rows) + 1.9)
    quality, calibration, time = figure.subplots(1, 3, sharey=True, width_ratios=(2.2, 1.2, 1.2))
    places = np.arange(len(rows))
    for key, name, shift, colour, marker in (
        ("accuracy", "accuracy", -0.14, BLUE, "o"),
        ("macro_f1", "macro-F1", 0.14, ORANGE, "D"),
    ):
        values = np.array([row[key] for row in rows])
        spans = np.array([row[f"{key}_interval"] for row in rows], dtype=np.float64)
        reach = np.clip(np.stack([values - spans[:, 0], spans[:, 1] - values]), 0, None)
        quality.errorbar(values, places + shift, xerr=reach, fmt=marker, color=colour, capsize=3, ms=6, label=name)
    _legend(quality, "with 95 % intervals")
    before = np.array([_number(row.get("ece_before")) for row in rows])
    after = np.array([_number(row.get("ece")) for row in rows])
    calibration.hlines(places, np.fmin(before, after), np.fmax(before, after), color=GREY, lw=1)
    calibration.plot(before, places, "o", mfc="white", mec=GREY, ms=7, label="before")
    calibration.plot(after, places, "o", color=GREEN, ms=6, label="after")
    calibration.set_xlim(left=0)
    _legend(calibration, "calibration error")
    took = np.array([_number(row.get("ms_per_text")) for row in rows])
    time.plot(np.where(took > 0, took, np.nan), places, "s", color=BLUE, ms=6)
    if np.nanmax(np.where(took > 0, took, np.nan), initial=0) > 0:
        time.set_xscale("log")
    time.set_title("ms per text", fontsize=10)
    quality.set_yticks(places, [_short(str(row["name"]), 40) for row in rows])
    quality.set_ylim(len(rows) - 0.5, -0.5)
    for axes in (quality, calibration, time):
        axes.grid(axis="x", color="#DDDDDD")
        axes.set_axisbelow(True)
    _save(figure, path)


def _legend(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _short(label: str, longest: int = _LONGEST) -> str:
    """A label for a picture: cut where it is long, and with no sign that matplotlib takes for mathematics."""
    cut = label if len(label) <= longest else label[: longest - 1] + "…"
    return cut.replace("$", r"\$")


def _figure(width: float, height: float) -> Any:
    """An empty figure (inches); made without pyplot, so that no window system and no global state is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "train") from None
    return Figure(figsize=(max(width, 4.0), max(height, 2.6)), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Writes beside the final place, then renames: a picture is whole or not there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fresh = path.with_name(f".{path.name}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # labels in scripts the font lacks
            # No version in the file: the same figures give the same bytes.
            canvas: Any = FigureCanvasAgg(figure)
            canvas.print_png(str(fresh), metadata={"Software": None})
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
