"""Calibration: its form, the choice among methods, and ``healdag calibrate`` on a small real model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from healdag import create_classifier
from healdag.artifacts import UNCALIBRATED, Calibration, read_confidence, read_manifest, read_policy
from healdag.errors import ArtifactError, UsageError
from healdag.predictors import FloatArray, Spec, calibrate, load_predictor, logits_of, sigmoid, softmax
from healdag.predictors.emoji import EmojiLexicon, lexicon_labels
from healdag.predictors.ensemble import Irony
from healdag.training.datasets import Example
from healdag.training.ensembles.stack import Evidence, fit_pool
from healdag.training.evaluation.calibration import FEWEST, fit_calibration, fit_isotonic
from healdag.training.evaluation.candidates import find, open_artifact
from healdag.training.evaluation.labelled import text_hash, unseen
from healdag.training.evaluation.measure import measure
from healdag.training.evaluation.metrics import IntArray, adaptive_gap, binned_gap, evaluate, row_losses
from healdag.training.evaluation.plots import Reliability, reliability_png
from healdag.training.versions import next_patch

from .tickets import COLUMNS, LABELS, SURE, VAGUE, invoke, run, tickets, write

PNG = b"\x89PNG"


def draw(probabilities: FloatArray, seed: int, *, multi_label: bool) -> IntArray:
    """Truth drawn from the probabilities."""
    generator = np.random.default_rng(seed)
    if multi_label:
        return (generator.random(probabilities.shape) < probabilities).astype(np.int64)
    return (probabilities.cumsum(axis=1) > generator.random((len(probabilities), 1))).argmax(axis=1)


def normed(each: FloatArray, *, multi_label: bool) -> FloatArray:
    return each if multi_label else each / each.sum(axis=1, keepdims=True)


# what a calibration is

CALIBRATIONS = {
    "none": Calibration(),
    "temperature": Calibration(temperature=1.7, bias=(0.3, -0.2, 0.1)),
    "vector": Calibration(method="vector", scale=(0.5, 1.0, 2.0), bias=(0.3, -0.2, 0.1)),
    "beta": Calibration(method="beta", beta=((0.5, 2.0, 0.1), (1.0, 1.0, 0.0), (0.0, 1.5, -1.0))),
    "isotonic": Calibration(
        method="isotonic", knots=(((0.1, 0.0), (0.5, 0.2), (0.9, 1.0)), ((0.5, 0.5),), ((0.0, 0.0), (1.0, 1.0)))
    ),
}


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("name", CALIBRATIONS)
def test_each_method_is_what_its_formula_says(name: str, multi_label: bool) -> None:
    calibration = CALIBRATIONS[name]
    logits = np.random.default_rng(1).normal(size=(40, 3)) * 3
    activate = sigmoid if multi_label else softmax
    p = activate(logits)
    if calibration.method == "temperature":
        expected = activate(logits / calibration.temperature + np.array(calibration.bias or (0.0,) * 3))
    elif calibration.method == "vector":
        expected = activate((logits if multi_label else np.log(p)) * calibration.scale + np.array(calibration.bias))
    elif calibration.method == "beta":
        a, b, c = np.array(calibration.beta).T
        expected = normed(1 / (1 + (1 - p) ** b / (np.exp(c) * p**a)), multi_label=multi_label)
    else:
        lines = [np.interp(p[:, k], *zip(*line, strict=True)) for k, line in enumerate(calibration.knots)]
        expected = normed(np.stack(lines, axis=1), multi_label=multi_label)
    found = calibrate(logits, calibration, multi_label=multi_label)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (np.abs(found.sum(axis=1) - 1) < 1e-12).all() != multi_label
    if not multi_label:
        # Logits are known up to a constant per row.
        shifted = logits + np.linspace(-5, 5, 40)[:, None]
        np.testing.assert_allclose(calibrate(shifted, calibration), found, rtol=1e-9)


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_calibration_is_written_and_read_back(name: str) -> None:
    calibration = CALIBRATIONS[name]
    written = calibration.model_dump_json()
    assert Calibration.model_validate_json(written) == calibration
    own = {"vector": {"scale", "bias"}, "beta": {"beta"}, "isotonic": {"knots"}}
    assert set(json.loads(written)) == {"method"} | own.get(name, {"temperature", "bias"})


def test_isotonic_rows_that_no_label_is_left_for_stay_as_they_were() -> None:
    line = ((0.9, 0.0), (1.0, 1.0))
    found = calibrate(np.zeros((1, 3)), Calibration(method="isotonic", knots=(line, line, line)))
    assert found.tolist() == [pytest.approx([1 / 3] * 3)]


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_hundred_thousand_rows_take_as_many_calls_as_ten(name: str) -> None:
    labels = 8
    calibration = CALIBRATIONS[name]
    wide = {
        key: (value * 3)[:labels] for key in ("bias", "scale", "beta", "knots") if (value := getattr(calibration, key))
    }
    calibration = calibration.model_copy(update=wide)

    def calls(n: int) -> int:
        counted = 0

        def count(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        logits = np.zeros((n, labels))
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            assert calibrate(logits, calibration).shape == (n, labels)
        finally:
            sys.setprofile(before)
        return counted

    assert calls(100_000) == calls(10) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"method": "platt"}, "method"),
        ({"temperature": 0}, "greater than 0"),
        ({"temperature": float("inf")}, "finite"),
        ({"bias": [float("nan")] * 3}, "finite"),
        ({"scale": [1, 1, 1]}, "'temperature' has temperature and bias, not scale"),
        ({"method": "vector"}, "'vector' needs scale and bias for each label"),
        ({"method": "vector", "scale": [1, 1, 1], "bias": [0, 0]}, "3 scales and 2 biases"),
        ({"method": "vector", "scale": [1, 0, 1], "bias": [0, 0, 0]}, "greater than 0"),
        ({"method": "beta", "beta": [[1, -1, 0]] * 3}, "greater than or equal to 0"),
        ({"method": "beta", "beta": [[1, 1, 0]] * 3, "temperature": 2}, "not temperature"),
        ({"method": "isotonic", "knots": [[], [[0, 0]], [[0, 0]]]}, "do not rise"),
        ({"method": "isotonic", "knots": [[[0.2, 0.1], [0.2, 0.3]]] * 3}, "do not rise"),
        ({"method": "isotonic", "knots": [[[0.2, 0.3], [0.4, 0.1]]] * 3}, "do not rise"),
        ({"method": "isotonic", "knots": [[[0.2, 1.5]]] * 3}, "less than or equal to 1"),
        ({"bias": [0, 0]}, "a calibration for 2 labels, but there are 3"),
        ({"method": "beta", "beta": [[1, 1, 0]]}, "a calibration for 1 labels"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_no_calibration_is_an_artifact_error(
    content: dict[str, Any], message: str, tmp_path: Path, make_artifact: Callable[..., Path]
) -> None:
    folder = make_artifact(tmp_path / "m", "fake", ("a", "b", "c"), calibration=content)
    with pytest.raises(ArtifactError, match=rf"(?s)is not a valid manifest.*{message}"):
        read_manifest(folder)


def test_a_manifest_from_before_is_read_and_answers_as_it_did(tmp_path: Path, make_tfidf: Callable[..., Path]) -> None:
    texts = {"good day": "good", "bad day": "bad", "some day": "plain"}
    plain = make_tfidf(tmp_path / "plain", texts)
    old = make_tfidf(tmp_path / "old", texts, temperature=1.23447, bias=[0.71852, -0.06581, -0.04174])
    assert read_manifest(plain).calibration == UNCALIBRATED
    manifest = read_manifest(old)
    assert manifest.calibration == Calibration(temperature=1.23447, bias=(0.71852, -0.06581, -0.04174))
    assert "temperature" not in json.loads(manifest.model_dump_json())
    labels = manifest.labels
    raw = load_predictor("tfidf", Spec(labels, plain)).predict_proba(list(texts))
    predictor: Any = load_predictor("tfidf", Spec(labels, old))
    # To the last digit: the very operations of before.
    expected = softmax(logits_of(raw) / 1.23447 + np.asarray((0.71852, -0.06581, -0.04174)))
    assert predictor.predict_proba(list(texts)).tolist() == expected.tolist()
    np.testing.assert_allclose(predictor.uncalibrated(list(texts)), raw)


def test_both_forms_in_one_manifest_are_refused(tmp_path: Path, make_artifact: Callable[..., Path]) -> None:
    folder = make_artifact(tmp_path / "m", "fake", ("a", "b"), calibration={"temperature": 2}, temperature=2)
    with pytest.raises(ArtifactError, match="temperature"):
        read_manifest(folder)


def test_the_emoji_lexicon_can_be_calibrated() -> None:
    labels = lexicon_labels()
    as_it_is, flat = EmojiLexicon(labels), EmojiLexicon(labels, calibration=Calibration(temperature=3.0))
    (sharp,), (soft,) = as_it_is.predict_proba(["😀"]), flat.predict_proba(["😀"])
    assert sharp.argmax() == soft.argmax()
    assert soft.max() < sharp.max()
    assert np.isnan(flat.predict_proba(["no emoji"])).all()


# which method is taken


def distorted(name: str, n: int, *, multi_label: bool) -> tuple[FloatArray, IntArray]:
    """Logits of a model whose answers are wrong in one known way, and the truth."""
    logits = np.random.default_rng(7).normal(size=(n, 4)) * 2 - (1.0 if multi_label else 0.0)
    activate = sigmoid if multi_label else softmax
    p = activate(logits)
    if name == "temperature":
        right = activate(logits / 2.0 + np.array([0.5, 0.0, -0.5, 0.2]))
    elif name == "vector":
        right = activate(logits_of(p, multi_label=multi_label) * np.array([0.3, 1.0, 2.0, 0.6]))
    elif name == "beta":
        curve = Calibration(method="beta", beta=((0.2, 1.4, 0.3), (1.6, 0.3, 0.2), (0.3, 1.5, 0.0), (1.4, 0.2, -0.1)))
        right = calibrate(logits, curve, multi_label=multi_label)
    else:  # two flat stretches, which no smooth curve follows
        right = normed(np.select([p < 0.08, p < 0.55], [0.02, 0.3], 0.9), multi_label=multi_label)
    return logits, draw(right, 8, multi_label=multi_label)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("name", ["temperature", "vector", "beta", "isotonic"])
def test_the_method_that_undoes_the_distortion_is_taken(name: str, multi_label: bool) -> None:
    logits, truth = distorted(name, 12_000, multi_label=multi_label)
    train, test = slice(0, 6000), slice(6000, None)
    fitted = fit_calibration(logits[train], truth[train], multi_label=multi_label)
    assert fitted.calibration.method == name
    report = fitted.report
    assert set(report["compared"]) == {"temperature", "vector", "beta", "isotonic"}
    losses = {method: figures["log_loss"] for method, figures in report["compared"].items()}
    if name != "temperature":
        assert min(losses, key=lambda method: losses[method]) == name
        taken = report["compared"][name]
        assert taken["gain"] > taken["standard_error"] > 0
    assert report["rows"] == 6000
    assert report["after"]["ece"] < report["before"]["ece"]
    assert report["after"]["log_loss"] == pytest.approx(losses[name], abs=1e-4)
    assert (
        Calibration.model_validate({key: report[key] for key in fitted.calibration.model_dump()}) == fitted.calibration
    )
    # On rows that nothing was fitted on the cross-validated loss holds, and the chosen one beats the default.
    new = calibrate(logits[test], fitted.calibration, multi_label=multi_label)
    loss = row_losses(new, truth[test]).mean() / (4 if multi_label else 1)
    assert loss == pytest.approx(losses[name], rel=0.06)
    gaps = [binned_gap(new[:, k], (truth[test][:, k] if multi_label else truth[test] == k) == 1) for k in range(4)]
    assert max(gaps) < 0.04


def test_few_rows_keep_the_simple_method() -> None:
    logits, truth = distorted("isotonic", FEWEST - 1, multi_label=False)
    fitted = fit_calibration(logits, truth)
    assert fitted.calibration.method == "temperature"
    assert list(fitted.report["compared"]) == ["temperature"]
    logits, truth = distorted("isotonic", 999, multi_label=False)
    assert "isotonic" not in fit_calibration(logits, truth).report["compared"]
    # Where nothing but the temperature is wrong, nothing else replaces it, however many rows there are.
    for n in (FEWEST, 300, 1500):
        logits, truth = distorted("temperature", n, multi_label=False)
        assert fit_calibration(logits, truth).calibration.method == "temperature"


@pytest.mark.parametrize("n", [1, 2, 7])
def test_hardly_any_rows_give_finite_answers(n: int) -> None:
    logits, truth = distorted("temperature", n, multi_label=False)
    fitted = fit_calibration(logits, truth)
    assert np.isfinite(fitted.crossed).all()
    assert np.isfinite(calibrate(logits, fitted.calibration)).all()


def test_the_same_rows_give_the_same_calibration() -> None:
    logits, truth = distorted("vector", 500, multi_label=True)
    once, twice = (fit_calibration(logits, truth, multi_label=True) for _ in range(2))
    assert once.report == twice.report


def test_an_isotonic_line_never_makes_a_label_certain_and_keeps_the_order() -> None:
    logits = np.linspace(-6, 6, 2000)[:, None] * np.array([1.0, -1.0])
    truth = (np.arange(2000) < 1000).astype(np.int64)  # the first label from the middle on, without an error
    values = calibrate(logits, fit_isotonic(logits, truth))
    assert values.min() > 0
    assert values.max() < 1
    assert (np.diff(values[:, 0]) >= -1e-12).all()


def test_an_isotonic_line_of_numbers_that_differ_in_the_last_digit() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.9, np.nextafter(0.9, 1)])
    truth = np.array([0, 0, 1, 1, 1])[:, None]
    logits = np.log(values / (1 - values))[:, None]
    found = fit_isotonic(logits, truth)
    assert np.isfinite(found.knots).all()
    assert np.isfinite(calibrate(logits, found, multi_label=True)).all()


def test_bins_of_equally_many_rows() -> None:
    confidence = np.linspace(0.9, 1.0, 3000)
    right = np.random.default_rng(1).random(3000) < 0.95
    # All rows lie in two bins of equal width, whose means hide what is wrong inside them.
    assert binned_gap(confidence, right) < adaptive_gap(confidence, right)
    by_hand = [
        abs(confidence[part].mean() - right[part].mean()) * len(part) for part in np.array_split(np.arange(3000), 15)
    ]
    assert adaptive_gap(confidence, right) == pytest.approx(sum(by_hand) / 3000)
    # Equal confidences are one bin, in whatever order the rows come.
    same, sorted_right = np.full(100, 0.5), np.arange(100) < 50
    assert adaptive_gap(same, sorted_right) == 0
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    figures = evaluate(probabilities, (~right).astype(np.int64), ["a", "b"])
    assert figures["adaptive_ece"] == pytest.approx(adaptive_gap(confidence, right), abs=1e-4)


def test_reliability_pictures(tmp_path: Path) -> None:
    for multi_label in (False, True):
        logits, truth = distorted("temperature", 300, multi_label=multi_label)
        before = calibrate(logits, multi_label=multi_label)
        after = calibrate(logits, Calibration(temperature=2.0), multi_label=multi_label)
        path = tmp_path / f"{multi_label}.png"
        reliability_png(path, [Reliability("a $b", truth, before, after), Reliability("c", truth, before, before)])
        assert path.read_bytes().startswith(PNG)


# a model that has been calibrated otherwise


def test_figures_before_calibration_come_from_the_model_itself(tmp_path: Path, make_tfidf: Callable[..., Path]) -> None:
    texts = {"good day": "good", "bad day": "bad", "some day": "plain"}
    rows = [Example(text, (label,)) for text, label in texts.items()]
    vector = {"method": "vector", "scale": [0.2, 0.2, 0.2], "bias": [0, 0, 0]}
    plain = make_tfidf(tmp_path / "plain", texts)
    made = make_tfidf(tmp_path / "vector", texts, calibration=vector)
    expected = measure(open_artifact(find(str(plain))), rows).figures
    figures = measure(open_artifact(find(str(made))), rows).figures
    assert figures["confidence"] < figures["confidence_before"]
    assert figures["confidence_before"] == expected["confidence"]
    assert figures["ece_before"] == expected["ece"]


@pytest.mark.parametrize("method", ["vector", "beta", "isotonic"])
def test_every_method_is_served_by_a_classifier(method: str, tmp_path: Path, make_tfidf: Callable[..., Path]) -> None:
    texts = {"good day": "good", "bad day": "bad", "some day": "plain"}
    content = json.loads(CALIBRATIONS[method].model_dump_json())
    folder = make_tfidf(tmp_path / "1.0.0", texts, calibration=content)
    raw = load_predictor("tfidf", Spec(("good", "bad", "plain"), folder)).predict_proba(["good day"])[0]
    answer = create_classifier(str(folder)).classify("good day")
    assert list(answer.probabilities.values()) == pytest.approx(raw.tolist())
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_irony_is_kept_where_no_row_is_sarcastic() -> None:
    logits, truth = distorted("temperature", 200, multi_label=False)
    irony = Irony(offset=-1.0, slope=1.0, meant=((0.25,) * 4,) * 4)
    nobody = np.zeros(200, dtype=bool)
    evidence = Evidence({"model": softmax(logits)}, np.full(200, 0.5), truth, ~nobody, nobody, None, irony)
    assert fit_pool(evidence).irony == irony
    assert fit_pool(evidence.at(slice(0, 100))).irony == irony
    ironic = Evidence({"model": softmax(logits)}, np.full(200, 0.5), truth, ~nobody, truth == 1, None, irony)
    assert fit_pool(ironic).irony != irony


# healdag calibrate


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained and certified model, and with two files of tickets whose words lie more often."""
    root = tmp_path_factory.mktemp("calibrate")
    data = write(root / "tickets.csv", tickets(2000, seed=1))
    run("train", "tickets", "--data", data, *COLUMNS, "--method", "tfidf_lr", "--models", root / "models")
    write(root / "mine.csv", tickets(1200, seed=2, lies=0.2))
    write(root / "later.csv", tickets(800, seed=3, lies=0.2))
    run("certify", root / "models" / "tickets" / "1.0.0", "--data", root / "later.csv", *COLUMNS, "--max-error", "0.4")
    return root


@pytest.fixture(scope="module")
def calibrated(place: Path) -> dict[str, Any]:
    """What 'healdag calibrate' says of a user's file."""
    folder = place / "models" / "tickets" / "1.0.0"
    return dict(json.loads(run("calibrate", folder, "--data", place / "mine.csv", *COLUMNS, "--json")))


def test_a_new_version_is_made_and_the_old_one_stays(place: Path, calibrated: dict[str, Any]) -> None:
    versions = place / "models" / "tickets"
    assert (calibrated["version"], calibrated["folder"]) == ("1.0.1", str(versions / "1.0.1"))
    assert (versions / "current").read_text(encoding="utf-8").strip() == "1.0.1"
    assert read(place / "models" / "MODEL_VERSION.json")["tickets"] == "1.0.1"
    old, new = read_manifest(versions / "1.0.0"), read_manifest(versions / "1.0.1")
    assert old.version == "1.0.0"
    assert (versions / "1.0.0" / "certificate.json").is_file()
    assert new.version == "1.0.1"
    assert new.calibration != old.calibration
    assert new.files == old.files  # nothing was trained
    for name in ("tfidf", "ensemble"):
        assert read_manifest(versions / "1.0.1" / "backups" / name).version == "1.0.1"
    assert sorted(path.name for path in versions.iterdir()) == ["1.0.0", "1.0.1", "current", "history.jsonl"]


def test_everything_that_speaks_of_the_calibration_is_new(place: Path, calibrated: dict[str, Any]) -> None:
    old, new = (place / "models" / "tickets" / version for version in ("1.0.0", "1.0.1"))
    assert not (new / "certificate.json").exists()
    model = read_confidence(new)
    assert model is not None
    assert model.n > 900
    assert (new / "reliability.png").read_bytes().startswith(PNG)
    assert (new / "reliability.png").read_bytes() != (old / "reliability.png").read_bytes()
    report = read(new / "calibration.json")
    assert report["rows"] == calibrated["rows"] == read(new / "metrics.json")["validation"]["n"]
    assert "test" not in read(new / "metrics.json")  # the old figures were those of the old calibration
    assert read_manifest(new).calibration.method == report["method"] == calibrated["models"]["model"]["method"]
    assert read_policy(new).backups["ensemble"].n == report["rows"]
    info = read(new / "training_info.json")
    assert info["calibrated"]["from"] == "1.0.0"
    assert "calibrate" in info["calibrated"]["command"]
    card = (new / "README.md").read_text(encoding="utf-8")
    assert "tickets 1.0.1" in card
    assert "Calibrated on: " in card
    assert "mine.csv" in card
    assert list(calibrated["models"]) == ["model", "tfidf", "ensemble"]
    assert calibrated["before"] == "as before"
    for figures in calibrated["models"].values():
        # The words lie more often than in the training: until now every model was too sure.
        assert figures["after"]["ece"] < figures["before"]["ece"]
        assert figures["after"]["log_loss"] < figures["before"]["log_loss"]
        assert set(figures["after"]) == {"ece", "adaptive_ece", "brier", "log_loss"}
    assert calibrated["graph"]["validation"]["n"] == calibrated["rows"]


def test_the_new_version_is_surer_of_itself_by_the_right_amount(place: Path, calibrated: dict[str, Any]) -> None:
    texts, truth = zip(*tickets(1500, seed=9, lies=0.2), strict=True)
    gaps = []
    for version in ("1.0.0", calibrated["version"]):
        answers = create_classifier(str(place / "models" / "tickets" / version)).classify_many(texts)
        sure = np.array([answer.confidence for answer in answers])
        gaps.append(binned_gap(sure, np.array([a.final_label == t for a, t in zip(answers, truth, strict=True)])))
    assert gaps[1] < gaps[0] / 2
    assert gaps[1] < 0.06


def test_a_certificate_leaves_out_what_the_model_was_calibrated_on(place: Path, calibrated: dict[str, Any]) -> None:
    folder = Path(calibrated["folder"])
    mine = [Example(text, (label,)) for text, label in tickets(1200, seed=2, lies=0.2)]
    assert set(read(folder / "calibrated_on.json")) == {text_hash(row.text) for row in mine}
    result = invoke("certify", folder, "--data", place / "mine.csv", *COLUMNS)
    assert result.exit_code == 2
    assert "were used to train or fit" in result.stderr
    with pytest.raises(UsageError, match="give others"):
        unseen(find(str(folder)), mine)
    assert unseen(find(str(folder)), [*mine, Example("something new", ("bakery",))])[0].text == "something new"


def test_by_default_the_rows_are_the_task_s_own(place: Path, tmp_path: Path, calibrated: dict[str, Any]) -> None:
    models = tmp_path / "elsewhere"
    folder = place / "models" / "tickets" / "1.0.0"
    shown = run("calibrate", folder, "--models", models, "--version", "1.0.7")
    assert "tickets 1.0.7" in shown
    assert "uncalibrated" in shown
    made = models / "tickets" / "1.0.7"
    assert read_manifest(made).version == "1.0.7"
    assert not (made / "calibrated_on.json").exists()
    assert set(read(made / "metrics.json")) == {"validation_uncalibrated", "validation", "test"}
    # The same rows as in the training: the same calibration.
    assert read_manifest(made).calibration == read_manifest(folder).calibration
    assert read(made / "metrics.json")["test"] == read(folder / "metrics.json")["test"]
    # So it is with the very file that it was trained on.
    run("calibrate", folder, "--data", place / "tickets.csv", "--models", models, "--version", "1.0.8")
    assert read(models / "tickets" / "1.0.8" / "calibration.json") == read(made / "calibration.json")
    assert (place / "models" / "tickets" / "current").read_text(encoding="utf-8").strip() == calibrated["version"]


def test_what_cannot_calibrate_is_said_and_changes_nothing(place: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    folder = place / "models" / "tickets" / "1.0.0"

    def refused(*arguments: str | Path) -> str:
        result = invoke("calibrate", folder, "--models", models, *arguments)
        assert result.exit_code == 2, result.output
        return str(result.stderr)

    few = write(tmp_path / "few.csv", tickets(20, seed=4))
    assert "20 labelled texts are too few to calibrate 'tickets' on; give 50" in refused("--data", few, *COLUMNS)
    one = write(tmp_path / "one.csv", [row for row in tickets(300, seed=4) if row[1] == "bakery"])
    assert "no text has the label ['workshop']" in refused("--data", one, *COLUMNS)
    other = write(tmp_path / "other.csv", [(text, "garage") for text, _ in tickets(100, seed=4)])
    assert "'garage'" in refused("--data", other, *COLUMNS)
    assert "describe your own data" in refused("--text-column", "body")
    assert "not of the form X.Y.Z" in refused("--version", "new")
    assert not any(models.rglob("manifest.json"))
    assert not any(models.rglob("current"))
    backup = invoke("calibrate", folder / "backups" / "tfidf", "--models", models)
    assert "is a backup; calibrate the model that it belongs to" in backup.stderr
    there = invoke("calibrate", folder, "--version", "1.0.0")
    assert there.exit_code == 2
    assert "is there already" in there.stderr


def test_texts_that_it_was_trained_on_are_warned_of(place: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "seen.csv", tickets(2000, seed=1)[:300] + tickets(100, seed=12))
    result = invoke("calibrate", place / "models" / "tickets" / "1.0.0", "--data", data, *COLUMNS, "--models", tmp_path)
    assert result.exit_code == 0, result.output
    assert "were in the training data" in result.stderr


def test_a_model_that_hardly_errs_keeps_its_own_probabilities_as_confidence(place: Path, tmp_path: Path) -> None:
    plain = [(f"{' '.join(SURE[label])} number {i}", label) for i in range(60) for label in LABELS]
    data = write(tmp_path / "plain.csv", plain)
    folder = place / "models" / "tickets" / "1.0.0"
    result = invoke("calibrate", folder, "--data", data, *COLUMNS, "--models", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert "no fitted confidence" in result.stderr
    made = Path(json.loads(result.stdout)["folder"])
    assert read_confidence(made) is None
    assert json.loads(result.stdout)["graph"] is None
    assert create_classifier(str(made)).classify("bread and butter").final_label == "bakery"


def test_lists_of_labels(tmp_path: Path) -> None:
    def rows(n: int, seed: int) -> list[tuple[str, str]]:
        generator = np.random.default_rng(seed)
        made = []
        for _ in range(n):
            there = generator.random(2) < 0.5
            words = [str(generator.choice(SURE[label])) for label, has in zip(LABELS, there, strict=True) if has]
            words += generator.choice(VAGUE, 5).tolist()
            said = [label for label, has in zip(LABELS, there, strict=True) if has != (generator.random() < 0.1)]
            made.append((" ".join(words), "|".join(said) or "bakery"))
        return made

    columns = (*COLUMNS, "--separator", "|")
    data = write(tmp_path / "tickets.csv", rows(800, seed=1))
    models = tmp_path / "models"
    run("train", "lists", "--data", data, *columns, "--method", "tfidf_lr", "--models", models)
    mine = write(tmp_path / "mine.csv", rows(400, seed=2))
    said = json.loads(run("calibrate", "lists", "--models", models, "--data", mine, *columns, "--json"))
    made = Path(said["folder"])
    assert (made.name, read_manifest(made).multi_label) == ("1.0.1", True)
    policy = read_policy(made)
    assert policy.thresholds is not None
    assert policy.set_calibration is not None
    assert said["models"]["model"]["after"]["log_loss"] < 0.6
    assert isinstance(create_classifier(str(made)).classify("bread and a screw").final_label, list)


def test_an_ensemble_that_stands_alone(place: Path, tmp_path: Path) -> None:
    folder, models = place / "models" / "tickets" / "1.0.0", tmp_path / "models"
    run("ensemble", "mix", folder, folder / "backups" / "tfidf", "--models", models, "--method", "pool")
    said = json.loads(run("calibrate", "mix", "--models", models, "--data", place / "mine.csv", *COLUMNS, "--json"))
    made = Path(said["folder"])
    assert list(said["models"]) == ["model"]
    assert said["models"]["model"]["after"]["ece"] < said["models"]["model"]["before"]["ece"]
    assert (made / "ensemble.json").read_bytes() == (made.parent / "1.0.0" / "ensemble.json").read_bytes()
    assert "mix 1.0.1" in (made / "README.md").read_text(encoding="utf-8")
    assert create_classifier(str(made)).classify("bread and butter").final_label == "bakery"


def test_the_next_patch_is_free(tmp_path: Path, make_artifact: Callable[..., Path]) -> None:
    for version in ("1.0.0", "1.0.4", "1.2.0"):
        make_artifact(tmp_path / version, "fake", ("a", "b"))
    assert next_patch(tmp_path, "1.0.0") == "1.0.5"
    assert next_patch(tmp_path, "1.2.0") == "1.2.1"
    assert next_patch(tmp_path / "none", "3.1.2") == "3.1.3"
    with pytest.raises(UsageError, match=r"X\.Y\.Z"):
        next_patch(tmp_path, "first")


def test_the_form_needs_no_file() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        UNCALIBRATED.temperature = 2.0
