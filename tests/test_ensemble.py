"""Ensembles: of a model and its backups, and of models that stand side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from healdag import create_classifier
from healdag.artifacts import MANIFEST, Manifest, Policy, read_manifest, read_policy
from healdag.errors import ArtifactError, UsageError
from healdag.nodes import Backup, Decider, Rung
from healdag.predictors import Spec, load_predictor, logits_of, sigmoid
from healdag.predictors.ensemble import LEAST_IRONY, SETUP, Ensemble, Irony, Pool
from healdag.predictors.fake import FakePredictor
from healdag.training.artifact_writer import set_current
from healdag.training.classical import train_classical
from healdag.training.data import targets, texts_of
from healdag.training.datasets import Example
from healdag.training.ensembles.ensemble import combine_models, find_member, task_of
from healdag.training.ensembles.stack import (
    Evidence,
    backups_in,
    cross_validated,
    fit_policy,
    fit_pool,
    folds_of,
    train_ensemble,
)
from healdag.training.evaluation.metrics import macro_f1
from healdag.training.tasks import DataReference, Task

WORDS = {"happy": ("glad", "smile", "sunny"), "sad": ("tears", "gloomy", "lonely"), "plain": ("table", "paper", "door")}
LABELS = tuple(WORDS)
FILLER = ("i", "saw", "the", "it", "was", "there", "today", "again", "we", "had")


def rows_of(n: int, seed: int, *, multi_label: bool) -> list[Example]:
    """Distinct texts with words of their labels; in one row of ten the words lie."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        there = (
            (generator.random(3) < [0.4, 0.3, 0.15]).tolist()
            if multi_label
            else np.eye(3, dtype=bool)[generator.choice(3, p=[0.3, 0.2, 0.5])].tolist()
        )
        shown = generator.permutation(there).tolist() if generator.random() < 0.1 else there
        words = [str(generator.choice(WORDS[label])) for label, has in zip(LABELS, shown, strict=True) if has]
        text = [*generator.choice(FILLER, 4).tolist(), *words, f"n{seed}x{number}"]
        rows.append(Example(" ".join(text), tuple(lab for lab, has in zip(LABELS, there, strict=True) if has)))
    return rows


def make_task(*, multi_label: bool, **fields: Any) -> Task:
    sets = (DataReference(set="moods", label_column="labels"),)
    given = {"name": "moods" if multi_label else "mood", "description": "Moods", "labels": LABELS, "licence": "CC0"}
    data = {"train": sets, "validation": sets, "test": sets, "multi_label": multi_label}
    return Task.model_validate({**given, **data, **fields})


class Place:
    """Data and two trained models of a task, in a folder of models."""

    def __init__(self, root: Path, *, multi_label: bool) -> None:
        self.task = make_task(multi_label=multi_label)
        self.models, self.source = root / "models", root / "data"
        sizes = {"train": 300, "validation": 300, "test": 200}
        self.rows = {split: rows_of(n, i, multi_label=multi_label) for i, (split, n) in enumerate(sizes.items())}
        (self.source / "moods").mkdir(parents=True)
        for split, rows in self.rows.items():
            lines = [json.dumps({"text": row.text, "labels": list(row.labels)}) for row in rows]
            (self.source / "moods" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.members = [self._train("1.0.0", "tfidf_lr", 300), self._train("1.1.0", "tfidf_svm", 40)]
        set_current(self.models, self.task.name, "1.0.0")

    def _train(self, version: str, kind: Any, n: int) -> Path:
        folder = self.models / self.task.name / version
        splits = (self.rows["train"][:n], self.rows["validation"], self.rows["test"])
        return train_classical(self.task, *splits, folder, version, kind=kind, as_backup=False)

    def combine(self, name: str, models: Path | None = None, **options: Any) -> Any:
        into = models if models is not None else self.models
        given = {"source": self.source, "models": into, "version": "1.0.0", "command": "typed", **options}
        return combine_models(name, self.members, self.task, **given)


@pytest.fixture(scope="module", params=[False, True], ids=["single", "multi"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), multi_label=request.param)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("single"), multi_label=False)


def test_an_ensemble_stands_alone_and_is_served(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = place.combine("mix", tmp_path / "models", method="pool")
    assert made.folder == tmp_path / "models" / "mix" / "1.0.0"
    manifest = read_manifest(made.folder)
    assert (manifest.kind, manifest.task, manifest.multi_label) == ("ensemble", "mix", place.task.multi_label)
    assert {"ensemble.json", "members/0/manifest.json", "members/1/manifest.json"} == set(manifest.files)
    names = {path.name for path in made.folder.iterdir()}
    assert {"policy.json", "metrics.json", "metrics.csv", "training_info.json", "labels.json", "README.md"} <= names
    info = json.loads((made.folder / "training_info.json").read_text(encoding="utf-8"))
    assert (info["method"], info["command"]) == ("pool", "typed")
    # Nothing but the ensemble's own folder is needed.
    (tmp_path / "elsewhere").mkdir()
    shutil.move(str(tmp_path / "models" / "mix"), tmp_path / "elsewhere" / "mix")
    set_current(tmp_path / "elsewhere", "mix", "1.0.0")
    monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path / "elsewhere"))
    classifier = create_classifier("mix")
    test = place.rows["test"]
    answers = classifier.classify_many(texts_of(test))
    assert {answer.source for answer in answers} == {"model"}
    said = [answer.final_label if place.task.multi_label else [answer.final_label] for answer in answers]
    right = float(np.mean([given == list(row.labels) for given, row in zip(said, test, strict=True)]))
    assert right == pytest.approx(made.figures["test"]["accuracy"], abs=1e-4)
    assert right > 0.7
    assert classifier.model_version == "mix/1.0.0"


def test_the_pool_trusts_the_better_member(place: Place, tmp_path: Path) -> None:
    made = place.combine("mix", tmp_path, method="pool")
    assert len(made.weights) == 2
    good, weak = made.weights.values()
    assert good > weak
    assert list(made.scores) == ["pool"]
    assert made.scores["pool"] > min(made.members.values())


def test_best_keeps_the_best_member_only(place: Place, tmp_path: Path) -> None:
    made = place.combine("one", tmp_path, method="best")
    scores = list(made.members.values())
    title = list(made.members)[int(np.argmax(scores))]
    assert made.weights == {title: 1.0}
    assert [path.name for path in (made.folder / "members").iterdir()] == ["0"]
    texts = texts_of(place.rows["test"])
    alone = load_predictor("tfidf", Spec(LABELS, place.members[int(np.argmax(scores))])).predict_proba(texts)
    again = load_predictor("ensemble", Spec(LABELS, made.folder)).predict_proba(texts)
    # The member was calibrated on the same rows: calibrated again it says about the same.
    np.testing.assert_allclose(again, alone, atol=0.08)


def test_auto_says_what_it_compared_and_takes_the_better(place: Place, tmp_path: Path) -> None:
    made = place.combine("mix", tmp_path)
    assert set(made.scores) == {"pool", "best"}
    assert made.method == ("pool" if made.scores["pool"] > made.scores["best"] else "best")
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert f"pool {made.scores['pool']:.4f}, best {made.scores['best']:.4f}" in card


def test_auto_takes_the_pool_where_members_know_different_things(tmp_path: Path) -> None:
    """Each member was shown two labels' words only; together they tell all three apart."""
    rows = {split: rows_of(400, seed, multi_label=False) for seed, split in enumerate(("train", "validation"))}
    (tmp_path / "moods").mkdir()
    for split in ("train", "validation", "test"):
        given = rows["validation" if split == "test" else split]
        lines = [json.dumps({"text": row.text, "labels": list(row.labels)}) for row in given]
        (tmp_path / "moods" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = make_task(multi_label=False)
    members = []
    for number, blind in enumerate(("happy", "sad")):
        blurred = [
            Example(" ".join("gone" if word in WORDS[blind] else word for word in row.text.split()), row.labels)
            for row in rows["train"]
        ]
        folder = tmp_path / f"member{number}" / "1.0.0"
        train_classical(task, blurred, rows["validation"], [], folder, "1.0.0", kind="tfidf_lr", as_backup=False)
        members.append(folder)
    made = combine_models("both", members, task, source=tmp_path, models=tmp_path / "models", version="1.0.0")
    assert made.method == "pool"
    assert made.scores["pool"] > made.scores["best"]
    assert len(made.members) == len(made.weights) == 2  # of the same task, version and folder's name


@pytest.mark.parametrize("name", ["members/1/manifest.json", "members/0/model.skops", SETUP])
def test_a_changed_member_is_refused(single: Place, tmp_path: Path, name: str) -> None:
    made = single.combine("mix", tmp_path, method="pool")
    path = made.folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="not the file that was trained"):
        load_predictor("ensemble", Spec(LABELS, made.folder))


def test_a_member_that_nobody_vouches_for_is_refused(single: Place, tmp_path: Path) -> None:
    made = single.combine("mix", tmp_path, method="pool")
    manifest = json.loads((made.folder / MANIFEST).read_text(encoding="utf-8"))
    del manifest["files"]["members/1/manifest.json"]
    (made.folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"does not vouch for 'members/1'"):
        load_predictor("ensemble", Spec(LABELS, made.folder))


def test_an_ensemble_can_be_a_member(single: Place, tmp_path: Path) -> None:
    inner = single.combine("inner", tmp_path, method="pool")
    outer = combine_models(
        "outer",
        [inner.folder, single.members[1]],
        single.task,
        source=single.source,
        models=tmp_path,
        version="1.0.0",
        method="pool",
    )
    values = load_predictor("ensemble", Spec(LABELS, outer.folder)).predict_proba(["glad smile", "tears"])
    np.testing.assert_allclose(values.sum(axis=1), 1)
    assert values.argmax(axis=1).tolist() == [0, 1]


def test_members_that_do_not_fit_are_refused(single: Place, tmp_path: Path) -> None:
    given: dict[str, Any] = {"source": single.source, "models": tmp_path, "version": "1.0.0"}
    with pytest.raises(UsageError, match="two different members"):
        combine_models("mix", [single.members[0], single.members[0]], single.task, **given)
    other = make_task(multi_label=False, labels=("happy", "plain", "sad"))
    with pytest.raises(UsageError, match=r"answers \['happy', 'sad', 'plain'\].*in its order"):
        combine_models("mix", single.members, other, **given)
    with pytest.raises(UsageError, match=r"several per text"):
        combine_models("mix", single.members, make_task(multi_label=True), **given)
    with pytest.raises(UsageError, match="there are: auto, pool, best"):
        combine_models("mix", single.members, single.task, method="vote", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_members_are_found_by_name_version_and_folder(single: Place) -> None:
    assert find_member("mood", single.models) == single.members[0]
    assert find_member("mood@1.1.0", single.models) == single.members[1]
    assert find_member(str(single.members[1]), single.models) == single.members[1]
    with pytest.raises(UsageError, match=r"no version '9\.0\.0'|no model for task 'mood'"):
        find_member("mood@9.0.0", single.models)
    assert task_of(single.members[0]).name == "mood"


def test_the_command(single: Place, tmp_path: Path) -> None:
    from healdag.cli import app

    models = tmp_path / "models"
    shutil.copytree(single.models, models)
    options = ["--source", str(single.source), "--models", str(models)]
    result = CliRunner().invoke(app, ["ensemble", "mix", "mood", "mood@1.1.0", "--method", "pool", *options])
    assert result.exit_code == 0, result.output
    assert "taken: pool" in result.stdout
    assert "on test" in result.stdout
    assert (models / "mix" / "current").read_text(encoding="utf-8").strip() == "1.0.0"
    wrong = CliRunner().invoke(app, ["ensemble", "mix", "mood", "mood@1.1.0", "--method", "vote", *options])
    assert wrong.exit_code == 2
    assert "auto, pool, best" in wrong.stderr
    assert CliRunner().invoke(app, ["ensemble", "../mix", "mood", "mood@1.1.0", *options]).exit_code == 2


# A model with its backups.


def test_a_multi_label_model_gets_an_ensemble_of_any_backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, multi_label=True)
    folder = place.members[1]
    train_ensemble(place.task, place.source, folder, "1.1.0", None)
    assert not (folder / "backups").exists()
    splits = (place.rows["train"], place.rows["validation"], place.rows["test"])
    train_classical(place.task, *splits, folder, "1.1.0", kind="tfidf_lr", as_backup=True)
    assert backups_in(folder) == ["tfidf_lr"]
    train_ensemble(place.task, place.source, folder, "1.1.0", None)
    pool = Pool.model_validate_json((folder / "backups" / "ensemble" / SETUP).read_text(encoding="utf-8"))
    assert (pool.members, pool.multi_label, pool.irony) == (("model", "tfidf_lr"), True, None)
    policy = read_policy(folder)
    assert list(policy.backups) == ["tfidf_lr", "ensemble"]
    assert policy.set_calibration is not None
    set_current(place.models, "moods", "1.1.0")
    monkeypatch.setenv("HEALDAG_MODELS", str(place.models))
    answer = create_classifier("moods", threshold=1.0).classify("glad gloomy tears")
    assert [attempt.by for attempt in answer.attempts] == ["model", "tfidf_lr", "ensemble"]
    assert answer.final_label == ["happy", "sad"]


def multi_evidence(n: int = 600) -> Evidence:
    generator = np.random.default_rng(0)
    truth = (generator.random((n, 2)) < [0.5, 0.1]).astype(np.int64)
    seen = np.where(generator.random((n, 2)) < 0.85, truth, 1 - truth)
    noise = generator.random((n, 2)) * 0.8 + 0.1
    rows = np.ones(n, dtype=bool)
    return Evidence({"model": noise, "second": seen * 0.6 + 0.2}, None, truth, rows, ~rows)


def test_a_multi_label_pool_adds_up_log_odds() -> None:
    evidence = multi_evidence()
    pool = fit_pool(evidence)
    assert pool.weights[1] > 5 * abs(pool.weights[0])
    sum_of = pool.weights[0] * logits_of(evidence.members["model"], multi_label=True)
    sum_of = sum_of + pool.weights[1] * logits_of(evidence.members["second"], multi_label=True) + np.array(pool.bias)
    np.testing.assert_allclose(evidence.combine(pool), sigmoid(sum_of), atol=1e-9)
    # The rare label is answered as often as it is right.
    np.testing.assert_allclose(evidence.combine(pool).mean(axis=0), evidence.truth.mean(axis=0), atol=0.02)
    crossed = cross_validated(evidence, seed=0)
    assert crossed.shape == (600, 2)
    assert float(((crossed >= 0.5) == evidence.truth).mean()) > 0.8


def test_the_pool_is_at_the_minimum_of_the_log_loss() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 500)
    members = {name: generator.dirichlet([1, 1, 1], 500) * 0.5 + 0.5 * np.eye(3)[truth] for name in ("a", "b")}
    rows = np.ones(500, dtype=bool)
    evidence = Evidence(members, None, truth, rows, ~rows)
    pool = fit_pool(evidence)
    least = evidence.loss(evidence.combine(pool), rows.astype(float))
    for change in (-0.05, 0.05):
        moved = pool.model_copy(update={"weights": (pool.weights[0] + change, pool.weights[1])})
        assert evidence.loss(evidence.combine(moved), rows.astype(float)) > least - 1e-5


def test_folds_hold_every_row_once_and_every_label() -> None:
    evidence = multi_evidence(205)
    folds = folds_of(evidence, seed=0)
    assert np.bincount(folds).tolist() in ([21] * 5 + [20] * 5,)
    rare = [int(evidence.truth[folds == fold, 1].sum()) for fold in range(10)]
    assert max(rare) - min(rare) <= 1
    few = evidence.at(np.arange(205) < 3)
    assert sorted(folds_of(few, seed=0).tolist()) == [0, 1, 2]
    with pytest.raises(UsageError, match="there are 1"):
        folds_of(evidence.at(np.arange(205) < 1), seed=0)


def test_a_multi_label_policy_counts_whole_lists() -> None:
    n = 200
    truth = np.tile([[1, 0], [0, 1]], (n // 2, 1))
    half = np.where(np.arange(n)[:, None] % 4 < 2, truth * 0.9 + 0.05, [[0.6, 0.6]])
    perfect = truth * 0.98 + 0.01
    answers = {"model": half, "tfidf": half, "ensemble": perfect}
    policy = fit_policy(Policy(), answers, truth)
    assert (policy.backups["ensemble"].fixed, policy.backups["ensemble"].broke) == (n // 2, 0)
    assert policy.backups["ensemble"].rule == "always"
    assert policy.backups["tfidf"].rule == "never"
    assert policy.thresholds is None
    fitted = fit_policy(Policy(), answers, truth, decision="macro_f1")
    assert fitted.thresholds is not None
    assert len(fitted.thresholds) == 2
    harmful = fit_policy(Policy(), {"model": perfect, "ensemble": half}, truth)
    assert harmful.backups["ensemble"].rule == "never"


def test_a_policy_for_macro_f1_answers_the_rare_class_more_often() -> None:
    generator = np.random.default_rng(0)
    truth = generator.choice(3, 3000, p=[0.75, 0.2, 0.05])
    shares = np.array([0.75, 0.2, 0.05])
    scores = np.log(shares) + 1.3 * np.eye(3)[truth] + generator.normal(size=(3000, 3)) * 0.8
    values = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    policy = fit_policy(Policy(), {"model": values, "ensemble": values}, truth, decision="macro_f1")
    assert policy.thresholds is not None
    weighted = (values / np.array(policy.thresholds)).argmax(axis=1)
    assert macro_f1(truth, weighted, 3) > macro_f1(truth, values.argmax(axis=1), 3)


def test_targets_of_rows_without_labels_are_zero() -> None:
    assert targets([Example("a", ())], LABELS, multi_label=True).tolist() == [[0, 0, 0]]


class TestIronyIsAskedForWhereItMatters:
    IRONY = Irony(offset=-4.0, slope=2.0, meant=((0.1, 0.9), (0.5, 0.5)), member="irony", weights=(0.0, 1.0))

    def ensemble(self, **members: FakePredictor) -> Ensemble:
        pool = Pool(members=("model",), weights=(1.0,), bias=(0.0, 0.0), irony=self.IRONY)
        detector = FakePredictor(("sarcastic", "not_sarcastic"))
        manifest = Manifest(kind="ensemble", task="t", version="1", labels=("a", "b"), prior=(0.5, 0.5), max_length=8)
        return Ensemble(pool, manifest, {"model": FakePredictor(("a", "b")), "sarcasm": detector, **members})

    def test_who_matters(self) -> None:
        model = self.ensemble(irony=FakePredictor(("a", "b")))
        rows = [[0.1], [0.95], None]
        assert model.matters("irony", rows) == [False, True, False]
        assert model.matters("model", rows) == [True, True, True]

    def test_without_the_member_the_table_says_what_is_meant(self) -> None:
        model = self.ensemble(irony=FakePredictor(("a", "b")))
        given = {"model": [[0.8, 0.2]] * 2, "sarcasm": [[0.1]] * 2, "irony": [None, [0.0, 1.0]]}
        spared, asked = model.combine(given)
        assert np.abs(spared - asked).max() < LEAST_IRONY
        ironic = self.IRONY.probability(np.array([0.1]))
        np.testing.assert_allclose(spared, (1 - ironic) * [0.8, 0.2] + ironic * [0.18, 0.82], atol=1e-6)

    def test_a_graph_asks_it_about_ironic_texts_only(self) -> None:
        irony = FakePredictor(("a", "b"), default={"a": 0.1, "b": 0.9})
        ladder = (
            Rung("irony", irony, rule="never"),
            Rung("ensemble", self.ensemble(irony=irony), rule="always"),
        )
        node = Backup(ladder, Decider(("a", "b")), 0.5)
        primary = [{"by": "model", "probabilities": [0.6, 0.4], "ms": 0.0, "error": None}] * 3
        primary.append({**primary[0], "probabilities": None, "error": "down"})
        state = {
            "clean": ["plain", "ironic", "sure", "nobody"],
            "reasons": [["low_confidence"], ["sarcasm"], [], ["model_error"]],
            "sarcasm": [0.1, 0.95, 0.1, 0.1],
            "primary": primary,
        }
        found = node(state)["backup"]
        # Where the primary failed, whoever says anything is welcome.
        assert irony.calls == [["ironic", "nobody"]]
        assert [attempt["by"] for attempt in found[0]["attempts"]] == ["ensemble"]
        assert [attempt["by"] for attempt in found[1]["attempts"]] == ["irony", "ensemble"]
        assert found[0]["probabilities"][0] == pytest.approx(0.6, abs=0.01)
        assert found[1]["probabilities"][1] > 0.6
        assert found[2] is None
