"""The screen that spares the sarcasm detector texts: how it is fitted, when it is used, what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import MANIFEST, find_artifact, read_manifest, sha256
from healdag.errors import ArtifactError
from healdag.nodes import Sarcasm
from healdag.predictors import SCREEN, Observed, Screen, observe, read_screen
from healdag.predictors._screen import columns
from healdag.predictors.fake import FakePredictor
from healdag.training.screening import LEAST_FLAGGED, MOST_MISSED, fit_screen

RNG = np.random.default_rng(3)
STATES = RNG.normal(size=(4000, 12))
ODDS = STATES @ RNG.normal(size=12) - 3.0 + RNG.normal(scale=0.7, size=4000)
SAID = 1 / (1 + np.exp(-ODDS))
HALVES = (STATES[:2000], SAID[:2000]), (STATES[2000:], SAID[2000:])


class TestFit:
    def test_it_misses_what_it_may_and_asks_about_few(self) -> None:
        found = fit_screen((1, 2), *HALVES, "abc")
        assert found is not None
        suspicion = found.suspicion(STATES[2000:])
        flagged = SAID[2000:] >= 0.5
        assert found.missed == pytest.approx((suspicion[flagged] < found.threshold).mean())
        assert found.missed <= MOST_MISSED
        assert found.asked == pytest.approx((suspicion >= found.threshold).mean())
        assert flagged.mean() * (1 - MOST_MISSED) <= found.asked < 0.35
        assert found.texts == 2000
        # What is missed is what the detector itself was hardly sure of.
        assert SAID[2000:][flagged & (suspicion < found.threshold)].mean() < SAID[2000:][flagged].mean() - 0.1

    def test_texts_that_nobody_can_answer_do_not_count(self) -> None:
        (states, said), held_out = HALVES
        holed = said.copy()
        holed[::7] = np.nan
        states = states.copy()
        states[1::7] = np.nan
        found = fit_screen((1,), (states, holed), held_out, "abc")
        assert found is not None
        assert np.isfinite(found.weights).all()

    def test_none_where_too_little_is_flagged_to_say_what_is_missed(self) -> None:
        (states, said), _ = HALVES
        few = np.where(np.arange(2000) < LEAST_FLAGGED - 1, 0.9, 0.1)
        assert fit_screen((1,), (states, said), (states, few), "abc") is None

    def test_none_where_the_states_tell_nothing(self) -> None:
        noise = RNG.normal(size=(2000, 12))
        assert fit_screen((1,), (noise, SAID[:2000]), (RNG.normal(size=(2000, 12)), SAID[2000:]), "abc") is None

    def test_it_comes_back_as_it_was_saved(self, tmp_path: Path) -> None:
        found = fit_screen((1, 2), *HALVES, "abc")
        assert found is not None
        found.save(tmp_path)
        again = read_screen(tmp_path)
        assert again is not None
        np.testing.assert_allclose(again.weights, found.weights, rtol=1e-6)
        assert replace(again, weights=found.weights) == found
        (tmp_path / SCREEN).write_bytes(b"nothing")
        with pytest.raises(ArtifactError, match=r"is not a valid screen: .*; restore it or train again"):
            read_screen(tmp_path)
        assert read_screen(tmp_path / "elsewhere") is None

    def test_columns_of_some_layers(self) -> None:
        assert columns((1, 2), (1, 2), 3) == slice(None)
        assert columns((2,), (1, 2), 3) == [3, 4, 5]


def screen(**fields: Any) -> Screen:
    given = {"layers": (1,), "weights": np.ones(1), "offset": 0.0, "threshold": 0.2, "detector": "", "texts": 10}
    return Screen(**{**given, "flagged_from": 0.5, "asked": 0.2, "missed": 0.1, **fields})


class TestNode:
    def state(self, suspicion: list[float | None], **more: Any) -> dict[str, Any]:
        n = len(suspicion)
        rows = {"clean": [f"text {i}" for i in range(n)], "suspicion": suspicion, "unreadable": [0.0] * n}
        return {**rows, "answers": {}, "emoji": [None] * n, **more}

    def test_the_detector_reads_only_what_is_left_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("healdag.nodes.sarcasm.pending_rows", lambda state: list(range(len(state["clean"]))))
        detector = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.9})
        found = Sarcasm(detector, screen())(self.state([0.1, 0.2, None, 0.7]))
        assert found["sarcasm"] == [0.1, 0.9, 0.9, 0.9]
        assert detector.calls == [["text 1", "text 2", "text 3"]]

    def test_without_a_screen_it_reads_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("healdag.nodes.sarcasm.pending_rows", lambda state: list(range(len(state["clean"]))))
        detector = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.9})
        assert Sarcasm(detector)(self.state([0.1, None]))["sarcasm"] == [0.9, 0.9]

    def test_what_cannot_be_read_is_no_sarcasm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("healdag.nodes.sarcasm.pending_rows", lambda state: list(range(len(state["clean"]))))
        detector = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.9})
        state = self.state([0.1, 0.9], unreadable=[1.0, 1.0])
        assert Sarcasm(detector, screen())(state)["sarcasm"] == [None, None]
        assert detector.calls == []


def test_suspicions_come_with_the_answers_and_without_where_there_is_none() -> None:
    class Seeing(FakePredictor):
        def observe(self, texts: Sequence[str], *, vectors: bool = False) -> Observed:
            assert not vectors
            return Observed(self.predict_proba(texts), suspicions=np.array([0.25, np.nan])[: len(texts)])

    seen = observe(Seeing(("a", "b"), default={"a": 0.8}), ["one", "two"])
    assert seen.suspicions == [0.25, None]
    assert len(seen.answers.rows) == 2
    assert observe(FakePredictor(("a", "b"), default={"a": 0.8}), ["one"]).suspicions == [None]


class TestShipped:
    """The emotion model that comes with the library."""

    def test_it_was_fitted_to_the_shipped_detector(self) -> None:
        found = read_screen(find_artifact("emotion"))
        assert found is not None
        assert SCREEN in read_manifest(find_artifact("emotion")).files
        assert found.detector == sha256(find_artifact("sarcasm") / MANIFEST)
        assert found.asked < 0.3
        assert found.missed <= MOST_MISSED

    def test_the_detector_is_spared_most_texts_and_misses_no_plain_irony(self) -> None:
        texts = [
            "I love how my cat greets me at the door",
            "The meeting starts at nine in room four",
            "Oh great, another Monday. Just what I needed, I'm so thrilled.",
            "He was so sad when the dog died",
        ]
        screened, full = create_classifier(), create_classifier(sarcasm_screen=False)
        assert screened.nodes.sarcasm.screen is not None
        assert full.nodes.sarcasm.screen is None
        assert "The detector is asked about texts" in screened.explain_policy()
        assert "The detector is asked about texts" not in full.explain_policy()
        some, all_ = screened.classify_many(texts), full.classify_many(texts)
        assert [one.final_label for one in some] == [one.final_label for one in all_]
        assert some[2].sarcasm == pytest.approx(all_[2].sarcasm, abs=1e-6)
        assert some[1].sarcasm < 0.2

    def test_it_is_not_used_where_less_is_called_sarcastic(self) -> None:
        assert create_classifier(sarcasm_threshold=0.3).nodes.sarcasm.screen is None

    def test_another_detector_has_no_screen(self) -> None:
        own = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.9})
        classifier = create_classifier(sarcasm=own)
        assert classifier.classify("The meeting starts at nine").sarcasm == pytest.approx(0.9)
