"""Settings: argument over file over default, and errors that say where and what."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from healdag import create_classifier
from healdag.config import Environment, Settings, load_settings
from healdag.errors import ConfigError
from healdag.predictors.fake import FakePredictor

# One value other than the default for every key of every section.
EVERYTHING: dict[str, dict[str, Any]] = {
    "model": {
        "task": "sarcasm",
        "version": "2.0.0",
        "fallback": False,
        "labels": ("sarcastic", "not_sarcastic"),
        "label_prior": {"sarcastic": 0.1, "not_sarcastic": 0.9},
        "base_path": "/bases/minilm",
        "device": "cpu",
        "engine": "torch",
        "tokens_per_batch": 128,
        "window_overlap": 8,
    },
    "lora": {
        "base": "distilbert-base-uncased",
        "r": 4,
        "alpha": 8,
        "dropout": 0.2,
        "target_modules": ("q_lin", "v_lin"),
        "bias": "all",
        "max_length": 64,
    },
    "training": {
        "method": "full",
        "epochs": 1.5,
        "batch_size": 8,
        "gradient_accumulation": 2,
        "learning_rate": 0.001,
        "schedule": "cosine",
        "restarts": 3,
        "warmup_steps": 0,
        "weight_decay": 0.1,
        "loss": "focal",
        "focal_gamma": 1.0,
        "class_weight_power": 0.0,
        "label_smoothing": 0.1,
        "auxiliary_weight": 0.0,
        "average_decay": 0.5,
        "evaluations": 2,
        "patience": 3,
        "checkpoints": 1,
        "save_total_limit": 5,
        "long_texts": "windows",
        "precision": "bf16",
        "seed": 1,
    },
    "dataset": {"source": "/rows"},
    "dag": {
        "threshold": 0.7,
        "sarcasm_threshold": 0.8,
        "sarcasm_screen": False,
        "enable_backup": False,
        "backups": ("tfidf", {"kind": "llm", "model": "openai:gpt"}),
        "cheap_first": True,
        "backup_timeout": 1.5,
        "backup_failures": 5,
        "backup_pause": 2.5,
        "max_error": {"joy": 0.05},
        "certainty": 0.9,
        "label_set": 0.8,
        "human_review": True,
        "checkpointer": "/queues/review.db",
        "condenser": "/models/short",
        "max_chars": 500,
    },
    "log": {"path": "/logs/decisions.db", "text": "store"},
    "feedback": {"path": "/feedback/f.db", "text": "store", "near_twins": False, "memory_size": 50},
    "logging": {"level": "DEBUG"},
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEALDAG_CONFIG", "HEALDAG_MODELS", "HEALDAG_BASE_DIR"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class TestFile:
    def test_everything_is_covered(self) -> None:
        for name, field in Settings.model_fields.items():
            assert EVERYTHING[name].keys() == field.annotation.model_fields.keys(), name  # type: ignore[union-attr]

    @pytest.mark.parametrize("section", Settings.model_fields)
    def test_every_key_is_read(self, section: str, tmp_path: Path) -> None:
        import yaml

        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in EVERYTHING[section].items()}
        found = getattr(load_settings(write(tmp_path, yaml.safe_dump({section: plain}))), section)
        default = getattr(Settings(), section)
        for key, value in EVERYTHING[section].items():
            read = getattr(found, key)
            assert (str(read) if isinstance(read, Path) else read) == value
            assert read != getattr(default, key), key

    @pytest.mark.parametrize("section", Settings.model_fields)
    def test_every_key_is_described(self, section: str) -> None:
        for key, field in getattr(Settings(), section).__class__.model_fields.items():
            assert field.description, key

    @pytest.mark.parametrize("text", ["", "# a comment\n", "---\n", "dag:\n", "dag: {}\nmodel:\n"])
    def test_empty_means_defaults(self, tmp_path: Path, text: str) -> None:
        assert load_settings(write(tmp_path, text)) == Settings()

    def test_relative_paths_are_relative_to_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        content = "model: {base_path: bases/x, task: ./mine}\ndataset: {source: rows}\nlora: {base: ../base}"
        settings = load_settings(write(tmp_path, content))
        assert settings.model.base_path == tmp_path / "bases/x"
        assert settings.model.task == str(tmp_path / "mine")
        assert settings.dataset.source == tmp_path / "rows"
        assert Path(settings.lora.base).resolve() == tmp_path.parent / "base"

    def test_names_stay_names(self, tmp_path: Path) -> None:
        settings = load_settings(write(tmp_path, "model: {task: emotion}\nlora: {base: some/base}"))
        assert (settings.model.task, settings.lora.base) == ("emotion", "some/base")

    def test_settings_are_frozen(self) -> None:
        with pytest.raises(ValidationError):
            Settings().dag.threshold = 0.5  # type: ignore[misc]


class TestPrecedence:
    def test_argument_then_file_then_default(self, tmp_path: Path) -> None:
        path = write(tmp_path, "dag: {threshold: 0.7, max_chars: 500}")
        settings = load_settings(path, dag={"threshold": 0.9, "max_chars": None})
        assert (settings.dag.threshold, settings.dag.max_chars, settings.dag.enable_backup) == (0.9, 500, True)

    def test_an_argument_without_a_file(self) -> None:
        assert load_settings(dag={"human_review": True}).dag.human_review

    def test_false_is_an_argument(self, tmp_path: Path) -> None:
        path = write(tmp_path, "dag: {human_review: true, threshold: 0.7}")
        settings = load_settings(path, dag={"human_review": False, "threshold": 0.0})
        assert (settings.dag.human_review, settings.dag.threshold) == (False, 0.0)

    def test_through_create_classifier(self, tmp_path: Path) -> None:
        path = write(tmp_path, "dag: {threshold: 0.7, max_chars: 5}")
        fake = FakePredictor(("joy", "anger"), default={"joy": 0.8})
        assert not create_classifier(primary=fake, config_path=path).classify("abc").reasons
        doubted = create_classifier(primary=fake, config_path=path, threshold=0.9).classify("abc")
        assert doubted.reasons == ("low_confidence",)
        with pytest.raises(ValueError, match="at most 5 are read"):
            create_classifier(primary=fake, config_path=path).classify("abcdef")


class TestErrors:
    def fail(self, folder: Path, text: str, **overrides: Any) -> str:
        path = write(folder, text)
        with pytest.raises(ConfigError) as caught:
            load_settings(path, **overrides)
        assert isinstance(caught.value, ValueError)
        return str(caught.value)

    def test_unknown_key(self, tmp_path: Path) -> None:
        message = self.fail(tmp_path, "model:\n  task: emotion\ndag:\n  max_chars: 5\n  treshold: 0.5\n")
        assert "unknown key 'dag.treshold' (line 5 of " in message
        assert "did you mean 'threshold'?" in message
        assert "allowed: threshold, sarcasm_threshold" in message

    def test_unknown_section(self, tmp_path: Path) -> None:
        message = self.fail(tmp_path, "\nmodle:\n  task: emotion\n")
        assert "unknown key 'modle' (line 2 of " in message
        assert "did you mean 'model'? allowed: model, lora, training, dataset, dag, log, feedback, logging" in message

    def test_nothing_alike_is_not_suggested(self, tmp_path: Path) -> None:
        assert "did you mean" not in self.fail(tmp_path, "dag: {zzz: 1}")

    def test_every_problem_is_named(self, tmp_path: Path) -> None:
        message = self.fail(tmp_path, "dag:\n  x1: 1\nlora:\n  r: 0\n")
        assert "'dag.x1'" in message
        assert "'lora.r' (line 4 of " in message

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("dag: {threshold: high}", ["'dag.threshold' (line 1", "valid number", "got 'high'", "Below it an answer"]),
            ("dag: {threshold: 1.5}", ["'dag.threshold'", "less than or equal to 1", "got 1.5"]),
            ("dag: {backup_timeout: 0}", ["'dag.backup_timeout'", "greater than 0", "got 0"]),
            (
                "model: {engine: onyx}",
                ["'model.engine'", "'auto', 'torch', 'onnx'", "or 'onnx-int8'", "got 'onyx'"],
            ),
            ("lora: {target_modules: 3}", ["'lora.target_modules'", "got 3", "Names of the layers"]),
            ("logging: {level: LOUD}", ["'logging.level'", "got 'LOUD'"]),
            ("dag: 3", ["'dag' (line 1", "got 3"]),
            ("1: 2", ["'1'"]),
        ],
    )
    def test_wrong_values(self, tmp_path: Path, text: str, parts: list[str]) -> None:
        message = self.fail(tmp_path, text)
        assert [part for part in parts if part not in message] == [], message

    def test_a_wrong_section_is_not_hidden_by_an_argument(self, tmp_path: Path) -> None:
        assert "'dag'" in self.fail(tmp_path, "dag: [1]", dag={"threshold": 0.5})

    def test_wrong_arguments(self) -> None:
        with pytest.raises(ConfigError, match=r"'dag\.threshold': .*got 7"):
            create_classifier(threshold=7)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no configuration file at '.*absent\.yaml'"):
            load_settings(tmp_path / "absent.yaml")

    @pytest.mark.parametrize("text", ["dag: {threshold: 0.5", "a: b: c", "\tdag: 1"])
    def test_invalid_yaml(self, tmp_path: Path, text: str) -> None:
        assert "is not valid YAML" in self.fail(tmp_path, text)

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_bytes(b"dag: \xff\xfe")
        with pytest.raises(ConfigError, match="is not valid YAML"):
            load_settings(tmp_path / "config.yaml")

    @pytest.mark.parametrize("text", ["- a\n- b", "just words", "7"])
    def test_no_sections(self, tmp_path: Path, text: str) -> None:
        assert "must hold sections (model, lora, " in self.fail(tmp_path, text)

    def test_yaml_cannot_build_objects(self, tmp_path: Path) -> None:
        assert "not valid YAML" in self.fail(tmp_path, "dag: !!python/object/apply:os.getcwd []")


class TestEnvironment:
    def test_unset_and_empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEALDAG_MODELS", "")
        assert Environment.read() == Environment(None, None, None)

    def test_paths(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEALDAG_CONFIG", "/a.yaml")
        monkeypatch.setenv("HEALDAG_MODELS", "~/models")
        monkeypatch.setenv("HEALDAG_BASE_DIR", "/bases")
        assert Environment.read() == Environment(Path("/a.yaml"), Path.home() / "models", Path("/bases"))

    def test_config_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEALDAG_CONFIG", str(write(tmp_path, "dag: {threshold: 0.7}")))
        assert load_settings().dag.threshold == 0.7
        other = tmp_path / "other.yaml"
        other.write_text("dag: {max_chars: 3}", encoding="utf-8")
        assert load_settings(other).dag.threshold is None

    def test_config_file_that_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEALDAG_CONFIG", str(tmp_path / "absent.yaml"))
        with pytest.raises(ConfigError, match="no configuration file"):
            load_settings()


def test_the_log_level_is_touched_only_where_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("healdag")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    fake = FakePredictor(("a", "b"))
    create_classifier(primary=fake, config_path=write(tmp_path, "dag: {max_chars: 9}"))
    assert logger.level == logging.NOTSET
    create_classifier(primary=fake, config_path=write(tmp_path, "logging: {level: ERROR}"))
    assert logger.level == logging.ERROR
