"""Figures, calibration and thresholds, pictures, and ``healdag evaluate``."""

from __future__ import annotations

import csv
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from healdag.artifacts import Calibration
from healdag.cli import app
from healdag.errors import MissingExtraError, UsageError
from healdag.predictors import calibrate, decide, softmax
from healdag.predictors.fake import FakePredictor
from healdag.training import task_from_file
from healdag.training.artifact_writer import write_json
from healdag.training.data import data_hash, load_split
from healdag.training.datasets import Example
from healdag.training.evaluation.calibration import fit_calibration, fit_temperature
from healdag.training.evaluation.candidates import find
from healdag.training.evaluation.labelled import labelled_rows, seen_in_training
from healdag.training.evaluation.measure import (
    adding_to,
    evaluate_model,
    measure,
    metric_rows,
    of_predictor,
    truth_of,
    without_temperature,
    write_metrics_csv,
)
from healdag.training.evaluation.metrics import (
    accuracy,
    best_f1_thresholds,
    bootstrap_interval,
    evaluate,
    expected_calibration_error,
    fit_thresholds,
    macro_f1,
)
from healdag.training.evaluation.plots import (
    comparison_png,
    confusion_counts,
    confusion_matrix_png,
    training_curves_png,
)
from healdag.training.evaluation.slices import has_negation, raw_text, slices_of

ROWS = [
    Example("what a happy day", ("joy",), fields={"text": "what a happy day"}),
    Example("not happy at all", ("anger",), fields={"text": "not happy at all"}),
    Example("so sad red heart", ("sadness",), True, {"text": "so sad \N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"}),
    Example("happy", ("joy",), fields={"text": "happy"}),
]
LABELS = ("joy", "anger", "sadness")
MOODS = {
    "a happy day": "joy",
    "happy and glad": "joy",
    "glad to be here": "joy",
    "so sad": "sadness",
    "sad and blue": "sadness",
    "blue all over": "sadness",
}


def random_case(seed: int, n: int, k: int, *, multi_label: bool) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, k)) * 2
    if multi_label:
        return np.round(1 / (1 + np.exp(-logits)), 2), (generator.random((n, k)) < 0.3).astype(int)
    return softmax(logits), generator.integers(0, k, n)


# figures


@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(2, 6))
def test_single_label_figures_are_those_of_scikit_learn(seed: int, n: int, k: int) -> None:
    probabilities, truth = random_case(seed, n, k, multi_label=False)
    figures = evaluate(probabilities, truth, [str(j) for j in range(k)])
    said, columns = probabilities.argmax(axis=1), list(range(k))
    for average in ("macro", "weighted"):
        expected = reference.f1_score(truth, said, labels=columns, average=average, zero_division=0)
        assert figures[f"{average}_f1"] == pytest.approx(expected, abs=6e-5)
    score = {"labels": columns, "average": "macro", "zero_division": 0}
    assert figures["macro_precision"] == pytest.approx(reference.precision_score(truth, said, **score), abs=6e-5)
    assert figures["macro_recall"] == pytest.approx(reference.recall_score(truth, said, **score), abs=6e-5)
    assert figures["accuracy"] == pytest.approx(reference.accuracy_score(truth, said), abs=6e-5)
    assert figures["log_loss"] == pytest.approx(reference.log_loss(truth, probabilities, labels=columns), abs=6e-5)
    if k > 2 and len(set(truth.tolist())) == k:
        expected = reference.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
        assert figures["roc_auc"] == pytest.approx(expected, abs=6e-5)


@given(st.integers(0, 2**31), st.integers(3, 60), st.integers(2, 6))
def test_multi_label_figures_are_those_of_scikit_learn(seed: int, n: int, k: int) -> None:
    probabilities, truth = random_case(seed, n, k, multi_label=True)
    labels = [str(j) for j in range(k)]
    figures = evaluate(probabilities, truth, labels, (0.4,) * k, multi_label=True)
    said = (probabilities >= 0.4).astype(int)
    for average in ("micro", "macro", "weighted"):
        expected = reference.f1_score(truth, said, average=average, zero_division=0)
        assert figures[f"{average}_f1"] == pytest.approx(expected, abs=6e-5)
    assert figures["subset_accuracy"] == pytest.approx(reference.accuracy_score(truth, said), abs=6e-5)
    assert figures["hamming_loss"] == pytest.approx(reference.hamming_loss(truth, said), abs=6e-5)
    mixed = [j for j in range(k) if 0 < truth[:, j].sum() < n]
    areas = [reference.roc_auc_score(truth[:, j], probabilities[:, j]) for j in mixed]
    peaks = [reference.average_precision_score(truth[:, j], probabilities[:, j]) for j in mixed]
    assert figures["roc_auc"] == (pytest.approx(np.mean(areas), abs=6e-5) if mixed else None)
    assert figures["average_precision"] == (pytest.approx(np.mean(peaks), abs=6e-5) if mixed else None)
    for j, label in enumerate(labels):
        assert (figures["per_class"][label]["roc_auc"] is None) == (j not in mixed)


def test_figures_agree_with_a_hand_count() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    probabilities = np.eye(3)[[0, 0, 1, 1, 0, 2]] * 0.7 + 0.1
    figures = evaluate(probabilities, truth, ["a", "b", "c"])
    # a: 2 of 3 found, 2 of 3 said rightly; b: 1 of 2 both ways; c: all.
    assert figures["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, abs=1e-4)
    assert figures["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 / 2 + 1) / 6, abs=1e-4)
    assert figures["per_class"]["a"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3, "roc_auc": 1 / 2 * (2 / 3 + 2 / 3)}, abs=1e-4
    )
    assert figures["ece"] == pytest.approx(0.8 - 4 / 6, abs=1e-4)


def test_multi_label_calibration_error_is_the_mean_over_the_labels() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0], [0, 1]])
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(probabilities, truth, multi_label=True) == pytest.approx((0.25 + 0) / 2)
    assert evaluate(probabilities, truth, ["a", "b"], multi_label=True)["ece"] == pytest.approx(0.125)


def test_a_label_that_every_or_no_row_has_has_no_roc_auc() -> None:
    figures = evaluate(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), ["a", "b"])
    assert figures["roc_auc"] is None
    assert figures["per_class"]["b"]["roc_auc"] is None
    assert figures["macro_f1"] == pytest.approx(2 / 3 / 2, abs=1e-4)


@pytest.mark.parametrize(("n", "truth"), [(0, np.zeros(0, int)), (3, np.zeros(2, int)), (2, np.zeros((2, 2), int))])
def test_arrays_that_do_not_fit_are_refused(n: int, truth: Any) -> None:
    with pytest.raises(UsageError, match=r"no row|do not fit"):
        evaluate(np.full((n, 2), 0.5), truth, ["a", "b"])


def test_a_bootstrap_interval_has_the_width_that_theory_gives() -> None:
    truth = np.zeros(400, dtype=np.int64)
    predicted = np.arange(400) % 2
    low, high = bootstrap_interval(accuracy, truth, predicted)
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.12)
    assert bootstrap_interval(accuracy, truth, predicted) == (low, high)
    narrow = bootstrap_interval(accuracy, truth, predicted, level=0.5)
    assert low < narrow[0] < narrow[1] < high


# calibration and thresholds


def test_multi_label_calibration_recovers_a_known_temperature_and_bias() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 2)) * 3
    shares = calibrate(logits, Calibration(temperature=2.0, bias=(0.5, -1.0)), multi_label=True)
    truth = (generator.random(shares.shape) < shares).astype(np.int64)
    found = fit_temperature(logits, truth)
    assert found.temperature == pytest.approx(2.0, rel=0.06)
    assert found.bias == pytest.approx((0.5, -1.0), abs=0.1)


def test_calibration_of_few_or_no_rows_stays_finite() -> None:
    found = fit_temperature(np.array([[9.0, -9.0], [-9.0, 9.0]]), np.array([0, 1]))
    assert 0.01 < found.temperature < 51
    assert np.isfinite(found.bias).all()
    with pytest.raises(UsageError, match="no row to calibrate on"):
        fit_calibration(np.zeros((0, 3)), np.zeros(0, int))


def test_thresholds_for_macro_f1_help_on_rows_that_they_were_not_fitted_on() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(6000, 3)) * 1.5 + np.array([2.5, 0.0, -0.5])
    probabilities = softmax(logits)
    truth = (probabilities.cumsum(axis=1) > generator.random((6000, 1))).argmax(axis=1)
    half = 3000
    thresholds = fit_thresholds(probabilities[:half], truth[:half], "macro_f1")
    assert thresholds is not None
    assert sum(thresholds) == pytest.approx(1, abs=1e-4)
    assert thresholds[0] > max(thresholds[1:])  # the frequent label has to be surer
    before = macro_f1(truth[half:], decide(probabilities[half:]), 3)
    after = macro_f1(truth[half:], decide(probabilities[half:], thresholds), 3)
    assert after > before + 0.02


def test_thresholds_that_do_not_help_are_not_taken() -> None:
    probabilities = np.eye(3)[np.arange(60) % 3] * 0.7 + 0.1
    assert fit_thresholds(probabilities, np.arange(60) % 3, "macro_f1") is None
    assert fit_thresholds(probabilities[:3], np.array([0, 1, 1]), "macro_f1") is None
    assert fit_thresholds(probabilities, np.arange(60) % 3, "argmax") is None
    assert fit_thresholds(np.zeros((0, 3)), np.zeros(0, int), "macro_f1") is None


def test_the_f1_objective_is_that_of_two_labels() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.35, 0.65], [0.2, 0.8]])
    truth = np.array([0, 0, 0, 1])
    first = fit_thresholds(probabilities, truth, "f1")
    assert first == best_f1_thresholds(probabilities, truth)
    assert first is not None
    assert 0.2 < first[0] <= 0.35
    with pytest.raises(UsageError, match="two labels"):
        fit_thresholds(np.full((2, 3), 1 / 3), np.array([0, 1]), "f1")


def test_each_label_of_a_multi_label_task_has_its_own_threshold() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random(400)
    truth = np.stack([probability > 0.2, probability > 0.7, generator.random(400) < 0.01], axis=1).astype(int)
    thresholds = fit_thresholds(np.stack([probability] * 3, axis=1), truth, "macro_f1", multi_label=True)
    assert thresholds is not None
    assert thresholds[0] == pytest.approx(0.2, abs=0.02)
    assert thresholds[1] == pytest.approx(0.7, abs=0.02)
    assert fit_thresholds(np.full((5, 1), 0.6), np.ones((5, 1), int), "f1", multi_label=True) == (0.5,)


# a model on rows


def test_a_model_is_measured_with_intervals_slices_and_latency() -> None:
    answers = {"not happy at all": {"joy": 0.9}, "so sad red heart": None}
    model = FakePredictor(LABELS, answers=answers, default={"joy": 0.8})
    measured = measure(of_predictor(model), ROWS)
    figures = measured.figures
    assert measured.predicted.tolist() == [0, 0, -1, 0]
    assert figures["accuracy"] == 0.5
    assert figures["unanswered"] == 1
    assert measured.probabilities[2] == pytest.approx([1 / 3] * 3)
    low, high = figures["intervals"]["accuracy"]
    assert low <= 0.5 <= high
    assert set(figures["latency_ms"]) == {"single", "batch"}
    assert figures["slices"]["negation: yes"]["n"] == 1
    assert figures["slices"]["negation: yes"]["accuracy"] == 0.0
    assert figures["slices"]["negation: no"]["accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["slices"]["emoji: yes"]["n"] == figures["slices"]["sarcasm: yes"]["n"] == 1
    assert evaluate_model(model, ROWS)["accuracy"] == 0.5


def test_slices_are_told_by_the_text_as_it_was_written() -> None:
    assert raw_text(ROWS[2]).endswith("\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}")
    assert raw_text(Example("clean", ("joy",))) == "clean"
    parts = slices_of(ROWS)
    assert parts["emoji: yes"].tolist() == [False, False, True, False]
    assert parts["sarcasm: yes"].tolist() == [False, False, True, False]
    lengths = [part for name, part in parts.items() if name.startswith("length")]
    assert np.sum(lengths, axis=0).tolist() == [1] * len(ROWS)  # every row is in one
    detector = FakePredictor(
        ("sarcastic", "not_sarcastic"), answers={"happy": {"sarcastic": 0.9}}, default={"sarcastic": 0.1}
    )
    assert slices_of(ROWS, detector)["sarcasm: yes"].tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("It isn\u2019t so", True), ("I wont go", True), ("no!", True), ("notable knots, cannon", False), ("tent", False)],
)
def test_negation_is_found_in_words_only(text: str, expected: bool) -> None:
    assert has_negation(text) is expected


def test_truth_says_what_does_not_fit() -> None:
    rows = [Example("a", ("x", "y")), Example("b", ())]
    assert truth_of(rows, ("x", "y", "z"), multi_label=True).tolist() == [[1, 1, 0], [0, 0, 0]]
    with pytest.raises(UsageError, match=r"\['x', 'y'\], the model gives one"):
        truth_of(rows, ("x", "y"), multi_label=False)
    with pytest.raises(UsageError, match=r"does not know: \['y'\]; it knows \['x'\]"):
        truth_of(rows, ("x",), multi_label=True)
    with pytest.raises(UsageError, match="no row"):
        truth_of([], ("x",), multi_label=True)


@pytest.mark.parametrize("multi_label", [False, True])
def test_temperature_scaling_can_be_undone(multi_label: bool) -> None:
    calibration = Calibration(temperature=1.7, bias=(0.3, -0.2, 0.1))
    logits = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, -2.0]])
    after = calibrate(logits, calibration, multi_label=multi_label)
    before = without_temperature(after, calibration, multi_label=multi_label)
    assert before == pytest.approx(calibrate(logits, multi_label=multi_label))


def test_figures_survive_the_way_through_csv(tmp_path: Path) -> None:
    probabilities, truth = random_case(1, 40, 3, multi_label=False)
    figures = {
        "model": "emotion/1.0.0",
        "seconds": 12,
        "test": {
            **evaluate(probabilities, truth, ["a", "b, c", "d"]),
            "intervals": {"accuracy": [0.1, 0.2]},
            "latency_ms": {"single": 1.5},
            "slices": {"emoji: yes": {"n": 3, "accuracy": 1.0}},
        },
    }
    write_metrics_csv(tmp_path / "metrics.csv", figures)
    with (tmp_path / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    read = {(row["split"], row["label"], row["metric"]): row["value"] for row in rows}
    assert len(read) == len(rows) == len(list(metric_rows(figures)))
    assert float(read["test", "", "macro_f1"]) == figures["test"]["macro_f1"]
    assert float(read["test", "b, c", "recall"]) == figures["test"]["per_class"]["b, c"]["recall"]
    assert read["test", "", "accuracy_high"] == "0.2"
    assert read["test", "", "latency_ms_single"] == "1.5"
    assert read["test, emoji: yes", "", "n"] == "3"
    assert read["", "", "seconds"] == "12"
    assert ("", "", "model") not in read


def test_nothing_half_written_replaces_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")

    def write(fail: bool) -> None:
        with adding_to(tmp_path) as fresh:
            (fresh / "metrics.json").write_text("new")
            if fail:
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(fail=True)
    assert (tmp_path / "metrics.json").read_text() == "old"
    write(fail=False)
    assert (tmp_path / "metrics.json").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "mine.txt"}
    with pytest.raises(UsageError, match="is a file"), adding_to(tmp_path / "mine.txt"):
        pass


# pictures


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.mark.parametrize("k", [2, 8, 28])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_confusion_matrix_is_drawn_for_few_and_many_labels(tmp_path: Path, k: int, multi_label: bool) -> None:
    probabilities, truth = random_case(0, 200, k, multi_label=multi_label)
    said = decide(probabilities, multi_label=multi_label)
    if not multi_label:
        said[0] = -1
    labels = [f"label_{j}" for j in range(k - 2)] + [
        "a $x^{ very long label with many words",
        "\u559c\u60a6 \U0001f600",
    ]
    path = tmp_path / "confusion_matrix.png"
    confusion_matrix_png(path, truth, said, labels, multi_label=multi_label)
    width, height = size(path)
    assert 400 <= width <= 2000
    assert 250 <= height <= 2000
    assert list(tmp_path.iterdir()) == [path]


def test_the_confusion_counts_rows_without_an_answer() -> None:
    counts = confusion_counts(np.array([0, 0, 1, 1]), np.array([0, 1, 1, -1]), 2)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1]]


def test_training_curves_are_drawn_from_whatever_was_logged(tmp_path: Path) -> None:
    history: list[dict[str, Any]] = [
        {"loss": 1.0, "learning_rate": 1e-3, "epoch": 0.5, "step": 1},
        {"eval_loss": 0.9, "eval_macro_f1": 0.5, "epoch": 1.0},
        {"loss": float("nan"), "learning_rate": 5e-4, "epoch": 1.5},
        {"eval_loss": 0.8, "eval_macro_f1": 0.6, "eval_accuracy": 0.7, "epoch": 2.0},
        {"train_runtime": 3.0, "train_loss": 0.9, "epoch": 2.0},
    ]
    for entries in (history, history[:1], [{"eval_rougeLsum": 0.3, "epoch": 1}], []):
        training_curves_png(tmp_path / "curves.png", entries)
        assert size(tmp_path / "curves.png")[0] > 800


def test_the_same_figures_give_the_same_picture(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        confusion_matrix_png(tmp_path / name, np.array([0, 1]), np.array([0, 0]), ["x", "y"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"healdag\[train\]"):
        training_curves_png(tmp_path / "curves.png", [])
    with pytest.raises(UsageError, match="nothing to compare"):
        comparison_png(tmp_path / "comparison.png", [])


# the command


@pytest.fixture
def model(tmp_path: Path, make_tfidf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "100")
    return make_tfidf(tmp_path / "models" / "1.0.0", MOODS)


@pytest.fixture
def moods(tmp_path: Path) -> Path:
    path = tmp_path / "moods.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["body", "tag"])
        writer.writerows([*MOODS.items(), ("so happy", "sadness"), ("not sad \U0001f600", "joy")])
    return path


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_evaluate_writes_json_csv_and_picture(model: Path, moods: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    columns = ("--text-column", "body", "--label-column", "tag")
    result = run("evaluate", model, "--data", moods, *columns, "--out", out)
    assert result.exit_code == 0, result.output
    assert "weighted f1" in result.output
    assert "emoji: yes" in result.output
    assert {path.name for path in out.iterdir()} == {"metrics.json", "metrics.csv", "confusion_matrix.png"}
    figures = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert figures["data"] == {"split": "all", "rows": 8, "sha256": figures["data"]["sha256"]}
    assert figures["all"]["accuracy"] == pytest.approx(6 / 8)
    assert size(out / "confusion_matrix.png")[0] > 300


def test_evaluate_gives_json_and_guesses_columns(model: Path, moods: Path) -> None:
    result = run("evaluate", model, "--data", moods, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["kind"] == "tfidf"
    assert figures["all"]["per_class"]["joy"]["support"] == 4


def test_evaluate_measures_the_whole_graph(model: Path, moods: Path) -> None:
    result = run("evaluate", model, "--data", moods, "--graph", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["kind"] == "graph"
    assert figures["all"]["accuracy"] == pytest.approx(6 / 8)
    assert figures["all"]["ece_before"] is None


def test_of_its_own_training_data_a_model_is_measured_on_the_test_part(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    words = (
        "day",
        "night",
        "street",
        "garden",
        "river",
        "winter",
        "garden wall",
        "old song",
        "cup of tea",
        "long walk",
    )
    rows = [
        (f"{mood} {word} {word[::-1]}", label)
        for word in words
        for mood, label in (("happy", "joy"), ("sad", "sadness"))
    ]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    task = task_from_file(path)
    info = {"task": task.model_dump(mode="json"), "data_sha256": {"train": data_hash(load_split(task, "train", None))}}
    write_json(model / "training_info.json", info)
    moved = path.rename(tmp_path / "moved.csv")
    test, part = labelled_rows(find(str(model)), data=moved)
    assert part == "test"
    assert 0 < len(test) < len(rows) / 2
    trained_on = {row.text for row in labelled_rows(find(str(model)), data=moved, split="train")[0]}
    assert not trained_on & {row.text for row in test}
    assert len(labelled_rows(find(str(model)), data=moved, split="all")[0]) == len(rows)
    seen = next(row for row in rows if row[0] in trained_on)
    assert seen_in_training(find(str(model)), labelled_rows(find(str(model)), data=moved)[0]) is None  # the file moved
    moved.rename(path)
    assert seen_in_training(find(str(model)), test) == 0
    subset = tmp_path / "subset.csv"
    subset.write_text(f"text,label\n{seen[0]},{seen[1]}\na new text,joy\n", encoding="utf-8")
    result = run("evaluate", model, "--data", subset)
    assert "warning: 1 of 2 texts were in the training data" in result.stderr
    other = tmp_path / "other.csv"
    other.write_text("text,label\nhappy me,joy\nsad me,sadness\n", encoding="utf-8")
    assert labelled_rows(find(str(model)), data=other)[1] == "all"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "dev"], "split 'dev': there are train, validation, test, all"),
        (["--text-column", "body"], "give --data too"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["--version", "9.0.0"], "version"),
        ([], "without a task file"),
    ],
)
def test_a_mistake_is_named_with_the_next_step(model: Path, arguments: list[str], message: str) -> None:
    name = "emotion" if "--version" in arguments else str(model)
    result = run("evaluate", name, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_labels_that_the_model_does_not_know_are_named(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("text,label\na,fear\nb,joy\n", encoding="utf-8")
    result = run("evaluate", model, "--data", path)
    assert result.exit_code == 2
    assert "['fear']" in result.stderr
