"""The command line: what it reads, what it writes, and how it leaves."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

import healdag
import healdag.graph
import healdag.training
from healdag.artifacts import available_tasks, promote
from healdag.artifacts.pointer import locked
from healdag.cli import app
from healdag.cli.options import Engine
from healdag.config import ModelSettings
from healdag.errors import BaseModelNotFoundError, ConfigError, PredictorError
from healdag.healing.state import STAGING, healing
from healdag.predictors.fake import FakePredictor

LABELS = ("joy", "sadness", "anger", "fear", "love", "surprise", "neutral", "disgust")
ANSWERS = {"meh": {"anger": 0.3}, "lost": None}
REAL_FACTORY = healdag.graph.create_classifier
needs_emotion = pytest.mark.skipif("emotion" not in available_tasks(), reason="the emotion model is not in models/")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEALDAG_CONFIG", "HEALDAG_MODELS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Classifiers with a fake model and a fake backup; ``asked`` holds the arguments of the last one."""
    made = SimpleNamespace(asked={}, model=FakePredictor(LABELS, answers=ANSWERS, default={"joy": 0.9}, name="model"))
    backup = FakePredictor(LABELS, default={"sadness": 0.6}, name="tfidf")

    def create(task: str | None = None, **options: Any) -> Any:
        made.asked = {"task": task, **options}
        kept = {key: options[key] for key in ("config_path", "threshold", "enable_backup", "human_review")}
        return REAL_FACTORY(primary=made.model, backups=[backup], **kept)

    monkeypatch.setattr(healdag.graph, "create_classifier", create)
    return made


def run(*args: str | Path, stdin: str | bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)


def ok(*args: str | Path, stdin: str | bytes | None = None) -> str:
    result = run(*args, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return str(result.stdout)


def refused(*args: str | Path, code: int = 2) -> str:
    """The one line on stderr with which a command leaves."""
    result = run(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# classify: what comes out


def test_table_is_the_default(fake: SimpleNamespace) -> None:
    header, first, second = ok("classify", "hello", "meh").splitlines()
    assert header.split() == ["text", "final_label", "confidence", "source", "reason"]
    assert first.split() == ["hello", "joy", "0.900", "model"]
    assert second.split() == ["meh", "sadness", "0.600", "backup", "low_confidence"]


def test_table_shortens_and_takes_nothing_for_markup(fake: SimpleNamespace) -> None:
    lines = ok("classify", "x" * 200, "[red]a[/red] \x1b[31m[/] b").splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "x…" in lines[1]
    assert "[red]a[/red] [31m[/] b" in lines[2]


def test_table_keeps_its_columns_from_chunk_to_chunk(fake: SimpleNamespace, tmp_path: Path) -> None:
    path = write(tmp_path / "many.txt", "".join(f"text {i} {'y' * (i // 10)}\n" for i in range(600)))
    lines = ok("classify", "--file", path).splitlines()
    assert len(lines) == 601  # one header
    assert len({line.index("joy") for line in lines[1:]}) == 1
    assert max(map(len, fake.model.calls)) <= 300
    assert sum(map(len, fake.model.calls)) == 600


def test_jsonl_of_texts(fake: SimpleNamespace) -> None:
    assert records(ok("classify", "meh", "schön 😀", "--format", "jsonl")) == [
        {"text": "meh", "final_label": "sadness", "confidence": 0.6, "source": "backup", "reasons": ["low_confidence"]},
        {"text": "schön 😀", "final_label": "joy", "confidence": 0.9, "source": "model", "reasons": []},
    ]


def test_csv_keeps_its_columns(fake: SimpleNamespace, tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", '\ufeffid,text,final_label\n1,"a, ""b""\nc",old\n2,lost,old\n')
    rows = list(csv.DictReader(io.StringIO(ok("classify", "-f", path, "--format", "csv"))))
    assert list(rows[0]) == ["id", "text", "final_label", "confidence", "source", "reasons", "error"]
    assert rows[0]["text"] == 'a, "b"\nc'
    assert [(r["id"], r["final_label"], r["source"], r["reasons"]) for r in rows] == [
        ("1", "joy", "model", ""),
        ("2", "sadness", "backup", "model_error"),
    ]


def test_tsv_and_another_column(fake: SimpleNamespace, tmp_path: Path) -> None:
    path = write(tmp_path / "in.tsv", "id\tsaid\n1\tmeh\n")
    out = tmp_path / "out.tsv"
    assert ok("classify", "-f", path, "--column", "said", "-o", out) == ""
    assert out.read_text().splitlines()[1] == "1\tmeh\tsadness\t0.6\tbackup\tlow_confidence\t"


def test_jsonl_keeps_its_fields_also_as_csv(fake: SimpleNamespace, tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", '{"id": 1, "text": "hi", "error": "old"}\n{"text": "ho", "tags": ["ü"]}\n')
    first, second = records(ok("classify", "-f", path, "--format", "jsonl"))
    assert (first["id"], first["final_label"], "error" in first) == (1, "joy", False)
    assert second["tags"] == ["ü"]
    rows = list(csv.DictReader(io.StringIO(ok("classify", "-f", path, "--format", "csv"))))
    assert [(r["id"], r["text"], r["tags"], r["error"]) for r in rows] == [("1", "hi", "", ""), ("", "ho", '["ü"]', "")]


@pytest.mark.parametrize(("suffix", "start"), [(".csv", "text,"), (".jsonl", "{"), (".out", "text  ")])
def test_the_output_suffix_picks_the_format(fake: SimpleNamespace, tmp_path: Path, suffix: str, start: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert ok("classify", "hi", "--output", out) == ""
    assert out.read_text().startswith(start)
    assert names(tmp_path) == [out.name]


def test_output_may_be_stdout_or_a_device(fake: SimpleNamespace) -> None:
    assert records(ok("classify", "hi", "--output", "-", "--format", "jsonl"))
    assert ok("classify", "hi", "--output", os.devnull) == ""
    assert not Path(os.devnull).is_file()


def test_nothing_to_read_is_no_mistake(fake: SimpleNamespace, tmp_path: Path) -> None:
    assert len(ok("classify", "-f", write(tmp_path / "in.txt", "\n \n")).splitlines()) == 1
    assert ok("classify", "-f", write(tmp_path / "in.jsonl", ""), "--format", "jsonl") == ""


@pytest.mark.parametrize("args", [["-"], ["--file", "-"]])
def test_stdin(fake: SimpleNamespace, args: list[str]) -> None:
    texts = [
        record["text"] for record in records(ok("classify", *args, "--format", "jsonl", stdin="one\n\n  \ntwo 😀\r\n"))
    ]
    assert texts == ["one", "two 😀"]


def test_options_reach_the_classifier(fake: SimpleNamespace, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "dag: {human_review: true}\n")
    options = ["--task", "t", "--model-version", "1.2.3", "--threshold", "0.2", "--no-backup", "--device", "cpu"]
    (answer,) = records(ok("classify", "meh", "--format", "jsonl", *options, "--config", config))
    assert (answer["final_label"], answer["source"]) == ("anger", "model")  # nobody reviews here: nothing is pending
    assert fake.asked["task"] == "t"
    assert fake.asked["version"] == "1.2.3"
    assert fake.asked["device"] == "cpu"
    assert fake.asked["config_path"] == config
    ok("classify", "meh")
    assert {key for key, value in fake.asked.items() if value is not None} == {"human_review"}


def test_the_engines_are_those_of_the_settings() -> None:
    assert get_args(ModelSettings.model_fields["engine"].annotation) == tuple(engine.value for engine in Engine)


@pytest.mark.parametrize("engine", list(Engine))
def test_the_engine_reaches_the_classifier(fake: SimpleNamespace, engine: str) -> None:
    ok("classify", "meh", "--engine", engine)
    assert fake.asked["engine"] == engine
    fake.asked.clear()
    ok("chat", "--engine", engine, stdin="meh\nquit\n")
    assert fake.asked["engine"] == engine


def test_an_unknown_engine_is_refused(fake: SimpleNamespace) -> None:
    message = refused("classify", "meh", "--engine", "tensorrt")
    assert "tensorrt" in message
    assert "onnx-int8" in message
    assert not fake.asked


def test_progress_is_shown_on_a_terminal(
    fake: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    path = write(tmp_path / "in.txt", "hi\n" * 600)
    result = run("classify", "-f", path, "-o", tmp_path / "out.csv")
    assert result.exit_code == 0
    assert "600 texts" in result.stderr
    assert result.stdout == ""


# classify: bad rows


BAD_CSV = b'id,text,note\n1,hi,x\n2,"two\nlines",x\n\n3,a,b,c\n4\n5,"q" z,x\n6,\xff,x\n7, ,x\n8,fine,x\n'
BAD_JSONL = (
    b'{"text": "hi"}\n\nnope\n[1]\n{"id": 2}\n{"text": 5}\n{"text": "\xff"}\n{"text": " "}\n{"text": "\\ud83d"}\n'
)


def test_bad_csv_rows_cost_nothing_else(fake: SimpleNamespace, tmp_path: Path) -> None:
    result = run("classify", "-f", write(tmp_path / "in.csv", BAD_CSV), "--format", "jsonl")
    found = records(result.stdout)
    assert result.exit_code == 1
    assert [r["text"] for r in found if "error" not in r] == ["hi", "two\nlines", "fine"]
    errors = [r["error"] for r in found if "error" in r]
    assert [error.split(":")[0] for error in errors] == [f"line {n}" for n in (5, 6, 7, 8, 9, 10)]
    for error, word in zip(errors, ("empty line", "4 cells", "1 cells", "quote", "UTF-8", "empty"), strict=True):
        assert word in error
    assert result.stderr.startswith("error: 6 of 9 rows could not be classified: line 5 (empty line), line 6 (")
    assert result.stderr.endswith("and 1 more\n")
    assert result.stderr.count("\n") == 1


def test_bad_jsonl_rows_cost_nothing_else(fake: SimpleNamespace, tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", BAD_JSONL)
    out = tmp_path / "out.csv"
    result = run("classify", "-f", path, "-o", out)
    assert result.exit_code == 1
    rows = list(csv.DictReader(out.read_text().splitlines()))
    expected = ("", "empty line", "not JSON", "not a JSON object", "no field 'text'", "is int", "UTF-8", "is empty", "")
    assert len(rows) == len(expected)
    for number, (row, word) in enumerate(zip(rows, expected, strict=True), start=1):
        assert row["error"].startswith(f"line {number}: ") if word else row["error"] == ""
        assert word in row["error"]
        assert bool(row["final_label"]) != bool(row["error"])


def test_bad_rows_in_a_table(fake: SimpleNamespace, tmp_path: Path) -> None:
    result = run("classify", "-f", write(tmp_path / "in.txt", b"hi\n\xff\n"))
    assert result.exit_code == 1
    assert "line 2: not UTF-8" in result.stdout


def test_a_text_longer_than_the_limit_is_a_bad_row(fake: SimpleNamespace, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "dag: {max_chars: 5}\n")
    path = write(tmp_path / "in.csv", f"text\n{'z' * 200_000}\nhi\n")
    result = run("classify", "-f", path, "--config", config, "--format", "jsonl")
    assert result.exit_code == 1
    assert ["error" in r for r in records(result.stdout)] == [True, False]
    assert "at most 5 are read" in result.stderr


def test_an_open_quote_does_not_swallow_rows_in_silence(fake: SimpleNamespace, tmp_path: Path) -> None:
    result = run("classify", "-f", write(tmp_path / "in.csv", 'text\nhi\n"open\nrow\nrow\n'), "--format", "jsonl")
    assert result.exit_code == 1
    assert "line 3: unexpected end of data" in records(result.stdout)[-1]["error"]


# mistakes and failures


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["classify"], "nothing to classify"),
        (["classify", "hi", "--file", "x.txt"], "not both"),
        (["classify", "hi", "  "], "text 2 is empty"),
        (["classify", "hi", "--column", "c"], "--column 'c' goes with --file"),
        (["classify", "--file", "none.csv"], "cannot read 'none.csv': No such file"),
        (["classify", "--file", "data.parquet"], "cannot read '.parquet' files"),
        (["classify", "--file", "."], "cannot read '.'"),
        (["classify", "--file", "-", "--column", "c"], "--column 'c'"),
        (["classify", "hi", "--output", "none/out.csv"], "cannot write 'none/out.csv'"),
        (["classify", "hi", "--output", "."], "cannot write '.'"),
        (["classify", "hi", "--format", "xml"], "'xml'"),
        (["classify", "hi", "--threshold", "2"], "--threshold"),
        (["classify", "hi", "--nope"], "--nope"),
        (["clasify", "hi"], "'classify'"),
        (["train"], "healdag train --help"),
    ],
)
def test_mistakes_are_one_line(
    fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, args: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(*args)
    assert fake.asked == {}  # said before the models are loaded
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id;text\n1;a\n", "no column 'text' in"),
        ("", "there are: none"),
        ("text,a,a\n", "'a' twice"),
        ('"te"xt\n', "header"),
    ],
)
def test_a_csv_without_the_column(fake: SimpleNamespace, tmp_path: Path, content: str, words: str) -> None:
    assert words in refused("classify", "-f", write(tmp_path / "in.csv", content))


def test_real_settings_are_checked(tmp_path: Path) -> None:
    assert "no configuration file" in refused("classify", "hi", "--config", tmp_path / "none.yaml")
    assert "'threshold'" in refused("classify", "hi", "--config", write(tmp_path / "c.yaml", "dag: {treshold: 1}"))
    assert "no model for task 'nope'" in refused("classify", "hi", "--task", "nope")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BaseModelNotFoundError("no base\nanywhere"), 1),
        (PredictorError("down"), 1),
        (ConfigError("bad key"), 2),
        (OSError(28, "No space left on device", "x"), 1),
    ],
)
def test_exit_codes_of_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: int) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(healdag.graph, "create_classifier", fail)
    out = write(tmp_path / "out.csv", "before")
    assert "Errno" not in refused("classify", "hi", "-o", out, code=code)
    assert out.read_text() == "before"
    assert names(tmp_path) == ["out.csv"]


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healdag.graph, "create_classifier", lambda *a, **k: 1 / 0)
    assert isinstance(run("classify", "hi").exception, ZeroDivisionError)


def test_ctrl_c(fake: SimpleNamespace, tmp_path: Path) -> None:
    fake.model = FakePredictor(LABELS, fail=KeyboardInterrupt())  # type: ignore[arg-type]
    out = write(tmp_path / "out.csv", "before")
    result = run("classify", "hi", "-o", out)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert out.read_text() == "before"
    assert names(tmp_path) == ["out.csv"]


# chat


def test_chat(fake: SimpleNamespace) -> None:
    output = ok("chat", stdin="hello\nmeh\n\n❤️\nstats\n/help\n:quit\nnever read\n")
    output = " ".join(output.split())  # lines are wrapped
    assert "joy 0.900 (model)" in output
    assert "sadness 0.600 (backup)" in output
    assert "love 0.850 (emoji)" in output
    assert "reasons: low_confidence" in output
    assert "asked: model said anger 0.300, tfidf said sadness 0.600" in output
    assert "way: preprocess -> memory -> classify -> sarcasm -> check -> trust -> finalize" in output
    assert "way: preprocess -> memory -> trust -> finalize" in output
    assert "check -> backup" in output
    assert "texts: 3, mean confidence: 0.783" in output
    assert "leave" in output  # the help
    assert output.endswith("Bye.")
    assert fake.model.calls == [["hello"], ["meh"]]  # one run per text; the emoji needs none, and the rest is not read


def test_chat_bars_are_sorted(fake: SimpleNamespace) -> None:
    output = ok("chat", stdin="meh\n")
    bars = [line.split() for line in output.splitlines() if "━" in line]
    assert bars[0][0] == "sadness"
    assert len(bars) == len(LABELS)
    assert len(bars[0][1]) > len(bars[1][1])


def test_chat_stats_of_nothing_and_end_of_input(fake: SimpleNamespace) -> None:
    output = ok("chat", stdin="stats")
    assert "No texts yet." in output
    assert output.endswith("\nBye.\n")


def test_chat_goes_on_after_an_error(fake: SimpleNamespace, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "dag: {max_chars: 5}\n")
    result = run("chat", "--config", config, stdin=b"too long\n\xff\nlost\nstats\n")
    assert result.exit_code == 0
    assert "at most 5 are read" in result.stderr
    assert "model failed: could not answer" in result.stdout
    assert "texts: 2" in result.stdout


def test_chat_leaves_with_ctrl_c(fake: SimpleNamespace) -> None:
    fake.model = FakePredictor(LABELS, fail=KeyboardInterrupt())  # type: ignore[arg-type]
    assert ok("chat", stdin="hello\nmore\n").endswith("\nBye.\n")


# models


def make_model(root: Path, task: str = "mood", version: str = "1.0.0", **figures: object) -> Path:
    folder = root / task / version
    folder.mkdir(parents=True)
    manifest = {"kind": "tfidf", "task": task, "version": version, "labels": ["good", "bad"], "prior": [0.5, 0.5]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if figures:
        (folder / "metrics.json").write_text(json.dumps({"test": figures}))
    (root / task / "current").write_text(version + "\n")
    return folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "models"
    root.mkdir()
    monkeypatch.setenv("HEALDAG_MODELS", str(root))
    monkeypatch.setattr("healdag.artifacts.places.models_roots", lambda: [root])
    return root


def test_models(models: Path) -> None:
    make_model(models, accuracy=0.71234, macro_f1=0.6)
    make_model(models, "plain", "2.0.0")
    header, plain_row, mood_row = sorted(
        ok("models").splitlines(), key=lambda line: "task plain mood".index(line.split()[0])
    )
    assert header.split() == ["task", "version", "kind", "labels", "base", "accuracy", "macro-F1", "size"]
    assert mood_row.split() == ["mood", "1.0.0", "tfidf", "good,", "bad", "-", "0.712", "0.600", "0.0", "MB"]
    assert plain_row.split() == ["plain", "2.0.0", "tfidf", "good,", "bad", "-", "-", "-", "0.0", "MB"]
    found = json.loads(ok("models", "--json"))
    assert [entry["task"] for entry in found] == ["mood", "plain"]
    assert found[0]["accuracy"] == 0.71234
    assert found[0]["size"] == sum(p.stat().st_size for p in (models / "mood" / "1.0.0").iterdir())
    assert found[1]["labels"] == ["good", "bad"]


def test_a_damaged_model_does_not_hide_the_others(models: Path) -> None:
    make_model(models)
    (make_model(models, "broken") / "manifest.json").write_text("{}")
    result = run("models", "--json")
    assert result.exit_code == 1
    assert {entry["task"]: bool(entry["error"]) for entry in json.loads(result.stdout)} == {
        "mood": False,
        "broken": True,
    }
    assert result.stderr.startswith("error: broken 1.0.0: ")
    assert "damaged" in run("models").stdout


def test_no_models(models: Path) -> None:
    result = run("models")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "HEALDAG_MODELS" in result.stderr
    assert json.loads(run("models", "--json").stdout) == []


# train


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Records what would be trained; each training leaves a model with figures."""
    calls: list[dict[str, Any]] = []

    def fake_train(task: Any, **options: Any) -> Path:
        options.pop("announce")
        calls.append({"task": task.name, **options})
        folder = options["models"] / task.name / options["version"]
        if not folder.exists():
            make_model(options["models"], task.name, options["version"], accuracy=0.5, macro_f1=0.25)
        return Path(folder)

    monkeypatch.setattr(healdag.training, "train", fake_train)
    monkeypatch.setattr("healdag.trust.fit.finish", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return calls


def test_train(trainings: list[dict[str, Any]]) -> None:
    output = ok(
        "train", "emotion", "--source", "data", "--models", "out", "--version", "1.2.3", "--steps", "tfidf, model"
    )
    assert output == f"{Path('out/emotion/1.2.3')}: accuracy 0.500, macro-F1 0.250 on test\n"
    assert trainings == [
        {
            "task": "emotion",
            "source": Path("data"),
            "models": Path("out"),
            "version": "1.2.3",
            "steps": ["model", "tfidf"],
            "command": "healdag train emotion --source data --models out --version 1.2.3 --steps 'tfidf, model'",
            "resume": None,
        }
    ]


def test_train_picks_the_version(trainings: list[dict[str, Any]]) -> None:
    for steps in ("model", "model,tfidf,ensemble", "tfidf"):
        ok("train", "sarcasm", "--source", "data", "--models", "out", "--steps", steps)
    ok("train", "sarcasm", "--source", "data", "--models", "out", "--method", "tfidf_lr")
    # Nothing there; other labels and another base than the fake's; something added to a model; no base.
    assert [call["version"] for call in trainings] == ["1.0.0", "2.0.0", "2.0.1", "3.0.0"]


def test_train_hands_on_profile_and_options(
    trainings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []
    monkeypatch.setattr(sys.modules["healdag.cli.train"], "_run", lambda task, *_a, **_k: seen.append(task) or tmp_path)
    (tmp_path / "metrics.json").write_text('{"test": {"accuracy": 1, "macro_f1": 1}}', encoding="utf-8")
    (tmp_path / "c.yaml").write_text("training: {patience: 7}\n", encoding="utf-8")
    config = ("--config", str(tmp_path / "c.yaml"))
    ok("train", "sarcasm", "--source", "data", "--profile", "fullscale", "--epochs", "2", *config)
    training = seen[0].training
    # The option wins over the profile, the file over the profile too, the profile over the task.
    assert (training.epochs, training.patience, training.schedule) == (2.0, 7, "cosine_with_restarts")
    assert seen[0].lora.r == 32
    assert "fast: " in refused("train", "sarcasm", "--source", "data", "--profile", "slow")


def test_a_full_disk_says_what_to_do(trainings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_args: Any, **_options: Any) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", "out/x")

    monkeypatch.setattr(healdag.training, "train", full)
    assert "healdag models prune" in refused("train", "sarcasm", "--source", "data", "--models", "out", code=1)


def test_prune_deletes_checkpoints_and_old_versions_only(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.10.0"):
        make_model(tmp_path, "mood", version, accuracy=0.5, macro_f1=0.25)
    (tmp_path / "mood" / "current").write_text("1.1.0\n", encoding="utf-8")
    checkpoint = tmp_path / "mood" / ".training" / "1.3.0" / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    assert "would delete" in ok("models", "prune", "--models", str(tmp_path), "--dry-run")
    assert checkpoint.is_dir()
    ok("models", "prune", "--models", str(tmp_path))
    assert not checkpoint.exists()
    assert len(list(tmp_path.glob("mood/*/manifest.json"))) == 4
    ok("models", "prune", "--models", str(tmp_path), "--keep", "2")
    assert sorted(p.parent.name for p in tmp_path.glob("mood/*/manifest.json")) == ["1.1.0", "1.10.0"]
    assert "nothing to delete" in run("models", "prune", "--models", str(tmp_path)).stderr


def test_prune_keeps_what_a_rollback_goes_to(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        make_model(tmp_path, "mood", version, accuracy=0.5, macro_f1=0.25)
    place = tmp_path / "mood"
    (place / "current").write_text("1.0.0\n", encoding="utf-8")
    promote(tmp_path, "mood", "1.3.0")

    def left() -> list[str]:
        return sorted(path.parent.name for path in place.glob("*/manifest.json"))

    ok("models", "prune", "--models", str(tmp_path), "--keep", "3")
    assert left() == ["1.0.0", "1.2.0", "1.3.0"]
    ok("models", "prune", "--models", str(tmp_path), "--keep", "1")
    assert left() == ["1.0.0", "1.3.0"]
    ok("models", "rollback", "mood", "--models", str(tmp_path), "--no-load")
    # Nothing to go back to is left: the version that it came from is as good as any other.
    ok("models", "prune", "--models", str(tmp_path), "--keep", "1")
    assert left() == ["1.0.0"]
    assert not (tmp_path / ".lock").exists()


def test_prune_waits_for_who_moves_the_pointer_and_leaves_a_heal_alone(tmp_path: Path) -> None:
    make_model(tmp_path, "mood", "1.0.0", accuracy=0.5, macro_f1=0.25)
    begun = tmp_path / STAGING / "mood" / ".training" / "1.1.0"
    begun.mkdir(parents=True)
    with healing(tmp_path / "mood"):
        assert "is being healed by process" in run("models", "prune", "--models", str(tmp_path)).stderr
    assert "would delete" in ok("models", "prune", "--models", str(tmp_path), "--dry-run")
    assert begun.is_dir()
    ok("models", "prune", "--models", str(tmp_path))
    assert not (tmp_path / STAGING).exists()
    with locked(tmp_path, "promotes mood 1.1.0"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("healdag.artifacts.pointer.locked", partial(locked, timeout=0.01))
        assert "promotes mood 1.1.0" in run("models", "prune", "--models", str(tmp_path), "--keep", "1").stderr


def test_train_default_folder(trainings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["healdag.cli.train"]
    checkout = Path(healdag.__file__).parents[1]
    expected = checkout / "models" if (checkout / "pyproject.toml").is_file() else Path("models")
    assert module.default_models() == expected
    monkeypatch.setattr(module, "__file__", "/x/site-packages/healdag/cli/train.py")
    assert module.default_models() == Path("models")
    monkeypatch.setenv("HEALDAG_MODELS", "mine")
    assert module.default_models() == Path("mine")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nope", "--source", "data"], "no task 'nope'"),
        (["emotion", "--source", "none"], "no folder 'none' for --source"),
        (["emotion", "--source", "data", "--version", "../1"], "X.Y.Z"),
        (["emotion", "--source", "data", "--steps", "model,magic"], "model, backups, tfidf, screen, ensemble"),
        (["emotion", "--source", "data", "--steps", ","], "model, backups, tfidf, screen, ensemble"),
        (["emotion", "--source", "data", "--steps", "tfidf"], "train the step 'model' first"),
        (["emotion", "--source", "data", "--steps", "tfidf", "--version", "3.0.0"], "train the step 'model' first"),
        (["--source", "data"], "--data FILE"),
        (["emotion", "--source", "data", "--text-column", "t"], "--data FILE"),
        (["--data", "none.csv"], "none.csv"),
    ],
)
def test_train_mistakes(trainings: list[dict[str, Any]], args: list[str], words: str) -> None:
    assert words in refused("train", *args, "--models", "out")
    assert trainings == []


def test_train_needs_its_extra(trainings: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert "pip install 'healdag[train]'" in refused("train", "emotion", "--source", "data", code=1)


# the program itself


FAKE_PROGRAM = f"""
import sys, time
import healdag.graph as graph
from healdag.predictors.fake import FakePredictor
real = graph.create_classifier
def create(task=None, **options):
    print("ready", file=sys.stderr, flush=True)
    return real(primary=FakePredictor({LABELS}, default={{"joy": 0.9}}, delay=DELAY))
graph.create_classifier = create
from healdag.cli import app
app(prog_name="healdag")
"""


def start(*args: str, delay: float = 0.0, program: str = FAKE_PROGRAM, **streams: Any) -> subprocess.Popen[str]:
    code = textwrap.dedent(program).replace("DELAY", str(delay))
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **streams}
    return subprocess.Popen([sys.executable, "-c", code, *args], text=True, **streams)


REAL_PROGRAM = "from healdag.cli import app; app(prog_name='healdag')"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["classify", "--nope"], 2),
        (["classify", "hi", "--task", "nope"], 2),
    ],
)
def test_exit_codes_of_the_program(args: list[str], code: int) -> None:
    with start(*args, program=REAL_PROGRAM) as process:
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in stderr
    if code:
        assert stdout == ""
    elif args == ["--version"]:
        assert stdout == f"healdag {healdag.__version__}\n"


def test_help_loads_no_model_library() -> None:
    program = """
    import sys
    from healdag.cli import app
    try:
        app(["classify", "--help"], prog_name="healdag")
    except SystemExit:
        pass
    print({"torch", "transformers", "langgraph", "langchain_core", "numpy", "sklearn"} & set(sys.modules))
    """
    with start(program=program) as process:
        stdout, _ = process.communicate(timeout=120)
    assert stdout.endswith("set()\n")
    assert "Exit codes: 0 all went well; 1 a failure while running" in " ".join(stdout.split())


@pytest.mark.parametrize("form", ["jsonl", "csv", "table"])
def test_a_closed_pipe_is_no_traceback(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "in.txt", "some text that goes on for a while\n" * 6000)
    with start("classify", "--file", str(path), "--format", form) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "ready\n"
        assert process.wait(timeout=120) == 141


def test_stdin_is_left_alone() -> None:
    with start("classify", "hi", "--format", "jsonl", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["final_label"] == "joy"
        assert process.wait(timeout=120) == 0  # its stdin is still open


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child on Windows")
def test_ctrl_c_of_the_program() -> None:
    with start("classify", "hi", delay=60) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "interrupted\n"
        assert process.wait(timeout=30) == 130


def test_output_is_utf8_wherever_it_goes() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    with start("classify", "schön 😀", "--format", "jsonl", env=environment, encoding="utf-8") as process:
        stdout, _ = process.communicate(timeout=120)
    assert json.loads(stdout)["text"] == "schön 😀"
    with start("classify", "gut 😀", env=environment, encoding="latin-1") as process:
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "ready\n")
    assert "gut ?" in stdout


# the shipped model


@needs_emotion
def test_shipped_model_answers_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "id,text\n1,I'm so happy today!\n\n2,\N{GRINNING FACE}\n")
    result = run("classify", "--file", path, "--format", "jsonl")
    assert result.exit_code == 1
    first, bad, emoji = records(result.stdout)
    assert (first["id"], first["final_label"]) == ("1", "joy")
    assert bad["error"] == "line 3: empty line"
    assert (emoji["final_label"], emoji["source"]) == ("joy", "emoji")


@needs_emotion
def test_shipped_model_chats() -> None:
    output = ok("chat", stdin="I'm so happy today!\nstats\nquit\n")
    assert "-> finalize" in " ".join(output.split())
    assert "texts: 1" in output


@needs_emotion
def test_shipped_models_are_listed() -> None:
    entry = next(entry for entry in json.loads(ok("models", "--json")) if entry["task"] == "emotion")
    assert set(entry["labels"]) == set(LABELS)
    assert 0 < entry["macro_f1"] <= entry["accuracy"] <= 1
    assert entry["size"] > 100_000


@needs_emotion
def test_shipped_model_of_an_unknown_version() -> None:
    assert "99.0.0" in refused("classify", "hi", "--model-version", "99.0.0")


@needs_emotion
def test_shipped_model_on_an_unknown_device() -> None:
    assert "abacus" in refused("classify", "hi", "--device", "abacus")
