"""The fitted confidence, error budgets and their certificate, on a small real model of a noisy task."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import read_certificate, read_confidence
from healdag.config import TrainingSettings
from healdag.errors import ArtifactError, ConfigError, UsageError
from healdag.nodes.label_sets import LabelSets
from healdag.training import Task, task_from_file, train
from healdag.training.data import certification_rows, load_split
from healdag.training.datasets import Example
from healdag.trust.certify import Asked, certify
from healdag.trust.confidence import fit_confidence
from healdag.trust.fit import finish, fit_graph, measure_graph
from healdag.trust.observe import observe_rows

from .tickets import COLUMNS, LABELS, SURE, VAGUE, invoke, run, tickets, write


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a fitted confidence, and a certificate on other rows."""
    place = tmp_path_factory.mktemp("trust")
    data = write(place / "tickets.csv", tickets(3000, seed=1))
    run("train", "tickets", "--data", data, *COLUMNS, "--method", "tfidf_lr", "--models", place / "models")
    folder = place / "models" / "tickets" / "1.0.0"
    fresh = write(place / "fresh.csv", tickets(1500, seed=2))
    shown = run(
        "certify", folder, "--data", fresh, *COLUMNS, "--max-error", "0.05", "--max-error", "0.001", "--by-label"
    )
    assert "none holds" in shown  # no 1,500 rows can show one in a thousand
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "tickets" / "1.0.0"))


def test_the_confidence_is_that_of_the_final_answer_and_calibrated(trained: Path) -> None:
    model = read_confidence(trained)
    assert model is not None
    assert model.n > 100
    texts, truth = zip(*tickets(1500, seed=3), strict=True)
    answers = create_classifier(str(trained)).classify_many(texts)
    sure = np.array([answer.confidence for answer in answers])
    right = np.array([answer.final_label == label for answer, label in zip(answers, truth, strict=True)])
    assert abs(sure.mean() - right.mean()) < 0.05
    assert right[sure > 0.9].mean() > right[sure < 0.7].mean()


def test_a_budget_is_kept_on_new_texts_and_the_rest_is_left_unanswered(trained: Path) -> None:
    texts, truth = zip(*tickets(4000, seed=4), strict=True)
    answers = create_classifier(str(trained), max_error=0.05).classify_many(texts)
    given = [(a.final_label, t) for a, t in zip(answers, truth, strict=True) if a.source != "abstain"]
    refused = [a for a in answers if a.source == "abstain"]
    assert 0.3 < len(given) / len(texts) < 1
    assert np.mean([label != right for label, right in given]) <= 0.05
    assert all(a.final_label is None and a.confidence is None and "budget" in a.reasons for a in refused)
    assert all(a.probabilities for a in refused)
    # A wider budget or less certainty is promised by the same certificate; a narrower one is not.
    assert create_classifier(str(trained), max_error=0.2, certainty=0.9).classify(texts[0]).text == texts[0]
    with pytest.raises(
        ArtifactError, match=r"no certificate for max_error=0\.01.*there are: 0\.05 with certainty 0\.95"
    ):
        create_classifier(str(trained), max_error=0.01)
    with pytest.raises(ArtifactError, match=r"certainty=0\.99"):
        create_classifier(str(trained), max_error=0.05, certainty=0.99)


def test_budgets_by_label(trained: Path) -> None:
    texts, truth = zip(*tickets(3000, seed=5), strict=True)
    answers = create_classifier(str(trained), max_error={"bakery": 0.05}).classify_many(texts)
    bakery = [t for a, t in zip(answers, truth, strict=True) if a.final_label == "bakery"]
    assert np.mean([label != "bakery" for label in bakery]) <= 0.05
    # The other label has no budget: it is always given.
    assert all(a.source == "abstain" for a in answers if a.final_label != "workshop" and a.final_label != "bakery")
    assert not any(
        a.source == "abstain" and max(a.probabilities, key=a.probabilities.get) == "workshop" for a in answers
    )
    with pytest.raises(ConfigError, match=r"max_error names 'garage'; the labels are: bakery, workshop"):
        create_classifier(str(trained), max_error={"garage": 0.05})


def test_what_breaks_the_budget_waits_for_a_person_where_one_is_there(trained: Path) -> None:
    classifier = create_classifier(str(trained), max_error=0.05, human_review=True)
    vague, sure = " ".join(VAGUE[:8]), " ".join([*SURE["bakery"][:2], *VAGUE[:6]])
    pending, given = classifier.classify_many([vague, sure])
    assert (pending.source, given.source) == ("pending", "model")
    assert "budget" in pending.reasons
    answered = classifier.answer(pending.decision_id, "workshop")
    assert (answered.final_label, answered.source, answered.confidence) == ("workshop", "human", 1.0)


def test_the_certificate_says_what_it_rests_on(trained: Path) -> None:
    certificate = read_certificate(trained)
    assert certificate is not None
    assert (certificate.task, certificate.version) == ("tickets", "1.0.0")
    assert 1400 < certificate.n <= 1500  # one or two were trained on
    assert certificate.data == "fresh.csv"
    assert {"manifest.json", "policy.json", "confidence.json"} <= set(certificate.covers)
    budget = certificate.budget(0.05, 0.95)
    assert budget is not None
    assert budget.bound <= 0.05
    assert budget.errors / budget.accepted < budget.bound
    assert {b.label for b in certificate.budgets} == {None, *LABELS}


@pytest.mark.parametrize("name", ["manifest.json", "policy.json", "confidence.json"])
def test_one_byte_more_in_what_it_covers_and_it_is_refused(copied: Path, name: str) -> None:
    with (copied / name).open("a", encoding="utf-8") as stream:
        stream.write(" ")
    with pytest.raises(ArtifactError, match=rf"covers other files than there are now; changed: {name}.*certify"):
        create_classifier(str(copied), max_error=0.05)
    assert create_classifier(str(copied)).classify("bread and butter").final_label == "bakery"


def test_a_changed_or_missing_backup_is_refused(copied: Path) -> None:
    (copied / "backups" / "ensemble" / "manifest.json").unlink()
    with pytest.raises(ArtifactError):
        create_classifier(str(copied), max_error=0.05)


def test_a_changed_weight_is_refused(copied: Path) -> None:
    weights = next(copied.glob("*.skops"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="not the file that was trained"):
        create_classifier(str(copied), max_error=0.05)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"enable_backup": False}, "enable_backup"), ({"threshold": 0.8}, "threshold"), ({"backups": ()}, "backups")],
)
def test_a_graph_other_than_the_certified_one_gets_no_budget(trained: Path, arguments: dict, name: str) -> None:
    with pytest.raises(ArtifactError, match=rf"promised for the graph that was certified; {name} makes it another"):
        create_classifier(str(trained), max_error=0.05, **arguments)
    # Without a budget it answers, by the answer's own probability.
    assert create_classifier(str(trained), **arguments).classify("bread and butter").confidence is not None


def test_no_certificate_no_budget(copied: Path) -> None:
    (copied / "certificate.json").unlink()
    with pytest.raises(ArtifactError, match=r"needs a certificate.*has none.*healdag certify"):
        create_classifier(str(copied), max_error=0.05)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_a_budget_is_a_share(trained: Path, value: float) -> None:
    with pytest.raises(ConfigError, match="max_error"):
        create_classifier(str(trained), max_error=value)
    with pytest.raises(UsageError, match="between 0 and 1"):
        Asked((value,))


def test_of_the_file_that_it_was_trained_on_the_test_part_certifies(
    copied: Path, trained: Path, tmp_path: Path
) -> None:
    data = trained.parents[2] / "tickets.csv"
    made = json.loads(run("certify", copied, "--data", data, "--max-error", "0.2", "--json"))
    assert 200 < made["n"] <= 300
    training = write(tmp_path / "seen.csv", tickets(3000, seed=1)[:50] + tickets(20, seed=9))
    shown = invoke("certify", copied, "--data", training, *COLUMNS)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert "texts left out: the model was trained or fitted on them" in shown.stderr
    assert (read_certificate(copied) or made).n < 40


def test_without_a_fitted_confidence_there_is_nothing_to_certify(copied: Path) -> None:
    (copied / "confidence.json").unlink()
    with pytest.raises(UsageError, match=r"no confidence\.json"):
        certify(copied, [Example("bread", ("bakery",))], Asked((0.1,)), "here")


def test_a_confidence_model_needs_rows_and_errors() -> None:
    features = [{"answer": float(i)} for i in range(100)]
    with pytest.raises(UsageError, match=r"100 held-out answers, 0 of the rarer"):
        fit_confidence(features, np.ones(100, dtype=bool), (), 13)


def test_a_confidence_model_learns_what_tells_errors_apart() -> None:
    generator = np.random.default_rng(3)
    sure, agrees = generator.normal(size=600), generator.integers(0, 2, 600)
    right = generator.random(600) < 1 / (1 + np.exp(-(sure + 2 * agrees)))
    features = [{"answer": float(s), "agrees": float(a)} for s, a in zip(sure, agrees, strict=True)]
    model, crossed = fit_confidence(features, right, ("tfidf",), 13)
    weights = dict(zip(model.features, model.coefficients, strict=True))
    assert weights["agrees"] == pytest.approx(2, abs=0.7)
    assert weights["answer"] == pytest.approx(1, abs=0.4)
    assert model.probability({"answer": 2.0, "agrees": 1.0}) > 0.9 > model.probability({"answer": -2.0})
    assert abs(crossed.mean() - right.mean()) < 0.02
    assert json.loads(model.model_dump_json())["n"] == 600


def test_a_confidence_that_nothing_betters_stays_the_answer_s_own() -> None:
    generator = np.random.default_rng(4)
    sure = generator.normal(1, 1.5, size=800)
    right = generator.random(800) < 1 / (1 + np.exp(-sure))
    features = [{"answer": float(s), "length": float(n)} for s, n in zip(sure, generator.random(800), strict=True)]
    model, crossed = fit_confidence(features, right, (), 13)
    assert model.features == ()
    assert crossed == pytest.approx(1 / (1 + np.exp(-sure)))
    overconfident = [{"answer": 3 * row["answer"]} for row in features]
    assert fit_confidence(overconfident, right, (), 13)[0].features == ("answer",)


def test_label_sets_cover_the_right_label_of_every_kind(trained: Path) -> None:
    pytest.importorskip("crepes")
    texts, truth = zip(*tickets(4000, seed=6), strict=True)
    answers = create_classifier(str(trained), label_set=0.9).classify_many(texts)
    covered = np.array([label in (a.label_set or ()) for a, label in zip(answers, truth, strict=True)])
    # Over the draw of 1,500 calibration rows the coverage varies by about one point.
    assert 0.88 < covered.mean() < 0.94
    for label in LABELS:
        assert 0.87 < covered[np.array(truth) == label].mean() < 0.95
    sizes = [len(a.label_set or ()) for a in answers]
    assert set(sizes) >= {1, 2}
    assert all(
        (a.label_set or (a.final_label,))[0] == max(a.probabilities, key=lambda k: a.probabilities[k]) for a in answers
    )
    assert create_classifier(str(trained)).classify(texts[0]).label_set is None
    with pytest.raises(UsageError, match=r"label_set=0\.9999 needs 9999 held-out texts of each label"):
        create_classifier(str(trained), label_set=0.9999)


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.95])
def test_label_sets_by_class_on_many_draws(coverage: float) -> None:
    """Marginal and per-class coverage over 40 draws of a skewed three-class problem, one class much harder."""
    pytest.importorskip("crepes")
    generator = np.random.default_rng(11)
    labels, hard = ("a", "b", "c"), np.array([3.0, 1.5, 0.3])

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        truth = generator.choice(3, n, p=[0.7, 0.2, 0.1])
        logits = generator.normal(size=(n, 3)) + hard[truth][:, None] * np.eye(3)[truth]
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), truth

    hits: list[np.ndarray] = []
    kinds: list[np.ndarray] = []
    for _ in range(40):
        values, truth = draw(400)
        scores = {name: (1 - values[truth == k, k]).tolist() for k, name in enumerate(labels)}
        fresh, right = draw(400)
        sets = LabelSets(scores, labels, coverage)(fresh.tolist())
        hits.append(np.array([labels[k] in one for k, one in zip(right, sets, strict=True)]))
        kinds.append(right)
    covered, kind = np.concatenate(hits), np.concatenate(kinds)
    assert covered.mean() == pytest.approx(coverage, abs=0.02)
    for k in range(3):
        assert covered[kind == k].mean() == pytest.approx(coverage, abs=0.035)


def test_the_policy_is_explained_in_words_and_numbers(trained: Path) -> None:
    words = create_classifier(str(trained), max_error=0.05).explain_policy()
    assert "tickets/1.0.0: an answer of the primary with a probability below" in words
    assert "Backup 'ensemble' " in words
    assert "On 300 held-out rows it would make" in words
    assert "On 300 held-out rows nothing else told right from wrong answers better." in words
    assert "that keeps the certified budget" in words
    alone = create_classifier(str(trained), enable_backup=False).explain_policy()
    assert "There are no backups" in alone
    assert "its own calibrated probability" in alone
    assert "no error budget" in alone


def task_with_rows(folder: Path, **changes: object) -> Task:
    """A task over JSON lines in ``folder/set``; two texts of validation stand in training, too."""
    made = {"train": tickets(300, seed=20), "validation": tickets(400, seed=21), "test": tickets(50, seed=22)}
    made["train"] += made["validation"][:2]
    (folder / "set").mkdir()
    for split, content in made.items():
        lines = [json.dumps({"text": text, "label": label}) for text, label in content]
        (folder / "set" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    references = {split: [{"set": "set"}] for split in made}
    described = {"name": "tickets", "description": "", "labels": LABELS, "licence": "none", **references, **changes}
    return Task.model_validate(described)


def test_a_backup_spares_the_certificates_rows_and_is_announced_with_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_with_rows(tmp_path, certify=0.4, backups={"second": "tickets_second"})
    backup = task.model_copy(update={"certify": 0.0, "backups": {}, "training": TrainingSettings(epochs=7)})
    seen: list[Any] = []

    def trained(*arguments: Any, validation: Any, announce: Any, **named: Any) -> None:
        announce("the plan")
        seen.append({row.text for row in validation})
        raise KeyboardInterrupt

    monkeypatch.setattr("healdag.training.pipeline.load_task", {"tickets_second": backup}.__getitem__)
    monkeypatch.setattr("healdag.training.pipeline.resolve_base", Path)
    monkeypatch.setattr("healdag.training.finetuning.finetune.fine_tune", trained)
    (tmp_path / "models" / "tickets" / "1.0.0").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        train(
            task,
            source=tmp_path,
            models=tmp_path / "models",
            version="1.0.0",
            steps=("second",),
            announce=lambda whose, plan: seen.append((whose.training.epochs, plan)),
        )
    assert seen[0] == (7, "the plan")
    assert not seen[1] & {row.text for row in certification_rows(task, tmp_path)}


def test_rows_for_the_certificate_are_set_aside_from_everything_else(tmp_path: Path) -> None:
    task = task_with_rows(tmp_path, certify=0.4)
    aside = {row.text for row in certification_rows(task, tmp_path)}
    validation = {row.text for row in load_split(task, "validation", tmp_path)}
    training = {row.text for row in load_split(task, "train", tmp_path)}
    assert 0.3 < len(aside) / (len(aside) + len(validation)) < 0.5
    assert not aside & validation
    assert not (aside | validation) & training
    # Which rows they are depends on the text alone, not on the split's other rows.
    assert {row.text for row in certification_rows(task, tmp_path)} == aside
    everything = task.model_copy(update={"certify": 0.0})
    assert {row.text for row in load_split(everything, "validation", tmp_path)} == aside | validation
    with pytest.raises(UsageError, match=r"sets no validation rows aside.*--data FILE"):
        certification_rows(everything, tmp_path)


def test_training_a_task_that_sets_rows_aside_leaves_a_certificate(tmp_path: Path) -> None:
    task = task_with_rows(tmp_path, certify=0.5, training={"method": "tfidf_lr"})
    folder = train(
        task, source=tmp_path, models=tmp_path / "models", version="1.0.0", steps=("model", "tfidf", "ensemble")
    )
    finish(task, tmp_path, folder)
    certificate = read_certificate(folder)
    assert certificate is not None
    assert certificate.n == len(certification_rows(task, tmp_path))
    assert "set aside" in certificate.data
    assert json.loads((folder / "graph_metrics.json").read_text(encoding="utf-8"))["test"]["n"] == 50
    assert create_classifier(str(folder), max_error=0.2).classify("bread butter").source in {
        "model",
        "backup",
        "abstain",
    }


@pytest.mark.parametrize(
    ("settings", "names"),
    [("threshold: 0.9, backups: []", "backups, threshold"), ("max_error: 0.05", "max_error")],
)
def test_a_graph_that_the_environment_changes_is_neither_fitted_nor_certified(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, names: str
) -> None:
    data = write(tmp_path / "tickets.csv", tickets(300, seed=30))
    task = task_from_file(data, text_column="body", label_column="tag", name="tickets")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    (tmp_path / "config.yaml").write_text(f"dag: {{{settings}}}", encoding="utf-8")
    monkeypatch.setenv("HEALDAG_CONFIG", str(tmp_path / "config.yaml"))
    message = f"HEALDAG_CONFIG's file sets {names}, which makes another graph"
    with pytest.raises(UsageError, match=message):
        fit_graph(task, None, copied)
    with pytest.raises(UsageError, match=message):
        finish(task, None, copied)
    with pytest.raises(UsageError, match=message):
        certify(copied, [Example("bread", ("bakery",))], Asked((0.1,)), "here")
    for command in (("train", "tickets"), ("calibrate", copied)):
        refused = invoke(*command, "--data", data, *COLUMNS, "--models", tmp_path / "models")
        assert refused.exit_code == 2, refused.output
        assert message in refused.stderr
    assert not (tmp_path / "models").exists()
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_what_else_the_environment_sets_does_not_matter(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("training: {epochs: 1}\ndag: {human_review: true}", encoding="utf-8")
    monkeypatch.setenv("HEALDAG_CONFIG", str(tmp_path / "config.yaml"))
    assert certify(copied, [Example("bread", ("bakery",))], Asked((0.1,)), "here").n == 1


def test_the_figures_on_test_rows_are_those_of_the_graph_as_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_with_rows(tmp_path, training={"method": "tfidf_lr"})
    steps = ("model", "tfidf", "ensemble")
    folder = train(task, source=tmp_path, models=tmp_path / "models", version="1.0.0", steps=steps)
    loaded: list[str] = []

    def create(model: str, **options: Any) -> Any:
        loaded.append(model)
        return create_classifier(model, **options)

    monkeypatch.setattr("healdag.trust.fit.create_classifier", create)
    figures = fit_graph(task, tmp_path, folder)
    assert loaded == [str(folder)]
    served = create_classifier(str(folder))
    assert served.nodes.trust.model is not None
    seen = observe_rows(served, load_split(task, "test", tmp_path))
    assert figures["test"] == measure_graph(seen, seen.confidence)
    monkeypatch.setattr(type(served.nodes.trust.model), "probability", lambda *_: 0.5)
    assert figures["test"] != measure_graph(seen, observe_rows(served, load_split(task, "test", tmp_path)).confidence)
