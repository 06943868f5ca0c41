"""TF-IDF models: built, calibrated, written without pickles, and served as a primary or a backup."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import MANIFEST, read_manifest, read_policy
from healdag.errors import ArtifactError, UsageError
from healdag.predictors import Spec, decide, load_predictor
from healdag.predictors.tfidf import MODEL, TRUSTED
from healdag.training.classical import KINDS, Kind, fit_pipeline, train_classical
from healdag.training.data import targets, texts_of
from healdag.training.datasets import Example
from healdag.training.evaluation.metrics import evaluate
from healdag.training.tasks import DataReference, Task

WORDS = {"happy": ("glad", "smile", "sunny"), "sad": ("tears", "gloomy", "lonely"), "plain": ("table", "paper", "door")}
LABELS = tuple(WORDS)
FILLER = ("i", "saw", "the", "it", "was", "there", "today", "again", "we", "had")


def moods(n: int, seed: int, noise: float = 0.1) -> list[Example]:
    """Texts with words of their label, most of them 'plain'; a share has the words of another."""
    generator = np.random.default_rng(seed)
    rows = []
    for label in generator.choice(LABELS, n, p=[0.25, 0.15, 0.6]).tolist():
        shown = generator.choice(LABELS) if generator.random() < noise else label
        text = [*generator.choice(FILLER, 4).tolist(), *generator.choice(WORDS[str(shown)], 2).tolist()]
        rows.append(Example(" ".join(generator.permutation(text).tolist()), (label,)))
    return rows


def several(n: int, seed: int, noise: float = 0.03) -> list[Example]:
    """Texts with words of each of their labels; some have none."""
    generator = np.random.default_rng(seed)
    rows = []
    for there in (generator.random((n, 3)) < [0.4, 0.3, 0.1]).tolist():
        shown = [label for label, has in zip(LABELS, there, strict=True) if has != (generator.random() < noise)]
        text = [*generator.choice(FILLER, 4).tolist(), *(str(generator.choice(WORDS[label])) for label in shown)]
        labels = tuple(label for label, has in zip(LABELS, there, strict=True) if has)
        rows.append(Example(" ".join(generator.permutation(text).tolist()), labels))
    return rows


def task_of(**fields: Any) -> Task:
    sets = (DataReference(set="moods"),)
    given = {"name": "mood", "description": "Moods", "labels": LABELS, "licence": "CC0", "train": sets}
    return Task.model_validate({**given, "validation": sets, "test": sets, **fields})


def rows_of(task: Task) -> tuple[list[Example], list[Example], list[Example]]:
    make = several if task.multi_label else moods
    return make(500, 1), make(400, 2), make(400, 3)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_trained_calibrated_and_measured_as_it_answers(
    kind: Kind, multi_label: bool, tmp_path: Path
) -> None:
    task = task_of(multi_label=multi_label)
    train, validation, test = rows_of(task)
    folder = tmp_path / "mood" / "1.0.0"
    train_classical(task, train, validation, test, folder, "1.0.0", kind=kind, as_backup=False, command="typed")
    manifest = read_manifest(folder)
    assert (manifest.kind, manifest.labels, manifest.multi_label) == ("tfidf", LABELS, multi_label)
    assert manifest.files.keys() == {MODEL}
    assert read(folder / "labels.json") == list(LABELS)
    info = read(folder / "training_info.json")
    assert (info["command"], info["rows"], info["seed"]) == ("typed", 500, 13)
    assert set(info["data_sha256"]) == {"train", "validation", "test"}
    assert "mood 1.0.0" in (folder / "README.md").read_text(encoding="utf-8")
    figures = read(folder / "metrics.json")
    assert figures["test"]["macro_f1"] > 0.75
    # Balanced classes answer rare labels too often; the calibration puts the shares back.
    assert figures["validation"]["log_loss"] <= figures["validation_uncalibrated"]["log_loss"] + 1e-9
    assert figures["test"]["ece"] < 0.08
    # What is written is what is measured.
    predictor = load_predictor("tfidf", Spec(LABELS, folder))
    values = predictor.predict_proba(texts_of(test))
    truth = targets(test, LABELS, multi_label=multi_label)
    again = evaluate(values, truth, LABELS, read_policy(folder).thresholds, multi_label=multi_label)
    assert again["accuracy"] == figures["test"]["accuracy"]
    assert (np.abs(values.sum(axis=1) - 1) < 1e-9).all() != multi_label
    assert predictor.predict_proba([]).shape == (0, 3)


def test_the_kinds_are_what_the_settings_allow() -> None:
    from healdag.config import TrainingSettings

    assert set(KINDS) <= set(get_args(TrainingSettings.model_fields["method"].annotation))


def test_the_features_are_ten_thousand_word_one_to_three_grams() -> None:
    rows = [Example(" ".join(f"w{(i * 7 + j) % 6000}" for j in range(6)), (LABELS[i % 3],)) for i in range(4000)]
    pipeline = fit_pipeline(task_of(), rows, "tfidf_lr")
    vocabulary = pipeline[0].vocabulary_
    assert len(vocabulary) == 10_000
    assert {len(gram.split()) for gram in vocabulary} == {1, 2, 3}
    assert {type(column) for column in vocabulary.values()} == {int}  # numpy numbers would be a file each


def test_saga_settles_where_classes_are_rare_and_finds_what_lbfgs_finds() -> None:
    from sklearn.linear_model import LogisticRegression

    from healdag.training.classical import LR_C

    generator = np.random.default_rng(0)
    shares = [0.02, 0.08, 0.9]
    rows = [
        Example(" ".join([*generator.choice(FILLER, 3), *generator.choice(WORDS[label], 1)]), (label,))
        for label in generator.choice(LABELS, 3000, p=shares).tolist()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # ConvergenceWarning
        pipeline = fit_pipeline(task_of(), rows, "tfidf_lr")
    features = pipeline[0].transform(texts_of(rows))
    names = [row.label for row in rows]
    reference = LogisticRegression(C=LR_C, class_weight="balanced", tol=1e-6, max_iter=5000).fit(features, names)
    np.testing.assert_allclose(pipeline[-1].predict_proba(features), reference.predict_proba(features), atol=0.02)


@pytest.mark.parametrize("kind", ["tfidf_lr", "tfidf_svm"])
def test_the_same_seed_gives_the_same_model(kind: Kind) -> None:
    rows, texts = moods(200, 5), texts_of(moods(20, 6))
    one, other = (fit_pipeline(task_of(), rows, kind).predict_proba(texts) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("multi_label", [False, True])
def test_columns_are_the_tasks_whatever_the_order(multi_label: bool, tmp_path: Path) -> None:
    forward = task_of(multi_label=multi_label)
    turned = task_of(multi_label=multi_label, labels=LABELS[::-1])
    answers = []
    for place, task in enumerate((forward, turned)):
        folder = tmp_path / str(place) / "1.0.0"
        train_classical(task, *rows_of(forward), folder, "1.0.0", kind="tfidf_lr", as_backup=False)
        answers.append(load_predictor("tfidf", Spec(task.labels, folder)).predict_proba(["glad smile", "tears"]))
    np.testing.assert_allclose(answers[1][:, ::-1], answers[0], atol=0.02)
    assert answers[0][0].argmax() == LABELS.index("happy")


def test_thresholds_for_macro_f1_help_the_rare_label(tmp_path: Path) -> None:
    task = task_of(multi_label=True, decision="macro_f1")
    train, validation, test = (several(n, seed, noise=0.25) for n, seed in ((500, 1), (500, 2), (500, 3)))
    train_classical(task, train, validation, test, tmp_path / "1.0.0", "1.0.0", kind="tfidf_lr", as_backup=False)
    policy = read_policy(tmp_path / "1.0.0")
    assert policy.thresholds is not None
    assert policy.set_calibration is not None
    truth = targets(validation, LABELS, multi_label=True)
    values = load_predictor("tfidf", Spec(LABELS, tmp_path / "1.0.0")).predict_proba(texts_of(validation))
    scores = [evaluate(values, truth, LABELS, cut, multi_label=True)["macro_f1"] for cut in (None, policy.thresholds)]
    assert scores[1] > scores[0]
    assert decide(values, policy.thresholds, multi_label=True)[:, 2].sum() > 0


def test_it_is_served_as_a_primary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from healdag.training.artifact_writer import set_current

    for name, multi_label in (("mood", False), ("moods", True)):
        task = task_of(name=name, multi_label=multi_label)
        train_classical(task, *rows_of(task), tmp_path / name / "1.0.0", "1.0.0", kind="tfidf_lr", as_backup=False)
        set_current(tmp_path, name, "1.0.0")
    monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path))
    answer = create_classifier("mood").classify("we had gloomy tears")
    assert (answer.final_label, answer.source) == ("sad", "model")
    assert 0.6 < answer.confidence < 1
    both = create_classifier("moods").classify("glad smile and gloomy tears")
    assert both.final_label == ["happy", "sad"]


def test_it_is_a_backup_beside_another(tmp_path: Path) -> None:
    task, folder = task_of(), tmp_path / "1.0.0"
    kinds: tuple[Kind, ...] = ("tfidf_lr", "tfidf_svm")
    for kind in kinds:
        place = train_classical(task, *rows_of(task), folder, "1.0.0", kind=kind, as_backup=True)
        assert place == folder / "backups" / kind
        assert not (place / "policy.json").exists()
        assert load_predictor("tfidf", Spec(LABELS, place)).predict_proba(["tears"]).argmax() == 1
        assert "test" in read(place / "metrics.json")


def test_types_that_are_not_trusted_are_refused(tmp_path: Path, make_artifact: Any) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from skops.io import dump

    assert all(name.startswith("sklearn.") for name in TRUSTED)
    folder = tmp_path / "1.0.0"
    folder.mkdir()
    rows = moods(100, 1)
    model = fit_pipeline(task_of(), rows, "tfidf_svm")
    dump(make_pipeline(FunctionTransformer(read), *[step for _, step in model.steps]), folder / MODEL)
    make_artifact(folder, "tfidf", LABELS)
    with pytest.raises(ArtifactError, match=r"not trusted.*read"):
        load_predictor("tfidf", Spec(LABELS, folder))


def test_a_changed_file_and_a_manifest_of_another_form_are_refused(tmp_path: Path) -> None:
    task, folder = task_of(), tmp_path / "1.0.0"
    train_classical(task, *rows_of(task), folder, "1.0.0", kind="tfidf_lr", as_backup=False)
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text.replace('"multi_label": false', '"multi_label": true'), encoding="utf-8")
    with pytest.raises(ArtifactError, match="one label per text"):
        load_predictor("tfidf", Spec(LABELS, folder))
    (folder / MANIFEST).write_text(text.replace('"plain"', '"flat"'), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"knows \['happy', 'plain', 'sad'\].*flat"):
        load_predictor("tfidf", Spec(LABELS, folder))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="not the file that was trained"):
        load_predictor("tfidf", Spec(LABELS, folder))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("kind", ["tfidf_lr", "tfidf_svm"])
def test_a_label_without_a_training_row_is_not_answered(kind: Kind, multi_label: bool, tmp_path: Path) -> None:
    task = task_of(multi_label=multi_label)
    train, validation, test = rows_of(task)
    train = [row for row in train if "plain" not in row.labels]
    train_classical(task, train, validation, test, tmp_path / "a" / "1", "1", kind=kind, as_backup=False)
    predictor = load_predictor("tfidf", Spec(LABELS, tmp_path / "a" / "1"))
    pipeline_rows = predictor.predict_proba(["glad smile", "gloomy tears"])
    assert pipeline_rows.shape == (2, 3)
    assert np.isfinite(pipeline_rows).all()


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([Example("a", ("happy",)), Example("b", ("happy",))], "tfidf_lr", "all have the same labels"),
        ([], "tfidf", "the 0 training rows"),
        ([Example("!!", ("happy",)), Example("...", ("sad",))], "tfidf_lr", "hold no words"),
        ([Example("a b", ("happy",)), Example("c", ("sad",)), Example("d", ("sad",))], "tfidf_svm", "'happy'.*two"),
        ([Example("a", ("happy",)), Example("b", ("sad",))], "forest", "there are: tfidf, tfidf_lr, tfidf_svm"),
    ],
)
def test_rows_that_cannot_teach_say_why(rows: list[Example], kind: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit_pipeline(task_of(), rows, kind)


def test_a_failed_training_leaves_what_was_there(tmp_path: Path) -> None:
    task, folder = task_of(), tmp_path / "1.0.0"
    train_classical(task, *rows_of(task), folder, "1.0.0", kind="tfidf_lr", as_backup=False)
    before = (folder / MODEL).read_bytes()
    train, _, test = rows_of(task)
    with pytest.raises(UsageError):
        train_classical(task, train, [], test, folder, "1.0.0", kind="tfidf_svm", as_backup=False)
    assert (folder / MODEL).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["1.0.0"]
