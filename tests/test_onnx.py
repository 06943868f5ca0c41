"""The ONNX engine: answers as torch's, a gate for int8, exports that are never stale or half-made, no torch."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from healdag import create_classifier
from healdag.artifacts import Calibration, Exported, Int8Check, exports, find_export, read_manifest
from healdag.artifacts.exports import (
    PRECISIONS,
    RUNTIMES,
    export_folder,
    exportable,
    processor,
    stale_exports,
    write_checks,
)
from healdag.cli import app
from healdag.config import asked_threads, cache_folder
from healdag.engines import gate
from healdag.errors import ArtifactError, ConfigError, MissingExtraError
from healdag.predictors import Familiarity, Spec, load_predictor
from healdag.predictors import _onnx_export as writing
from healdag.predictors._encoder import Encoder, Vocabulary
from healdag.predictors._engines import open_exported
from healdag.predictors._onnx import OnnxBackend
from healdag.training.datasets import Example

LABELS = ("joy", "anger", "neutral")
TEXTS = [
    "so happy",
    "this text expresses anger!",
    "sad",
    "?",
    "happy " * 200 + "sad " * 30,  # longer than the model reads at once
    "\N{SNOWMAN} unknown \N{SNOWMAN}",
    "",
]
WORDS = ("happy", "sad", "this", "text", "expresses", "joy", "anger")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("HEALDAG_CACHE", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


@pytest.fixture
def make_mood(tmp_path: Path, tiny_base: Path, make_lora: Any, make_tfidf: Any) -> Callable[..., Path]:
    """Writes a LoRA artefact with a calibration, a TF-IDF backup, and, if wanted, what it knows of its texts."""

    def make(name: str = "1", *, layer: int | None = None, **fields: Any) -> Path:
        folder = tmp_path / "mood" / name
        if layer is not None:
            folder.mkdir(parents=True)
            spread = np.random.default_rng(0).normal(size=(16, 16)).round(3)
            Familiarity(layer, np.zeros(16), spread, 4.0, 2.0, -1.0).save(folder)
        calibration = {"calibration": {"method": "temperature", "temperature": 1.5, "bias": [0.1, -0.2, 0.1]}}
        make_lora(folder, tiny_base, LABELS, **{**calibration, **fields})
        make_tfidf(folder / "backups" / "tfidf", dict(zip(("happy day", "rage", "table"), LABELS, strict=True)))
        return folder

    return make


@pytest.fixture
def mood(make_mood: Callable[..., Path]) -> Path:
    return make_mood(layer=1)


def opened(folder: Path, engine: str, **options: Any) -> Any:
    manifest = read_manifest(folder)
    return load_predictor(manifest.kind, Spec(manifest.labels, folder, {"engine": engine, **options}))


def with_int8(folder: Path, runtime: str | None = None, **figures: Any) -> Exported:
    """Exports the artefact and writes that int8 was measured, with these figures, and perhaps what runs it."""
    opened(folder, "onnx-fp32")
    exported = find_export(folder, read_manifest(folder))
    assert exported is not None
    assert exported.checks is not None
    good: dict[str, Any] = {
        "rows": 100,
        "data": "rows.csv",
        "data_sha256": "",
        "agreement": 0.99,
        "mean_difference": 0.001,
        "macro_f1": 0.7,
        "macro_f1_torch": 0.702,
        "log_loss": 0.5,
        "log_loss_torch": 0.5,
        "refitted": True,
    }
    speeds = {"torch": 1.0, "fp32": 2.0, "int8": 3.0}
    changes: dict[str, Any] = {"int8": Int8Check(**{**good, **figures}), "texts_per_second": speeds}
    if runtime is not None:
        changes["runs"] = dict.fromkeys(PRECISIONS, runtime)
    return write_checks(exported, exported.checks.model_copy(update=changes))


def rows(n: int = 60) -> tuple[Example, ...]:
    rng = np.random.default_rng(1)
    return tuple(Example(" ".join(rng.choice(WORDS, 6)), (LABELS[i % 3],)) for i in range(n))


class TestAnswers:
    @pytest.mark.parametrize("runtime", RUNTIMES)
    @pytest.mark.parametrize("layer", [None, 0, 1])
    @pytest.mark.parametrize("multi_label", [False, True])
    def test_fp32_answers_as_torch(self, make_mood: Any, layer: int | None, multi_label: bool, runtime: str) -> None:
        folder = make_mood(layer=layer, multi_label=multi_label)
        with_int8(folder, runtime)
        torch, onnx = opened(folder, "torch"), opened(folder, "onnx-fp32")
        (expected, far), (found, other) = torch.exact(TEXTS), onnx.exact(TEXTS)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(onnx.predict_proba(TEXTS), torch.predict_proba(TEXTS), atol=2e-4)
        np.testing.assert_allclose(onnx.uncalibrated(TEXTS), torch.uncalibrated(TEXTS), atol=2e-4)
        assert (far is None) == (other is None) == (layer is None)
        expected_vectors, vectors = (model.observe(TEXTS, vectors=True).vectors for model in (torch, onnx))
        assert (vectors is None) == (expected_vectors is None) == (layer is None)
        if vectors is not None:
            np.testing.assert_allclose(vectors, expected_vectors, atol=1e-3)
        if far is not None:
            np.testing.assert_allclose(other, far, atol=1e-3)
            np.testing.assert_allclose(onnx.examine(TEXTS)[1], torch.examine(TEXTS)[1], atol=2e-3)
            np.testing.assert_allclose(onnx.hidden(TEXTS, layer), torch.hidden(TEXTS, layer), atol=1e-4)
        assert onnx.exceeds_window(TEXTS) == torch.exceeds_window(TEXTS)
        assert onnx.unknown_share(TEXTS) == torch.unknown_share(TEXTS)
        assert (onnx.engine, torch.engine) == ("onnx-fp32", "torch")
        assert (onnx.runtime, torch.runtime) == (runtime, "")
        assert (onnx.labels, onnx.prior, onnx.version) == (torch.labels, torch.prior, torch.version)
        assert onnx.predict_proba([]).shape == (0, 3)

    def test_a_layer_that_was_not_exported_is_refused(self, mood: Path) -> None:
        with pytest.raises(ArtifactError, match=r"holds those of layers 1; not of 0"):
            opened(mood, "onnx-fp32").hidden(["sad"], 0)

    def test_pairs_of_texts(self, mood: Path) -> None:
        torch = opened(mood, "torch").encoder
        exported = with_int8(mood)
        content = (exported.folder / "tokenizer.json").read_text(encoding="utf-8")
        export = exported.export
        backend = OnnxBackend(exported.path("fp32"), export)
        onnx = Encoder(backend, Vocabulary(content, export.pad_id, export.unknown_id), max_length=64)
        pairs = [(text, "this text expresses joy.") for text in TEXTS]
        found, expected = (encoder.pooled(pairs, lambda logits: logits) for encoder in (onnx, torch))
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_window_overlap_is_the_callers(self, mood: Path) -> None:
        text = " ".join(np.random.default_rng(0).choice(WORDS, 300))
        wide, narrow = (opened(mood, "onnx-fp32", window_overlap=n).exact([text])[0] for n in (16, 0))
        assert np.abs(wide - narrow).max() > 1e-6
        np.testing.assert_allclose(narrow, opened(mood, "torch", window_overlap=0).exact([text])[0], atol=1e-4)

    def test_full_models(self, tmp_path: Path, make_bert: Any, make_artifact: Any) -> None:
        make_bert(tmp_path / "full", LABELS)
        folder = make_artifact(tmp_path / "full", "full", LABELS, max_length=64)
        np.testing.assert_allclose(
            opened(folder, "onnx").exact(TEXTS)[0], opened(folder, "torch").exact(TEXTS)[0], atol=1e-4
        )

    @pytest.mark.parametrize("runtime", RUNTIMES)
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_an_answer_does_not_depend_on_its_batch(self, mood: Path, precision: str, runtime: str) -> None:
        with_int8(mood, runtime)
        model = opened(mood, f"onnx-{precision}")
        together = model.exact(TEXTS)[0]
        np.testing.assert_allclose(together, np.vstack([model.exact([text])[0] for text in TEXTS]), atol=1e-5)

    @pytest.mark.parametrize("runtime", RUNTIMES)
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_many_threads(self, mood: Path, precision: str, runtime: str) -> None:
        with_int8(mood, runtime)
        model = opened(mood, f"onnx-{precision}")
        expected = model.predict_proba(TEXTS)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _: model.predict_proba(TEXTS), range(40)):
                np.testing.assert_allclose(found, expected, atol=1e-9)

    def test_same_answers_and_errors_of_the_whole_graph(self, mood: Path) -> None:
        torch = create_classifier(str(mood), engine="torch")
        onnx = create_classifier(str(mood), engine="onnx")
        texts = [text for text in TEXTS if text]
        for a, b in zip(torch.classify_many(texts), onnx.classify_many(texts), strict=True):
            assert (a.final_label, a.source, a.reasons) == (b.final_label, b.source, b.reasons)
            assert b.confidence == pytest.approx(a.confidence, abs=2e-4)
        for wrong in ("", "x" * 100_001):
            errors = []
            for classifier in (torch, onnx):
                with pytest.raises(ValueError, match=r".+") as caught:
                    classifier.classify(wrong)
                errors.append((type(caught.value), str(caught.value)))
            assert errors[0] == errors[1]


class TestQuantize:
    def test_is_close_and_block_by_block(self) -> None:
        matrix = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
        matrix[128:256] *= 100
        numbers, scales = writing.quantize(matrix)
        assert numbers.shape == (5, 3, writing.BLOCK)
        back = ((numbers.astype(np.float32) - 128) * scales[:, :, None]).reshape(5, -1)[:, :300].T
        assert np.abs(back - matrix)[:128].max() < np.abs(matrix[:128]).max() / 200
        assert np.abs(back - matrix)[128:256].max() < np.abs(matrix).max() / 200

    def test_a_matrix_of_nothing(self) -> None:
        numbers, scales = writing.quantize(np.zeros((128, 2), dtype=np.float32))
        assert (numbers == 128).all()
        assert (scales == 1).all()

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_int8_is_near_torch_and_another_version(self, mood: Path, runtime: str) -> None:
        with_int8(mood, runtime, calibration=read_manifest(mood).calibration)
        torch, int8 = opened(mood, "torch"), opened(mood, "onnx-int8")
        gap = np.abs(int8.exact(TEXTS)[0] - torch.exact(TEXTS)[0])
        assert 0 < gap.max() < 0.1
        assert int8.version == f"{torch.version}/int8"


class TestGate:
    def given(self, **fields: Any) -> gate.Rows:
        return gate.Rows(rows(), "rows.csv", **fields)

    def models(self, folder: Path) -> tuple[Any, Any]:
        exported = with_int8(folder)
        plain = replace(exported, checks=None)
        bare = read_manifest(folder).model_copy(update={"calibration": Calibration()})
        return opened(folder, "torch"), open_exported(plain, "int8", bare, folder, {})

    def test_the_calibration_is_the_artefacts_where_a_new_one_would_answer_otherwise(self, mood: Path) -> None:
        check = gate.measure_int8(*self.models(mood), None, self.given(refit=False))
        assert not check.refitted
        assert check.calibration == read_manifest(mood).calibration
        assert check.rows == 60
        assert check.data == "rows.csv"
        assert check.agreement > 0.9
        assert check.familiar_agreement is not None
        assert 0.9 < check.distance_scale < 1.1

    def test_the_calibration_is_fitted_anew(self, mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good = {"agreement": 1.0, "macro_f1": 0.5, "macro_f1_torch": 0.5, "log_loss": 1, "log_loss_torch": 1}
        monkeypatch.setattr(gate, "compare", lambda *_, **__: {**good, "mean_difference": 0})
        check = gate.measure_int8(*self.models(mood), None, self.given())
        assert check.refitted
        assert check.calibration not in (Calibration(), read_manifest(mood).calibration)

    def test_rows_without_an_answer(self) -> None:
        """What torch cannot answer is no evidence; what int8 alone cannot is a wrong answer."""
        given = rows(4)
        right = np.eye(3)[[0, 1, 2, 0]] * 0.94 + 0.02
        silent = right.copy()
        silent[1] = np.nan
        torch, int8 = right.copy(), silent
        torch[3] = int8[3] = np.nan

        def model(values: Any) -> Any:
            fixed = {"labels": LABELS, "multi_label": False, "calibration": Calibration()}
            return SimpleNamespace(**fixed, examine=lambda texts: (values, np.arange(len(texts)) + 0.5))

        check = gate.measure_int8(model(torch), model(int8), None, gate.Rows(given, "rows.csv"))
        assert check.rows == 3
        assert check.agreement == pytest.approx(2 / 3)
        assert np.isfinite([check.log_loss, check.log_loss_torch, check.macro_f1, check.distance_scale]).all()

    @pytest.mark.parametrize(
        ("figures", "passed"),
        [
            ({}, True),
            ({"agreement": 0.979}, False),
            ({"macro_f1": 0.696}, False),
            ({"macro_f1": 0.9}, True),
            ({"familiar_agreement": 0.9}, False),
        ],
    )
    def test_what_passes(self, mood: Path, figures: dict[str, float], passed: bool) -> None:
        checks = with_int8(mood, **figures).checks
        assert checks is not None
        assert checks.int8 is not None
        assert checks.int8.passed is passed
        assert checks.passed() == (["int8", "fp32"] if passed else ["fp32"])

    def test_figures_of_several_labels(self) -> None:
        expected = np.array([[0.9, 0.1], [0.6, 0.7]])
        found = np.array([[0.9, 0.1], [0.4, 0.7]])
        figures = gate.compare(expected, found, np.array([[1, 0], [1, 1]]), None, multi_label=True)
        assert figures["agreement"] == 0.5
        assert figures["macro_f1_torch"] == 1.0
        assert figures["mean_difference"] == pytest.approx(0.05)


class TestChoice:
    def test_auto_is_torch_without_an_export_and_says_why(self, mood: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO", logger="healdag"):
            classifier = create_classifier(str(mood))
        line = "The networks run on torch (model): 'model' of mood 1 has no ONNX export (healdag export mood)."
        assert line in classifier.explain_policy()
        assert line in caplog.text

    def test_auto_takes_the_fastest_that_passed(self, mood: Path) -> None:
        with_int8(mood)
        explained = create_classifier(str(mood)).explain_policy()
        assert re.search(r"The networks run on onnx-int8 in \w+ \(model\)\.", explained)
        assert "torch (model)." in create_classifier(str(mood), engine="torch").explain_policy()

    def test_auto_takes_fp32_where_int8_failed(self, mood: Path) -> None:
        with_int8(mood, agreement=0.9)
        assert re.search(r"onnx-fp32 in \w+ \(model\)\.", create_classifier(str(mood)).explain_policy())
        with pytest.raises(
            ArtifactError, match=r"int8 did not pass: it agrees with torch on 90.0% of 100 rows.*--data"
        ):
            create_classifier(str(mood), engine="onnx-int8")

    def test_int8_that_was_not_measured_is_not_taken(self, mood: Path) -> None:
        assert opened(mood, "onnx").engine == "onnx-fp32"
        with pytest.raises(ArtifactError, match=r"int8 was not measured on labelled rows.*healdag export mood"):
            opened(mood, "onnx-int8")

    def test_nothing_passes(self, mood: Path) -> None:
        exported = with_int8(mood, agreement=0.5)
        checks = exported.checks
        assert checks is not None
        write_checks(exported, checks.model_copy(update={"fp32": checks.fp32.model_copy(update={"max_difference": 1})}))
        with pytest.raises(ArtifactError, match=r"fp32 did not pass: a probability differs.*int8 did not pass"):
            create_classifier(str(mood), engine="onnx")
        assert "cannot be taken: fp32 did not pass" in create_classifier(str(mood)).explain_policy()

    def test_auto_takes_torch_where_that_is_faster(self, mood: Path) -> None:
        exported = with_int8(mood)
        checks = exported.checks
        assert checks is not None
        speeds = {"torch": 9.0, "fp32": 2.0, "int8": 3.0}
        write_checks(exported, checks.model_copy(update={"texts_per_second": speeds}))
        assert "torch is faster than the ONNX export" in create_classifier(str(mood)).explain_policy()

    def test_another_processor_measures_for_itself(self, mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with_int8(mood)
        monkeypatch.setattr("healdag.artifacts.exports.processor", lambda: "another one")
        assert "was not measured on this machine" in create_classifier(str(mood)).explain_policy()
        before = export_folder(mood, read_manifest(mood)).stat().st_mtime_ns
        assert opened(mood, "onnx").engine == "onnx-fp32"
        assert len(list(export_folder(mood, read_manifest(mood)).glob("checks-*.json"))) == 2
        assert before  # the networks themselves are not written again

    def test_a_promise_is_not_kept_by_int8(self, mood: Path) -> None:
        with_int8(mood)
        with pytest.raises(ConfigError, match=r"'onnx-int8' cannot keep max_error=0.1.*'onnx-fp32'"):
            create_classifier(str(mood), engine="onnx-int8", max_error=0.1)
        from healdag.config import load_settings
        from healdag.graph.engines import settle

        for engine in ("auto", "onnx"):
            promised = load_settings(model={"engine": engine}, dag={"label_set": 0.9})
            assert settle(promised, [mood]).engine == "onnx-fp32"

    def test_the_detectors_own_backups_are_not_asked_for(
        self, mood: Path, make_mood: Any, make_lora: Any, tiny_base: Path
    ) -> None:
        from healdag.config import load_settings
        from healdag.graph.engines import settle

        detector = make_mood("detector")
        for folder in (mood, detector):
            make_lora(folder / "backups" / "second", tiny_base, LABELS)
            with_int8(folder)
        assert settle(load_settings(), [mood, detector]).reason.startswith("'second' of mood second has no ONNX export")
        with_int8(mood / "backups" / "second")
        assert settle(load_settings(), [mood, detector]).engine == "onnx"
        assert settle(load_settings(dag={"enable_backup": False}), [detector]).engine == "onnx"

    def test_device(self, mood: Path) -> None:
        with_int8(mood)
        with pytest.raises(ConfigError, match="'onnx' runs on the processor, not on device 'cuda'"):
            opened(mood, "onnx", device="cuda")
        assert opened(mood, "onnx", device="cpu").engine == "onnx-int8"

    def test_the_fastest_runtime_is_taken_and_named(self, mood: Path) -> None:
        checks = with_int8(mood).checks
        assert checks is not None
        for precision, runtime in checks.runs.items():
            speeds = {name: checks.texts_per_second_by_runtime[f"{precision} {name}"] for name in RUNTIMES}
            assert speeds[runtime] == max(speeds.values())
        for runtime in RUNTIMES:
            with_int8(mood, runtime)
            assert f"run on onnx-int8 in {runtime} (model)." in create_classifier(str(mood)).explain_policy()

    def test_another_set_of_runtimes_is_measured_anew(self, mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with_int8(mood)
        monkeypatch.setattr(exports, "RUNTIMES", ("onnxruntime",))
        found = find_export(mood, read_manifest(mood))
        assert found is not None
        assert found.checks is None

    def test_without_onnxruntime(self, mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in RUNTIMES:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(exports, "RUNTIMES", ())
        with pytest.raises(MissingExtraError, match=r"'onnxruntime' is not installed.*pip install 'healdag\[onnx\]'"):
            create_classifier(str(mood), engine="onnx")
        monkeypatch.setattr("healdag.graph.engines.find_spec", lambda _: None)
        assert "onnxruntime is not installed (pip" in create_classifier(str(mood)).explain_policy()

    def test_without_onnx(self, mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnx", None)
        with pytest.raises(MissingExtraError, match=r"'onnx' is not installed.*healdag\[onnx\]"):
            create_classifier(str(mood), engine="onnx")


class TestCache:
    def test_it_happens_once_with_a_line(self, mood: Path, caplog: pytest.LogCaptureFixture) -> None:
        opened(mood, "onnx")
        assert caplog.messages == ["exporting to ONNX, once for all: 'model' of mood 1; this takes some seconds"]
        caplog.clear()
        opened(mood, "onnx")
        assert caplog.messages == []

    def test_a_changed_artefact_is_exported_anew(self, mood: Path, make_lora: Any, tiny_base: Path) -> None:
        before = with_int8(mood)
        classifier = create_classifier(str(mood))
        old = classifier.classify("so happy").probabilities
        content = json.loads((mood / "manifest.json").read_text(encoding="utf-8"))
        content["calibration"]["temperature"] = 5.0
        (mood / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
        assert find_export(mood, read_manifest(mood)) is None
        assert "has no ONNX export" in create_classifier(str(mood)).explain_policy()
        classifier.reload()
        assert classifier.classify("so happy").probabilities != old
        again = opened(mood, "onnx")
        assert again.engine == "onnx-fp32"
        after = find_export(mood, read_manifest(mood))
        assert after is not None
        assert after.folder != before.folder
        np.testing.assert_allclose(again.exact(TEXTS)[0], opened(mood, "torch").exact(TEXTS)[0], atol=1e-4)

    def test_an_error_leaves_nothing(self, mood: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(folder: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(writing, "_split_and_quantize", stop)
        with pytest.raises(KeyboardInterrupt):
            opened(mood, "onnx")
        assert list((cache / "onnx").iterdir()) == []

    def test_a_kill_leaves_no_half_export(self, mood: Path, cache: Path) -> None:
        code = (
            "import os, sys; from healdag import create_classifier; from healdag.predictors import _onnx_export as w\n"
            "w._split_and_quantize = lambda folder: os._exit(9)\n"
            "create_classifier(sys.argv[1], engine='onnx')"
        )
        done = subprocess.run([sys.executable, "-c", code, str(mood)], capture_output=True, check=False)
        assert done.returncode == 9
        left = [path.name for path in (cache / "onnx").iterdir()]
        assert left
        assert all(name.startswith(".") for name in left)
        assert find_export(mood, read_manifest(mood)) is None
        assert opened(mood, "onnx").engine == "onnx-fp32"

    @pytest.mark.parametrize("name", ["fp32.onnx", "tokenizer.json"])
    def test_a_changed_file_is_noticed(self, mood: Path, name: str) -> None:
        path = with_int8(mood, agreement=0.5).folder / name
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ArtifactError, match=r"is missing or was changed; export anew: healdag export mood --force"):
            opened(mood, "onnx")
        assert "The networks run on torch (model): " in create_classifier(str(mood)).explain_policy()

    @pytest.mark.parametrize("name", ["export.json", "checks"])
    def test_a_file_of_another_version_is_no_export(self, mood: Path, name: str) -> None:
        exported = with_int8(mood)
        path = next(exported.folder.glob(f"{name}*"))
        path.write_text(json.dumps({"other": 1}), encoding="utf-8")
        assert find_export(mood, read_manifest(mood)) is None

    def test_a_cache_that_cannot_be_written(self, mood: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("HEALDAG_CACHE", str(tmp_path / "file"))
        with pytest.raises(ArtifactError, match=r"cannot write the ONNX export.*HEALDAG_CACHE"):
            opened(mood, "onnx")

    def test_where_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cache_folder() == tmp_path / "cache"
        monkeypatch.delenv("HEALDAG_CACHE")
        monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache"
        monkeypatch.delenv("HEALDAG_MODELS")
        monkeypatch.setenv("XDG_CACHE_HOME", "~/there")
        assert cache_folder() == Path.home() / "there" / "healdag"

    def test_what_nothing_needs_any_more(self, mood: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = with_int8(mood).folder
        assert stale_exports() == {}
        models = mood.parents[1]
        with monkeypatch.context() as inside:
            # In a folder of models the version in use counts.
            inside.setenv("HEALDAG_MODELS", str(models))
            pointer = mood.parent / "current"
            pointer.write_text("1\n", encoding="utf-8")
            assert stale_exports() == {}
            shutil.copytree(mood, mood.parent / "2")
            (mood.parent / "2" / "manifest.json").write_text(
                (mood / "manifest.json").read_text(encoding="utf-8").replace('"version": "1"', '"version": "2"'),
                encoding="utf-8",
            )
            pointer.write_text("2\n", encoding="utf-8")
            assert stale_exports() == {folder: "mood 1 is not in use"}
        assert stale_exports() == {}
        content = (folder / "export.json").read_text(encoding="utf-8")
        for wrong in ("{}", content.replace(f'"format": {exports.FORMAT}', '"format": 0')):
            (folder / "export.json").write_text(wrong, encoding="utf-8")
            assert stale_exports() == {folder: "this version of healdag does not read it"}
        (folder / "export.json").write_text(content, encoding="utf-8")
        manifest = mood / "manifest.json"
        manifest.write_text(manifest.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert stale_exports() == {folder: "mood 1 was changed"}
        manifest.unlink()
        assert stale_exports() == {folder: "mood 1 is gone"}

    def test_an_export_that_is_being_written_is_left_alone(self, cache: Path) -> None:
        young, old = cache / "onnx" / ".mood-1-a", cache / "onnx" / ".mood-1-b"
        for path in (young, old):
            path.mkdir(parents=True)
        os.utime(old, (0, 0))
        assert stale_exports() == {old: "half-written"}

    def test_what_is_exportable(self, mood: Path) -> None:
        assert list(exportable(mood)) == ["model"]
        assert list(exportable(mood / "backups" / "tfidf")) == []

    @pytest.mark.parametrize(("value", "threads"), [("3", 3), ("2,1", 2), ("", None), ("many", None), ("0", None)])
    def test_threads(self, value: str, threads: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert asked_threads() == threads

    def test_the_processor_has_a_name(self) -> None:
        assert processor()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_graph_answers_without_torch(mood: Path, runtime: str) -> None:
    with_int8(mood, runtime)
    code = """
import json, sys
from healdag import create_classifier
classifier = create_classifier(sys.argv[1], engine="onnx", threshold=1.0, backups=["tfidf"])
answers = classifier.classify_many(["so happy", "sad text " * 80])
assert all(attempt.error is None for answer in answers for attempt in answer.attempts)
heavy = [name for name in ("torch", "transformers", "peft", "onnx", "onnxruntime", "openvino") if name in sys.modules]
print(json.dumps({"by": [a.by for a in answers[0].attempts], "heavy": heavy, "engine": classifier.explain_policy()}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(mood)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert set(found["heavy"]) <= {runtime}
    assert found["by"] == ["model", "tfidf"]
    assert f"onnx-int8 in {runtime} (model)" in found["engine"]


def test_tfidf_is_read_when_it_is_first_asked(mood: Path) -> None:
    folder = mood / "backups" / "tfidf"
    later, now = (
        load_predictor("tfidf", Spec(LABELS, folder, {"engine": engine})) for engine in ("onnx-int8", "torch")
    )
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: later.predict_proba(TEXTS), range(8)):
            np.testing.assert_array_equal(found, now.predict_proba(TEXTS))
    (folder / "model.skops").write_bytes(b"broken")
    with pytest.raises(ArtifactError, match="is not the file that was trained"):
        load_predictor("tfidf", Spec(LABELS, folder, {"engine": "onnx-int8"}))


def test_a_tfidf_backup_is_read_when_it_is_first_asked(mood: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from healdag.predictors import tfidf

    read: list[Path] = []
    monkeypatch.setattr(tfidf, "load_skops", lambda path, own=tfidf.load_skops: read.append(path) or own(path))
    classifier = create_classifier(str(mood), engine="torch", threshold=1.0, backups=["tfidf"])
    assert read == []
    for _ in range(2):
        (own, backup) = classifier.classify("so happy").attempts
        assert (own.by, backup.by, backup.error) == ("model", "tfidf", None)
    assert read == [mood / "backups" / "tfidf" / "model.skops"]
    # As the model itself it is read at once: what is wrong with it is said when it is loaded.
    create_classifier(str(mood / "backups" / "tfidf"), engine="torch")
    assert len(read) == 2


class TestCommand:
    def run(self, *args: str | Path) -> Any:
        return CliRunner().invoke(app, ["export", *(str(arg) for arg in args)])

    def file(self, folder: Path) -> Path:
        path = folder / "rows.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows((row.text, row.label) for row in rows(90))
        return path

    def test_with_a_users_rows(self, mood: Path, tmp_path: Path) -> None:
        done = self.run(mood, "--data", self.file(tmp_path), "--json")
        assert done.exit_code == 0, done.output
        (found,) = json.loads(done.stdout)
        assert found["model"] == "model"
        assert found["fp32"]["max_difference"] <= 1e-4
        assert found["int8"]["data"] == "rows.csv"
        assert set(found["texts_per_second"]) == {"torch", "fp32", "int8"}
        again = self.run(mood, "--data", self.file(tmp_path))
        assert again.exit_code == 0, again.output
        assert "exporting to ONNX" not in again.output
        assert "mood: ONNX on this machine" in again.output
        assert "texts/s" in again.output

    def test_a_gate_that_fails_has_its_figures(
        self, mood: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poor = {"agreement": 0.91, "macro_f1": 0.4, "macro_f1_torch": 0.5, "log_loss": 1, "log_loss_torch": 1}
        monkeypatch.setattr(gate, "compare", lambda *_, **__: {**poor, "mean_difference": 0.1})
        done = self.run(mood, "--data", self.file(tmp_path))
        assert done.exit_code == 0, done.output
        assert "int8 is refused: it agrees with torch on 91.0% of" in done.output
        assert "onnx-int8" not in create_classifier(str(mood)).explain_policy()

    def test_without_labelled_rows_int8_is_not_taken(self, mood: Path) -> None:
        # The model's task has no task file: there is nothing to take rows from.
        done = self.run(mood)
        assert done.exit_code == 0, done.output
        assert "model: int8 was not measured on labelled rows: the model" in done.output
        exported = find_export(mood, read_manifest(mood))
        assert exported is not None
        assert exported.checks is not None
        # Which of the two is faster on a model of this size is a matter of luck.
        speeds = {"torch": 1.0, "fp32": 2.0}
        write_checks(exported, exported.checks.model_copy(update={"texts_per_second": speeds}))
        assert re.search(r"onnx-fp32 in \w+ \(model\)\.", create_classifier(str(mood)).explain_policy())

    def test_prune(self, mood: Path, cache: Path) -> None:
        gone, kept = cache / "onnx" / "mood-0-a", cache / "onnx" / ".mood-1-b"
        gone.mkdir(parents=True)
        kept.mkdir()
        (gone / "export.json").write_text("{}", encoding="utf-8")
        done = self.run("--prune", "--json")
        assert done.exit_code == 0, done.output
        (found,) = json.loads(done.stdout)
        assert found == {"folder": str(gone), "why": "this version of healdag does not read it", "bytes": 2}
        assert list((cache / "onnx").iterdir()) == [kept]
        assert "nothing to delete in" in self.run("--prune").output

    def test_nothing_to_export(self, mood: Path) -> None:
        done = self.run(mood / "backups" / "tfidf", "--data", self.file(mood.parent))
        assert done.exit_code == 2
        assert "nothing to export" in done.output
