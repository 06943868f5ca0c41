"""One fault at a time, put in on purpose: the text is answered, or marked, and the fault is told; nothing is lost."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import MANIFEST, make_current, promote, rollback
from healdag.errors import ArtifactError, BaseModelNotFoundError, UsageError
from healdag.nodes import Circuit
from healdag.predictors import Answers, Spec, ask, load_predictor
from healdag.predictors._halving import DOWN, MOST_FAILURES, in_halves, is_out_of_memory
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.fake import FakePredictor

LABELS = lexicon_labels()
TEMPERATURES = {"red sun": "warm", "blue ice": "cold"}
Make = Callable[..., Path]


class Picky(FakePredictor):
    """Raises ``error`` where a batch holds one of the texts in ``bad``, or more than ``most`` texts."""

    def __init__(self, error: Exception, bad: Sequence[str] = (), most: int | None = None, **options: Any) -> None:
        super().__init__(LABELS, **{"default": {"joy": 0.9}, "name": "model", **options})
        self.error, self.bad, self.most = error, set(bad), most

    def predict_proba(self, texts: Sequence[str]) -> Any:
        rows = super().predict_proba(texts)
        if self.bad & set(texts) or (self.most is not None and len(texts) > self.most):
            raise self.error
        return rows


class TestATextThatThePredictorRaisesOn:
    @pytest.mark.parametrize("bad", [[0], [17], [99], [0, 1], [0, 1, 2], [3, 50, 51, 98]])
    def test_costs_the_others_nothing(self, bad: list[int]) -> None:
        texts = [f"text {i}" for i in range(100)]
        model = Picky(ValueError("cannot read this"), [texts[i] for i in bad])
        results = create_classifier(primary=model, threshold=0).classify_many(texts)
        marked = [i for i, result in enumerate(results) if "model_error" in result.reasons]
        assert marked == bad
        assert {results[i].final_label for i in range(100) if i not in bad} == {"joy"}
        assert results[bad[0]].attempts[0].error == "ValueError: cannot read this"
        assert len(model.calls) < 20 * len(bad)

    def test_is_answered_by_a_backup(self) -> None:
        model, second = Picky(ValueError("no"), ["bad"]), FakePredictor(LABELS, default={"anger": 0.6}, name="second")
        good, bad = create_classifier(primary=model, backups=[second], threshold=0).classify_many(["good", "bad"])
        assert (good.final_label, bad.final_label, bad.source) == ("joy", "anger", "backup")
        assert second.calls == [["bad"]]

    def test_in_a_backup(self) -> None:
        second = Picky(KeyError("x"), ["bad"], name="second", default={"anger": 0.9})
        model = FakePredictor(LABELS, default={"joy": 0.3}, name="model")
        good, bad = create_classifier(primary=model, backups=[second]).classify_many(["good", "bad"])
        assert (good.final_label, bad.final_label, bad.source) == ("anger", "joy", "model")

    def test_a_model_that_always_raises_is_not_asked_for_every_text(self) -> None:
        model = Picky(RuntimeError("broken"), most=0)
        results = create_classifier(primary=model).classify_many([f"text {i}" for i in range(1000)])
        assert {result.reasons for result in results} == {("model_error",)}
        assert len(model.calls) < 40

    @pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError("late")])
    def test_a_service_that_is_down_is_asked_once(self, error: Exception) -> None:
        model = Picky(error, most=0)
        answers = ask(model, ["a", "b", "c"])
        assert answers.rows == [None] * 3
        assert len(model.calls) == 1

    def test_what_cannot_say_what_it_cannot_read(self) -> None:
        class Mute(FakePredictor):
            def unknown_share(self, texts: Sequence[str]) -> list[float]:
                raise ValueError("no tokenizer")

        assert create_classifier(primary=Mute(LABELS, default="joy")).classify("text").final_label == "joy"


class TestHalving:
    def test_every_text_is_in_one_part_in_order(self) -> None:
        def call(part: slice) -> range:
            if any(i in {3, 4, 40} for i in range(part.start, part.stop)):
                raise ValueError
            return range(part.start, part.stop)

        parts = in_halves(call, 64)
        assert [i for part, _ in parts for i in range(part.start, part.stop)] == list(range(64))
        assert [part.start for part, found in parts if isinstance(found, Exception)] == [3, 4, 40]

    def test_has_an_end(self) -> None:
        calls = []

        def call(part: slice) -> None:
            calls.append(part)
            if any(i % 2 for i in range(part.start, part.stop)):
                raise ValueError

        parts = in_halves(call, 10_000)
        assert sum(part.stop - part.start for part, _ in parts) == 10_000
        assert len(calls) <= 2 * MOST_FAILURES + 20

    def test_nothing_to_ask(self) -> None:
        assert in_halves(lambda part: 7, 0) == [(slice(0, 0), 7)]


class TestMemory:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (MemoryError(), True),
            (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
            (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
            (Exception("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9"), True),
            (OSError(12, "Cannot allocate memory"), True),
            (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        ],
    )
    def test_is_told_by_type_or_message(self, error: Exception, expected: bool) -> None:
        assert is_out_of_memory(error) is expected

    def test_torchs_own(self) -> None:
        import torch

        assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))

    def test_a_batch_is_halved_once_and_stays_small(self) -> None:
        model = Picky(MemoryError(), most=5)
        results = create_classifier(primary=model, threshold=0).classify_many([f"text {i}" for i in range(100)])
        assert {result.final_label for result in results} == {"joy"}
        sizes = [len(call) for call in model.calls]
        assert sizes[:5] == [100, 50, 25, 12, 6]
        assert max(sizes[5:]) <= 3

    def test_not_even_one_text_fits(self) -> None:
        model = Picky(MemoryError("full"), most=0)
        results = create_classifier(primary=model).classify_many(["a", "b", "c", "d", "e", "f"])
        assert [result.attempts[0].error for result in results] == ["MemoryError: full"] * 6
        assert sum(len(call) == 1 for call in model.calls) == DOWN

    @pytest.mark.parametrize("most", [1, 4])
    def test_the_encoders_batch_is_halved(self, tiny_classifier: Path, most: int, caplog: Any) -> None:
        import torch

        model: Any = tiny(tiny_classifier)
        texts = ["happy", "sad text", "this text expresses joy", "anger!"] * 5
        expected = model.predict_proba(texts)
        run, sizes, freed = model._encoder.backend.run, [], []

        def small(ids: Any, *rest: Any) -> Any:
            sizes.append(len(ids))
            if len(ids) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return run(ids, *rest)

        model._encoder.backend.run, model._encoder.backend.free = small, lambda: freed.append(1)
        np.testing.assert_allclose(model.predict_proba(texts), expected, atol=1e-4)
        assert freed
        assert sizes[0] == 20
        assert "out of memory: 10 windows at once instead of 20" in caplog.text


def tiny(folder: Path) -> Any:
    spec = Spec(("joy", "anger", "neutral"), options={"model": str(folder), "device": "cpu", "name": "model"})
    return load_predictor("transformer", spec)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_logits_that_are_no_numbers_mark_their_text_alone(tiny_classifier: Path, value: float) -> None:
    model = tiny(tiny_classifier)
    run = model._encoder.backend.run

    def broken(ids: Any, *rest: Any) -> Any:
        logits, states = run(ids, *rest)
        logits[ids.shape[0] - 1] = value
        return logits, states

    model._encoder.backend.run = broken
    second = FakePredictor(model.labels, default={"anger": 0.7}, name="second")
    short, longer = create_classifier(primary=model, backups=[second], threshold=0).classify_many(
        ["happy", "this text expresses joy"]  # sorted by length: the longer one is the last of the batch
    )
    assert (short.reasons, short.source) == ((), "model")
    assert (longer.reasons, longer.final_label, longer.source) == (("model_error",), "anger", "backup")
    assert longer.attempts[0].error == "could not answer"


class TestAHungLlm:
    def hanging(self, release: threading.Event) -> Any:
        from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

        class Hanging(GenericFakeChatModel):
            def _generate(self, *args: Any, **options: Any) -> Any:
                release.wait(30)
                raise RuntimeError("released")

        return Hanging(messages=iter(()))

    @pytest.mark.parametrize("as_primary", [False, True])
    def test_texts_are_answered_or_marked(self, as_primary: bool) -> None:
        release = threading.Event()
        spec = {"kind": "llm", "model": self.hanging(release), "timeout": 0.05, "retries": 0}
        try:
            if as_primary:
                options = {key: value for key, value in spec.items() if key != "kind"}
                llm = load_predictor("llm", Spec(LABELS, options=options))
                first, second = create_classifier(primary=llm).classify_many(["one", "two"])
                assert (first.source, first.reasons, second.reasons) == ("abstain", ("model_error",), ("model_error",))
            else:
                model = FakePredictor(LABELS, default={"joy": 0.3}, name="model")
                first, second = create_classifier(primary=model, backups=[spec]).classify_many(["one", "two"])
                assert (first.final_label, first.source, second.final_label) == ("joy", "model", "joy")
                assert "TimeoutError" in str(first.attempts[1].error)
        finally:
            release.set()


class Service(FakePredictor):
    """A backup that can be switched off; ``hold`` keeps its calls waiting."""

    def __init__(self) -> None:
        super().__init__(LABELS, default={"anger": 0.9}, name="service")
        self.down: Exception | None = OSError("refused")
        self.hold: threading.Event | None = None
        self.entered = threading.Event()

    def predict_proba(self, texts: Sequence[str]) -> Any:
        rows = super().predict_proba(texts)
        self.entered.set()
        if self.hold is not None:
            assert self.hold.wait(30)
        if self.down is not None:
            raise self.down
        return rows


def behind_a_breaker(tmp_path: Path, service: Any, failures: int = 2, **dag: Any) -> Any:
    config = tmp_path / "config.yaml"
    settings = {"backup_failures": failures, "backup_pause": 3600, **dag}
    config.write_text("dag:\n" + "".join(f"  {key}: {value}\n" for key, value in settings.items()), encoding="utf-8")
    model = FakePredictor(LABELS, default={"joy": 0.3}, name="model")
    return create_classifier(primary=model, backups=[service], config_path=config)


class TestTheCircuitBreaker:
    def circuit(self, classifier: Any) -> Circuit:
        found = classifier.nodes.backup.ladder[0].circuit
        assert isinstance(found, Circuit)
        return found

    def test_a_backup_that_keeps_failing_is_left_alone(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        service = Service()
        classifier = behind_a_breaker(tmp_path, service)
        errors = [classifier.classify(f"text {i}").attempts[1].error for i in range(5)]
        assert errors == ["OSError: refused"] * 2 + ["circuit open: 2 calls in a row had failed"] * 3
        assert len(service.calls) == 2
        assert classifier.classify("text").final_label == "joy"
        assert (
            "backup 'service' failed 2 times in a row, last: OSError: refused; it is not asked for 3600 s"
            in caplog.text
        )
        assert "its circuit is open, failures in a row: 2, spared: 4" in classifier.explain_policy()

    def test_one_call_tries_and_closes_it(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        service = Service()
        classifier = behind_a_breaker(tmp_path, service)
        for i in range(3):
            classifier.classify(f"text {i}")
        self.circuit(classifier).breaker.reset_timeout = 0
        assert classifier.classify("still down").attempts[1].error == "OSError: refused"
        assert self.circuit(classifier).state == "open"  # one failure is enough now
        service.down = None
        assert classifier.classify("up again").final_label == "anger"
        assert self.circuit(classifier).state == "closed"
        assert self.circuit(classifier).failures == 0
        assert "backup 'service' answers again" in caplog.text

    def test_the_others_do_not_wait_for_the_one_that_tries(self, tmp_path: Path) -> None:
        service = Service()
        classifier = behind_a_breaker(tmp_path, service)
        for i in range(2):
            classifier.classify(f"text {i}")
        self.circuit(classifier).breaker.reset_timeout = 0
        service.hold, service.down = threading.Event(), None
        service.entered.clear()
        before = len(service.calls)
        with ThreadPoolExecutor(1) as pool:
            trying = pool.submit(classifier.classify_many, ["the first"])
            assert service.entered.wait(30)
            (other,) = classifier.classify_many(["another"])
            assert other.attempts[1].error == "circuit open: 2 calls in a row had failed"
            service.hold.set()
            assert trying.result(30)[0].final_label == "anger"
        assert len(service.calls) == before + 1

    def test_a_closed_circuit_does_not_make_calls_wait_for_each_other(self) -> None:
        circuit, both = Circuit("service", 3, 60), threading.Barrier(2, timeout=30)

        def answer() -> Answers:
            both.wait()
            return Answers([[1.0]], [None], 0.0)

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: circuit.ask(1, answer), range(2)))
        assert [one.rows for one in found] == [[[1.0]], [[1.0]]]

    def test_a_hanging_backup_opens_it(self, tmp_path: Path) -> None:
        service = Service()
        service.hold = threading.Event()
        classifier = behind_a_breaker(tmp_path, service, backup_timeout=0.05)
        errors = [classifier.classify(f"text {i}").attempts[1].error for i in range(3)]
        service.hold.set()
        assert errors[:2] == ["TimeoutError: no answer within 0.05 s"] * 2
        assert errors[2].startswith("circuit open")

    def test_failures_that_are_not_in_a_row_do_not(self, tmp_path: Path) -> None:
        service = Service()
        classifier = behind_a_breaker(tmp_path, service)
        for i in range(6):
            service.down = OSError("refused") if i % 2 else None
            classifier.classify(f"text {i}")
        assert self.circuit(classifier).state == "closed"
        assert len(service.calls) == 6

    def test_a_backup_that_has_nothing_to_say_does_not(self, tmp_path: Path) -> None:
        silent = FakePredictor(LABELS, default=None, name="silent")
        classifier = behind_a_breaker(tmp_path, silent)
        for i in range(5):
            assert classifier.classify(f"text {i}").attempts[1].error == "could not answer"
        assert len(silent.calls) == 5

    def test_one_bad_text_among_others_does_not(self, tmp_path: Path) -> None:
        service = Picky(ValueError("no"), ["bad"], name="service")
        classifier = behind_a_breaker(tmp_path, service, failures=1)
        classifier.classify_many(["bad", "good"])
        assert self.circuit(classifier).state == "closed"

    def test_switched_off(self, tmp_path: Path) -> None:
        service = Service()
        classifier = behind_a_breaker(tmp_path, service, failures=0)
        for i in range(10):
            classifier.classify(f"text {i}")
        assert len(service.calls) == 10

    def test_the_artefacts_own_backups_have_none(self, models: Path) -> None:
        assert [rung.circuit for rung in create_classifier("mood").nodes.backup.ladder] == [None]


@pytest.fixture
def models(tmp_path: Path, make_tfidf: Make, make_artifact: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``mood`` 1.0.0, 1.1.0 (in use) and 1.2.0 (never in use), each with a TF-IDF backup."""
    root = tmp_path / "models"
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        folder = make_tfidf(root / "mood" / version, TEMPERATURES)
        make_tfidf(folder / "backups" / "tfidf", TEMPERATURES, version=version)
        (folder / "policy.json").write_text(
            '{"backups": {"tfidf": {"rule": "surer", "n": 10, "fixed": 1, "broke": 0}}}', encoding="utf-8"
        )
    for version in ("1.0.0", "1.1.0"):
        assert make_current(root, "mood", version)
    monkeypatch.setenv("HEALDAG_MODELS", str(root))
    return root


def damage(folder: Path) -> None:
    (folder / "model.skops").write_bytes(b"half a file")


BREAK: dict[str, Callable[[Path], None]] = {
    "weights damaged": damage,
    "weights missing": lambda folder: (folder / "model.skops").unlink(),
    "manifest cut": lambda folder: (folder / MANIFEST).write_bytes(b'{"kind":'),
    "manifest missing": lambda folder: (folder / MANIFEST).unlink(),
    "folder missing": shutil.rmtree,
    "policy damaged": lambda folder: (folder / "policy.json").write_bytes(b"\xff"),
    "confidence damaged": lambda folder: (folder / "confidence.json").write_bytes(b"{}"),
}


class TestAPrimaryThatCannotBeLoaded:
    @pytest.mark.parametrize("fault", list(BREAK))
    def test_the_last_good_version_answers(self, fault: str, models: Path, caplog: pytest.LogCaptureFixture) -> None:
        BREAK[fault](models / "mood" / "1.1.0")
        classifier = create_classifier("mood")
        result = classifier.classify("red sun")
        assert (result.final_label, result.model_version) == ("warm", "mood/1.0.0 (fallback from 1.1.0)")
        assert "mood 1.1.0 cannot be loaded" in caplog.text
        assert "mood/1.0.0 stands in for it" in classifier.explain_policy()

    def test_none_that_was_never_in_use_or_was_rolled_back(self, models: Path) -> None:
        promote(models, "mood", "1.2.0")
        rollback(models, "mood")
        damage(models / "mood" / "1.1.0")
        assert create_classifier("mood").model_version == "mood/1.0.0 (fallback from 1.1.0)"

    def test_without_a_history_the_next_older_one(self, models: Path) -> None:
        (models / "mood" / "history.jsonl").unlink()
        damage(models / "mood" / "1.1.0")
        assert create_classifier("mood").model_version == "mood/1.0.0 (fallback from 1.1.0)"

    def test_else_tfidf(self, models: Path, caplog: pytest.LogCaptureFixture) -> None:
        damage(models / "mood" / "1.1.0")
        damage(models / "mood" / "1.0.0")
        classifier = create_classifier("mood")
        assert classifier.classify("blue ice").final_label == "cold"
        assert classifier.model_version == "mood/1.1.0/tfidf (fallback from 1.1.0)"
        assert "1.0.0 cannot stand in for" in caplog.text

    def test_tfidf_with_backups_of_ones_own(self, models: Path) -> None:
        for version in ("1.0.0", "1.1.0"):
            damage(models / "mood" / version)
        second = FakePredictor(("warm", "cold"), default="cold", name="second")
        result = create_classifier("mood", backups=["tfidf", second], threshold=1).classify("red sun")
        assert [attempt.by for attempt in result.attempts] == ["model", "second"]

    def test_nothing_is_left(self, models: Path) -> None:
        for version in ("1.0.0", "1.1.0"):
            shutil.rmtree(models / "mood" / version / "backups")
            damage(models / "mood" / version)
        with pytest.raises(ArtifactError, match=r"1\.1\.0.*not the file that was trained"):
            create_classifier("mood")

    def test_a_version_with_other_labels_does_not_stand_in(self, models: Path, make_tfidf: Make) -> None:
        shutil.rmtree(models / "mood" / "1.0.0")
        make_tfidf(models / "mood" / "1.0.0", {"red": "danger", "blue": "calm"})
        damage(models / "mood" / "1.1.0")
        assert create_classifier("mood").model_version == "mood/1.1.0/tfidf (fallback from 1.1.0)"

    @pytest.mark.parametrize("ask", [{"version": "1.1.0"}, {"fallback": False}])
    def test_not_for_a_version_that_was_asked_for_nor_switched_off(self, ask: dict[str, Any], models: Path) -> None:
        damage(models / "mood" / "1.1.0")
        with pytest.raises(ArtifactError, match="not the file that was trained"):
            create_classifier("mood", **ask)
        with pytest.raises(ArtifactError, match="not the file that was trained"):
            create_classifier(str(models / "mood" / "1.1.0"))

    def test_a_base_that_is_not_installed_is_no_damage(self, models: Path, make_artifact: Make) -> None:
        base = {"name": "no/base", "sha256": "0" * 64}
        make_artifact(models / "mood" / "1.1.0", "lora", ("warm", "cold"), base=base)
        with pytest.raises(BaseModelNotFoundError, match="no/base"):
            create_classifier("mood")

    @pytest.mark.parametrize("both", [False, True])
    def test_a_budget_is_not_kept_by_what_was_not_certified(self, both: bool, models: Path) -> None:
        damage(models / "mood" / "1.1.0")
        if both:
            damage(models / "mood" / "1.0.0")
        with pytest.raises(ArtifactError, match="fallback makes it another one" if both else "needs a certificate"):
            create_classifier("mood", max_error=0.05)

    def test_reload_keeps_the_old_one(self, models: Path) -> None:
        classifier = create_classifier("mood")
        damage(models / "mood" / "1.1.0")
        with pytest.raises(ArtifactError, match="not the file that was trained"):
            classifier.reload()
        assert classifier.classify("red sun").model_version == "mood/1.1.0"

    def test_reload_takes_the_restored_one(self, models: Path) -> None:
        whole = (models / "mood" / "1.1.0" / "model.skops").read_bytes()
        damage(models / "mood" / "1.1.0")
        classifier = create_classifier("mood")
        (models / "mood" / "1.1.0" / "model.skops").write_bytes(whole)
        classifier.reload()
        assert classifier.model_version == "mood/1.1.0"
        assert "stands in" not in classifier.explain_policy()

    @pytest.mark.parametrize("fault", ["weights damaged", "folder missing"])
    def test_the_watcher_takes_the_restored_one(self, fault: str, models: Path, tmp_path: Path) -> None:
        place = models / "mood" / "1.1.0"
        shutil.copytree(place, tmp_path / "kept")
        BREAK[fault](place)
        classifier = create_classifier("mood")
        assert not classifier.reload_if_changed()
        shutil.copytree(tmp_path / "kept", place, dirs_exist_ok=True)
        assert classifier.reload_if_changed()
        assert classifier.model_version == "mood/1.1.0"

    def test_a_task_that_never_was(self, models: Path) -> None:
        with pytest.raises(UsageError, match="no model for task 'weather'"):
            create_classifier("weather")


class TestAPartThatCannotBeLoaded:
    def test_a_backup_is_left_out(self, models: Path, caplog: pytest.LogCaptureFixture) -> None:
        damage(models / "mood" / "1.1.0" / "backups" / "tfidf")
        classifier = create_classifier("mood")
        assert classifier.model_version == "mood/1.1.0"
        assert classifier.nodes.backup.ladder == ()
        assert "mood/1.1.0: The backup 'tfidf' cannot be loaded and is left out" in caplog.text
        assert "backup 'tfidf' cannot be loaded" in classifier.explain_policy()
        for strict in ({"version": "1.1.0"}, {"backups": ["tfidf"], "version": "1.1.0"}, {"fallback": False}):
            with pytest.raises(ArtifactError, match="not the file that was trained"):
                create_classifier("mood", **strict)
        with pytest.raises(ArtifactError, match=r"backup 'tfidf' \(not loaded\) makes it another one"):
            create_classifier("mood", max_error=0.1)

    @pytest.fixture
    def ironic(self, models: Path, make_tfidf: Make) -> Path:
        """The detector's folder; ``mood`` listens to it."""
        for version in ("1.0.0", "1.1.0"):
            path = models / "mood" / version / MANIFEST
            path.write_text(path.read_text(encoding="utf-8").replace('"kind"', '"sarcasm": true, "kind"'))
        texts = {"oh great": "sarcastic", "plain": "not_sarcastic"}
        folder = make_tfidf(models / "sarcasm" / "1.0.0", texts, task="sarcasm")
        make_current(models, "sarcasm", "1.0.0")
        return folder

    def test_the_sarcasm_detector_when_it_is_whole(self, ironic: Path) -> None:
        assert create_classifier("mood").classify("oh great").sarcasm is not None

    @pytest.mark.parametrize("fault", ["weights damaged", "manifest cut"])
    def test_the_sarcasm_detector_is_left_out(self, fault: str, ironic: Path, caplog: pytest.LogCaptureFixture) -> None:
        BREAK[fault](ironic)
        classifier = create_classifier("mood")
        result = classifier.classify("red sun")
        assert (result.final_label, result.sarcasm, result.model_version) == ("warm", None, "mood/1.1.0")
        assert "The sarcasm detector cannot be loaded and is left out" in caplog.text
        with pytest.raises(ArtifactError, match=r"sarcasm detector \(not loaded\) makes it another one"):
            create_classifier("mood", max_error=0.1)
        with pytest.raises(ArtifactError):
            create_classifier("mood", fallback=False)

    @pytest.mark.parametrize("way", ["reload", "reload_if_changed", "rollback"])
    def test_what_was_left_out_comes_back(
        self, way: str, ironic: Path, models: Path, make_tfidf: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        if way == "rollback":  # to a detector that is whole
            ironic = make_tfidf(
                models / "sarcasm" / "1.1.0", {"oh": "sarcastic", "so": "not_sarcastic"}, task="sarcasm"
            )
            make_current(models, "sarcasm", "1.1.0")
        whole = (ironic / "model.skops").read_bytes()
        damage(ironic)
        classifier = create_classifier("mood")
        assert "The sarcasm detector cannot be loaded" in caplog.text
        assert "Once it is restored, reload() takes it" in caplog.text
        assert not classifier.reload_if_changed()  # nothing was done about it
        if way == "rollback":
            rollback(models, "sarcasm")
        else:
            (ironic / "model.skops").write_bytes(whole)
        if way == "reload":
            classifier.reload()
        else:
            assert classifier.reload_if_changed()
        assert classifier.classify("oh great").sarcasm is not None
        assert "left out" not in classifier.explain_policy()
        assert not classifier.reload_if_changed()

    def test_what_is_still_damaged_is_said_once(self, ironic: Path) -> None:
        damage(ironic)
        classifier = create_classifier("mood")
        (ironic / "model.skops").write_bytes(b"half a file, but another half")
        with pytest.raises(ArtifactError, match="not the file that was trained"):
            classifier.reload_if_changed()
        assert not classifier.reload_if_changed()
        assert classifier.classify("red sun").final_label == "warm"


def test_the_log_says_once_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "healdag"):
        ask(Picky(ValueError("odd"), ["b"]), ["a", "b", "c", "d"])
    assert [record.message for record in caplog.records] == [
        "predictor 'model' failed on 1 of 4 texts: ValueError: odd"
    ]
