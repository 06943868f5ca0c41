"""Training on a tiny base: rows, loss, calibration, artefacts, and that they are served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import replacing
from healdag.errors import ConfigError, UsageError
from healdag.training import load_task
from healdag.training.artifact_writer import set_current
from healdag.training.data import data_hash, load_split
from healdag.training.datasets import Example, read_examples
from healdag.training.ensembles.stack import Evidence, cross_validated, fit_policy, fit_pool
from healdag.training.evaluation.calibration import fit_temperature
from healdag.training.evaluation.metrics import (
    best_f1_thresholds,
    evaluate,
    expected_calibration_error,
)

MOODS = {"happy": ("this text is happy", "joy joy happy"), "sad": ("this is sad", "sad sad text"), "plain": ("text .",)}


def write_source(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> Path:
    (folder / "moods").mkdir(parents=True)
    for split, content in rows.items():
        lines = "\n".join(json.dumps(row) for row in content)
        (folder / "moods" / f"{split}.jsonl").write_text(lines + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def rows(start: int, n: int) -> list[dict[str, Any]]:
        texts = ((label, text, i) for i in range(start, start + n) for label, group in MOODS.items() for text in group)
        # Numbers in letters: distinct texts, and read by the tiny tokenizer.
        return [{"text": f"{t} {chr(97 + i % 26)}{chr(97 + i // 26)}", "label": lab} for lab, t, i in texts]

    split = {"train": rows(0, 30), "validation": rows(30, 12), "test": rows(50, 8)}
    return write_source(tmp_path_factory.mktemp("source"), split)


@pytest.fixture
def task_file(tmp_path: Path, tiny_base: Path) -> Path:
    path = tmp_path / "mood.toml"
    path.write_text(
        f"""
name = "mood"
description = "Moods"
labels = ["happy", "sad", "plain"]
licence = "CC0"
[[train]]
set = "moods"
[[validation]]
set = "moods"
[[test]]
set = "moods"
[training]
epochs = 10
batch_size = 16
learning_rate = 2e-2
warmup_steps = 2
auxiliary_weight = 0
average_decay = 0.5
[lora]
base = "{tiny_base}"
r = 4
alpha = 8
max_length = 32
""",
        encoding="utf-8",
    )
    return path


def test_a_task_is_trained_calibrated_and_served(
    task_file: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from healdag.training import train

    models = tmp_path / "models"
    folder = train(
        load_task(str(task_file)), source=source, models=models, version="1.0.0", command="healdag train mood"
    )
    expected = {"adapter_model.safetensors", "labels.json", "manifest.json", "metrics.json", "metrics.csv"}
    expected |= {
        "policy.json",
        "confusion_matrix.png",
        "training_curves.png",
        "training_info.json",
        "calibration.json",
        "README.md",
    }
    assert expected <= {path.name for path in folder.iterdir()}
    info = json.loads((folder / "training_info.json").read_text(encoding="utf-8"))
    assert info["command"] == "healdag train mood"
    assert set(info["data_sha256"]) >= {"train", "validation"}
    assert json.loads((models / "MODEL_VERSION.json").read_text(encoding="utf-8")) == {"mood": "1.0.0"}
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] > 0.6  # chance: 0.4

    monkeypatch.setenv("HEALDAG_MODELS", str(models))
    assert create_classifier("mood").model_version == "mood/1.0.0"
    # What is served is what was measured.
    rows = load_split(load_task(str(task_file)), "test", source)
    served = create_classifier("mood", enable_backup=False).classify_many([row.text for row in rows])
    right = [answer.final_label == row.label for answer, row in zip(served, rows, strict=True)]
    assert sum(right) / len(right) == pytest.approx(metrics["test"]["accuracy"], abs=1e-3)
    asked = create_classifier("mood", threshold=1.0).classify_many([row.text for row in rows])
    assert max(([attempt.by for attempt in a.attempts] for a in asked), key=len) == ["model", "tfidf", "ensemble"]


def test_no_held_out_text_is_trained_on(tmp_path: Path, task_file: Path) -> None:  # fault 10
    rows = {
        "train": [{"text": "Shared text!!!!!", "label": "sad"}, {"text": "only train", "label": "happy"}],
        "validation": [{"text": "in validation", "label": "sad"}],
        "test": [{"text": "shared  text!!!!", "label": "sad"}, {"text": "Shared text!!!", "label": "sad"}],
    }
    source = write_source(tmp_path / "data", rows)
    task = load_task(str(task_file))
    assert [row.text for row in load_split(task, "train", source)] == ["only train"]
    assert len(load_split(task, "test", source)) == 2


def test_the_shipped_tasks_train_on_no_text_that_they_are_tested_on() -> None:
    from healdag.training.datasets.authored import FOLDER, rows

    if not FOLDER.is_dir():
        pytest.skip("the authored texts come with the checkout")
    split = {name: {row["text"] for row in rows(name, None)} for name in ("train", "validation", "test")}
    assert all(split.values())
    assert not split["train"] & (split["validation"] | split["test"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2: not JSON"),
        ('["a"]', "line 2: not a JSON object"),
        ('{"text": "a"}', "needs 'text' and 'label'"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "train.jsonl").write_text('{"text": "a", "label": "b"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_examples("s", "train", tmp_path)


def test_a_missing_source_or_task_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--source"):
        read_examples("nowhere", "train", None)
    with pytest.raises(UsageError, match=r"no train\.jsonl"):
        read_examples("nowhere", "train", tmp_path)
    with pytest.raises(ConfigError, match=r"emotion, .*sarcasm"):
        load_task("emotoin")


def test_calibration_recovers_a_known_temperature_and_bias() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 3)) * 2
    shifted = logits / 2.0 + np.array([0.5, 0.0, -0.5])
    shares = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) > generator.random((20_000, 1))).argmax(axis=1)
    found = fit_temperature(logits, truth)
    assert found.temperature == pytest.approx(2.0, rel=0.05)
    assert found.bias[0] - found.bias[2] == pytest.approx(1.0, abs=0.1)
    assert expected_calibration_error(shares, truth) < 0.02
    assert expected_calibration_error(np.tile([1.0, 0.0, 0.0], (20_000, 1)), truth) > 0.3


def test_metrics_agree_with_a_hand_count() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    figures = evaluate(probabilities, np.array([0, 1, 1]), ["a", "b"])
    assert figures["accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["brier"] == pytest.approx((0.02 + 1.28 + 0.18) / 3, abs=1e-4)
    assert evaluate(probabilities, np.array([0, 1, 1]), ["a", "b"], thresholds=(0.85, 0.15))["accuracy"] == 1.0
    assert 0.31 <= best_f1_thresholds(probabilities, np.array([0, 0, 1]))[0] <= 0.8


def test_the_policy_counts_what_a_backup_fixes_and_breaks() -> None:
    from healdag.artifacts import Policy

    truth = np.array([0] * 50 + [1] * 50)
    primary = np.where(np.arange(100)[:, None] % 2 == 0, [0.6, 0.4], [0.4, 0.6])
    perfect = np.eye(2)[truth] * 0.98 + 0.01
    hopeless = np.eye(2)[1 - truth] * 0.98 + 0.01
    policy = fit_policy(Policy(), {"model": primary, "tfidf": hopeless, "ensemble": perfect}, truth)
    assert policy.threshold > 0.6
    assert (policy.backups["ensemble"].fixed, policy.backups["ensemble"].broke) == (50, 0)
    assert policy.backups["ensemble"].rule == "always"
    assert policy.backups["tfidf"].rule == "never"
    harmful = fit_policy(Policy(), {"model": primary, "tfidf": perfect, "ensemble": hopeless}, truth)
    assert harmful.backups["ensemble"].rule == "never"


def evidence_of(members: dict[str, Any], truth: Any, sarcasm: Any = None, sarcastic: Any = None) -> Evidence:
    n = len(truth)
    return Evidence(
        members, sarcasm, truth, np.ones(n, dtype=bool), np.zeros(n, bool) if sarcastic is None else sarcastic
    )


def test_the_pool_learns_whom_to_trust_and_what_irony_does() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 4000)
    noise = generator.dirichlet([1, 1], 4000)
    good = np.where(generator.random(4000)[:, None] < 0.9, np.eye(2)[truth], np.eye(2)[1 - truth]) * 0.8 + 0.1
    pool = fit_pool(evidence_of({"model": noise, "second": good}, truth))
    assert pool.weights[1] > 5 * abs(pool.weights[0])
    assert pool.irony is None
    # Irony: what is said is the opposite of what is meant, and the detector is right nine times in ten.
    ironic = generator.random(4000) < 0.5
    said = np.where(ironic[:, None], good[:, ::-1], good)
    detector = np.where(generator.random(4000) < 0.9, ironic, ~ironic) * 0.8 + 0.1
    evidence = evidence_of({"model": said}, truth, detector, ironic)
    turned = fit_pool(evidence)
    assert turned.irony is not None
    assert turned.irony.meant[0][1] > 0.7
    right = evidence.combine(turned).argmax(axis=1) == truth
    assert float(right.mean()) > 0.75 > 0.55 > float((said.argmax(axis=1) == truth).mean())


def test_the_pool_learns_how_far_a_model_of_irony_knows_what_is_meant() -> None:
    generator = np.random.default_rng(0)
    n = 4000
    truth = generator.integers(0, 2, n)
    ironic = generator.random(n) < 0.5
    # What an ironic text says is chance; the model of irony is right nine times in ten on those texts.
    said = np.eye(2)[np.where(ironic, generator.integers(0, 2, n), truth)] * 0.8 + 0.1
    knows = np.eye(2)[np.where(generator.random(n) < 0.9, truth, 1 - truth)] * 0.8 + 0.1
    detector = np.where(ironic, 0.95, 0.05)
    blind = evidence_of({"model": said}, truth, detector, ironic)
    seeing = Evidence(blind.members, detector, truth, blind.in_field, ironic, intended=knows)
    pool = fit_pool(seeing)
    assert pool.irony is not None
    assert pool.irony.member == "irony"
    assert pool.irony.weights[1] > 0.5 > pool.irony.weights[0]

    def right(evidence: Evidence) -> float:
        answers = evidence.combine(fit_pool(evidence)).argmax(axis=1)
        return float((answers == truth)[ironic].mean())

    assert right(blind) < 0.6 < 0.85 < right(seeing)


def test_cross_validation_never_answers_a_row_from_itself() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 200)
    answered = cross_validated(evidence_of({"model": generator.dirichlet([1, 1], 200)}, truth), seed=0)
    assert 0.35 < float((answered.argmax(axis=1) == truth).mean()) < 0.65


def test_a_failed_write_leaves_the_old_artefact(tmp_path: Path) -> None:
    folder = tmp_path / "m" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "old").write_text("good", encoding="utf-8")

    def fail() -> None:
        with replacing(folder) as fresh:
            (fresh / "new").write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]
    set_current(tmp_path, "m", "1.0.0")
    assert (tmp_path / "m" / "current").read_text(encoding="utf-8").strip() == "1.0.0"


def test_the_hash_of_rows_sees_every_change() -> None:
    rows = [Example("a", ("x",)), Example("b", ("y",))]
    assert data_hash(rows) == data_hash(list(rows))
    assert data_hash(rows) != data_hash(rows[::-1])
    assert data_hash(rows) != data_hash([Example("a", ("y",)), rows[1]])


def test_distilbert_trains_by_configuration_alone_and_loads_with_its_whole_head(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from transformers import BertTokenizerFast, DistilBertConfig, DistilBertModel

    from healdag.config import LoraSettings, TrainingSettings
    from healdag.predictors.lora import ADAPTER, load_merged
    from healdag.training.finetuning.finetune import fine_tune

    base = tmp_path / "distilbert"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    DistilBertModel(
        DistilBertConfig(vocab_size=len(tokens), dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    ).save_pretrained(base)
    BertTokenizerFast(vocab={token: i for i, token in enumerate(tokens)}).save_pretrained(base)
    rows = [Example("a b c", ("x",)), Example("d e f", ("y",)), Example("g h", ("z",))]
    shape = LoraSettings(base=str(base), r=2, alpha=4, target_modules=("q_lin", "v_lin"), max_length=16)
    short = TrainingSettings(epochs=2, batch_size=2, warmup_steps=0, average_decay=0, auxiliary_weight=0)
    trained = fine_tune(base, ("x", "y", "z"), rows, shape, short).model
    trained.save_pretrained(tmp_path / "adapter")
    with safe_open(str(tmp_path / "adapter" / ADAPTER), framework="numpy") as weights:
        names = list(weights.keys())
    # DistilBERT brings no pre_classifier: were it not saved, it would be random again after loading.
    assert any("pre_classifier" in name for name in names)
    loaded, _ = load_merged(base, tmp_path / "adapter", ("x", "y", "z"))
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.inference_mode():
        expected = trained.eval()(input_ids=ids).logits
        actual = loaded.eval()(input_ids=ids).logits
    assert torch.allclose(expected, actual, atol=1e-5)


def test_training_starts_from_another_adapter_of_the_same_shape_only(tiny_base: Path, tmp_path: Path) -> None:
    from healdag.config import LoraSettings, TrainingSettings
    from healdag.training.finetuning.finetune import fine_tune

    rows = [Example("happy", ("x",)), Example("sad", ("y",))]
    short = TrainingSettings(epochs=1, batch_size=2, warmup_steps=0, average_decay=0, auxiliary_weight=0)
    first = fine_tune(tiny_base, ("x", "y"), rows, LoraSettings(r=2, max_length=16), short).model
    first.save_pretrained(tmp_path / "first")
    still = short.model_copy(update={"learning_rate": 1e-9})
    second = fine_tune(
        tiny_base, ("x", "y"), rows, LoraSettings(r=2, max_length=16), still, start=tmp_path / "first"
    ).model
    key = next(name for name in second.state_dict() if ".lora_B." in name)
    assert second.state_dict()[key].allclose(first.state_dict()[key], atol=1e-4)
    with pytest.raises(UsageError, match="another shape"):
        fine_tune(tiny_base, ("x", "y"), rows, LoraSettings(r=4, max_length=16), short, start=tmp_path / "first")
