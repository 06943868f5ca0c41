"""Models side by side: significance, baselines, and ``healdag compare``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from healdag.cli import app
from healdag.errors import UsageError
from healdag.predictors.fake import FakePredictor
from healdag.training.datasets import Example
from healdag.training.evaluation.candidates import find, open_item, reference_of, size_of
from healdag.training.evaluation.comparison import compare, flat, holm, macro_f1_difference, majority, mcnemar_exact
from healdag.training.evaluation.measure import Model, of_predictor
from healdag.training.evaluation.nearest_label import NearestLabel

LABELS = ("joy", "anger", "sadness")
TEXTS = [f"text {i}" for i in range(90)]
ROWS = [Example(text, (LABELS[i % 3],)) for i, text in enumerate(TEXTS)]
MOODS = {"a happy day": "joy", "happy and glad": "joy", "so sad": "sadness", "sad and blue": "sadness"}


def right_on(share: int, labels: tuple[str, ...] = LABELS, name: str = "fake") -> Model:
    """A model that is right on ``share`` of 10 rows and else takes each label for the next."""
    answers = {text: {LABELS[i % 3 if i // 3 % 10 < share else (i + 1) % 3]: 0.8} for i, text in enumerate(TEXTS)}
    return of_predictor(FakePredictor(labels, answers=answers, default={labels[0]: 0.8}, name=name))


# significance


@pytest.mark.parametrize(
    ("only_one", "only_other", "p"),
    [(8, 1, 0.0390625), (1, 8, 0.0390625), (5, 5, 1.0), (0, 0, 1.0), (10, 0, 2 / 2**10), (12, 2, 0.01293945)],
)
def test_mcnemar_gives_the_known_values(only_one: int, only_other: int, p: float) -> None:
    assert mcnemar_exact(only_one, only_other) == pytest.approx(p, abs=1e-7)


def test_holm_gives_the_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_same_answers_do_not_differ() -> None:
    truth = np.arange(60) % 3
    difference, interval, p = macro_f1_difference(truth, truth, truth, 3)
    assert (difference, interval, p) == (0.0, [0.0, 0.0], 1.0)


def test_the_paired_bootstrap_sees_a_difference_that_is_there_and_none_that_is_not() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 600)

    def answers(share: float) -> Any:
        return np.where(generator.random(600) < share, truth, (truth + 1) % 3)

    difference, (low, high), p = macro_f1_difference(truth, answers(0.8), answers(0.6), 3, n=500)
    assert low < difference < high
    assert difference == pytest.approx(0.2, abs=0.07)
    assert p == pytest.approx(1 / 500)
    _, (low, high), p = macro_f1_difference(truth, answers(0.7), answers(0.7), 3, n=500)
    assert low < 0 < high
    assert p > 0.05


def test_about_five_percent_of_equal_models_differ_at_the_five_percent_level() -> None:
    generator = np.random.default_rng(5)
    found = 0
    for _ in range(60):
        truth = generator.integers(0, 2, 120)
        one, other = (np.where(generator.random(120) < 0.7, truth, 1 - truth) for _ in range(2))
        found += macro_f1_difference(truth, one, other, 2, n=200)[2] < 0.05
    assert found <= 9  # expected: 3


# side by side


def test_models_are_compared_with_the_first() -> None:
    first, better, same = compare([right_on(6), right_on(9, name="better"), right_on(6, name="same")], ROWS)
    assert first["against_first"] is None
    assert first["accuracy"] == pytest.approx(0.6)
    against = better["against_first"]
    assert against["accuracy_difference"] == pytest.approx(0.3)
    # 27 rows that only the better one gets right; two comparisons.
    assert against["accuracy_p"] == pytest.approx(2 * 2 / 2**27, rel=1e-2)
    assert against["macro_f1_difference_interval"][0] > 0
    assert against["macro_f1_p"] < 0.01
    assert same["against_first"]["accuracy_p"] == same["against_first"]["macro_f1_p"] == 1.0


def test_columns_in_another_order_are_the_same_model() -> None:
    turned = right_on(6, labels=("sadness", "joy", "anger"), name="turned")
    one, other = compare([right_on(6), turned], ROWS)
    for key in ("accuracy", "macro_f1", "log_loss", "roc_auc", "ece"):
        assert one[key] == other[key]


def test_unanswered_rows_stay_unanswered_in_another_order() -> None:
    mute = of_predictor(FakePredictor(("sadness", "joy", "anger"), default=None, name="mute"))
    row = compare([right_on(6), mute], ROWS)[1]
    assert row["unanswered"] == len(ROWS)
    assert row["accuracy"] == 0.0


def test_models_of_other_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="only models of the same labels"):
        compare([right_on(6), of_predictor(FakePredictor(("joy", "anger"), default={"joy": 1.0}))], ROWS)
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([], ROWS)


def test_the_majority_answers_the_commonest_label() -> None:
    probabilities, said = majority(LABELS, (0.2, 0.5, 0.3)).answer(["a", "b"])
    assert said.tolist() == [1, 1]
    assert probabilities.tolist() == [[0.2, 0.5, 0.3]] * 2
    assert majority(LABELS, (0.6, 0.1, 0.2), multi_label=True).answer(["a"])[1].tolist() == [[1, 0, 0]]


def test_the_untrained_base_takes_the_label_whose_name_is_nearest(tiny_base: Path) -> None:
    nearest = NearestLabel(tiny_base, ("happy", "very_sad"))
    probabilities = nearest.predict_proba(["very sad", "happy", "happy sad this text expresses joy"])
    assert probabilities.argmax(axis=1)[:2].tolist() == [1, 0]  # a label's own name
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert nearest.predict_proba(["happy"]) == pytest.approx(probabilities[1:2], abs=1e-5)  # whatever the batch
    assert nearest.predict_proba([]).shape == (0, 2)


def test_a_flat_row_has_plain_values() -> None:
    rows = [flat(row) for row in compare([right_on(6), right_on(7)], ROWS)]
    assert rows[0]["accuracy_low"] < rows[0]["accuracy"] < rows[0]["accuracy_high"]
    assert rows[1]["macro_f1_difference_low"] <= rows[1]["macro_f1_difference"]
    assert all(not isinstance(value, list | dict) for row in rows for value in row.values())


# by name


@pytest.fixture
def folder(tmp_path: Path, make_tfidf: Callable[..., Path]) -> Path:
    """A model with a backup called 'second' and one called 'tfidf_svm', below a folder of models."""
    model = make_tfidf(tmp_path / "models" / "mood" / "1.0.0", MOODS, task="mood")
    for name in ("second", "tfidf_svm"):
        make_tfidf(model / "backups" / name, MOODS)
    (model.parent / "current").write_text("1.0.0\n")
    return model


def test_models_are_found_by_task_version_backup_and_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALDAG_MODELS", str(folder.parents[1]))
    assert find("mood").folder == find("mood@1.0.0").folder == find("mood", "1.0.0").folder == folder
    assert find(str(folder)).folder == folder
    assert find("graph:mood").folder == folder
    second = folder / "backups" / "second"
    assert find("mood/second").folder == find("mood@1.0.0/second").folder == find(str(second)).folder == second
    assert find("mood/backups/second").folder == second
    with pytest.raises(UsageError, match=r"no backup 'third'.*second, tfidf_svm"):
        find("mood/third")
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        find(str(folder.parent))
    assert size_of(folder) < size_of(folder, backups=True)


def test_the_baselines_take_the_first_models_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = reference_of(["majority", str(folder)])
    assert open_item("majority", reference).labels == ("joy", "sadness")
    assert open_item("svm", reference).name == "svm"
    assert open_item("tfidf", reference).labels == ("joy", "sadness")
    with pytest.raises(UsageError, match="at least one task"):
        reference_of(["majority", "base"])
    for name in ("second", "tfidf_svm"):
        (folder / "backups" / name / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"no 'svm'.*--method tfidf_svm"):
        open_item("svm", reference)


# the command


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def moods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "moods.csv"
    rows = [*MOODS.items()] * 3 + [("happy", "sadness"), ("glad", "joy")]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return path


def test_compare_writes_table_csv_json_and_picture(folder: Path, moods: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("compare", folder, "majority", "svm", f"graph:{folder}", "--data", moods, "--out", out)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80
    assert {path.name for path in out.iterdir()} == {"comparison.json", "comparison.csv", "comparison.png"}
    compared = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in compared] == [str(folder), "majority", "svm", f"graph:{folder}"]
    model, plain, svm, graph = compared
    assert model["accuracy"] == svm["accuracy"] == graph["accuracy"] == pytest.approx(13 / 14, abs=1e-4)
    assert plain["accuracy"] == pytest.approx(7 / 14)
    assert model["ece_before"] == pytest.approx(model["ece"], abs=1e-3)  # an artefact without calibration
    with (out / "comparison.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["accuracy"]) for row in rows] == [row["accuracy"] for row in compared]
    assert float(rows[1]["accuracy_p"]) == compared[1]["against_first"]["accuracy_p"]
    assert rows[0]["accuracy_p"] == ""


def test_compare_gives_json(folder: Path, moods: Path) -> None:
    result = run("compare", folder, "majority", "--data", moods, "--json")
    assert result.exit_code == 0, result.output
    assert [row["n"] for row in json.loads(result.stdout)] == [14, 14]


def test_compare_names_a_mistake(folder: Path, moods: Path) -> None:
    result = run("compare", "majority", "--data", moods)
    assert result.exit_code == 2
    assert "give at least one task" in result.stderr
    assert run("compare").exit_code == 2
