"""Texts unlike the training texts: distance, reason, and a confidence that falls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from healdag.errors import ArtifactError
from healdag.nodes import Decider, Trust
from healdag.predictors import FAMILIARITY, Familiarity, ask, read_familiarity
from healdag.training.familiarity import fit_familiarity, foreign_texts, layer_of

DIMENSIONS = 8


def hidden(texts: Sequence[str]) -> np.ndarray:
    """States that differ with the share of common English words, and otherwise by chance."""
    common = {"the", "i", "a", "so", "it", "this", "my", "is", "and", "to", "of", "you", "was"}
    rows = []
    for text in texts:
        words = text.lower().split()
        share = np.mean([word in common for word in words]) if words else 0.0
        noise = np.random.default_rng(abs(hash_of(text))).normal(size=DIMENSIONS)
        rows.append(noise + 20 * (0.3 - share) * (share < 0.1) * np.eye(DIMENSIONS)[0])
    return np.array(rows)


def hash_of(text: str) -> int:
    return sum((i + 1) * ord(letter) for i, letter in enumerate(text)) % 2**31


def sentences(n: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    words = ["the", "i", "so", "it", "happy", "sad", "day", "you", "was", "and", "walk", "rain", "coffee"]
    return [" ".join(generator.choice(words, 9)) + f" {i}" for i in range(n)]


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    return fit_familiarity(4, hidden, sentences(900, 1), sentences(500, 2), seed=13)


def test_one_in_a_hundred_of_its_like_is_unfamiliar_and_most_foreign_texts_are(fitted: Familiarity) -> None:
    near = fitted.distance(hidden(sentences(1000, 3)))
    far = fitted.distance(hidden(foreign_texts("test")))
    assert 0.0 < (near > 1).mean() < 0.04
    assert roc_auc_score(np.r_[np.zeros(len(near)), np.ones(len(far))], np.r_[near, far]) > 0.8
    # At the distances of its like a text is hardly ever taken for foreign; far away it nearly always is.
    assert fitted.foreign(np.median(near)[None])[0] < 0.02
    assert fitted.foreign(np.array([5.0]))[0] > 0.9
    assert (np.diff(fitted.foreign(np.linspace(0.1, 5, 50))) >= 0).all()


def test_a_task_to_which_our_foreign_texts_are_not_foreign_calls_none_so() -> None:
    def alike(texts: Sequence[str]) -> np.ndarray:
        return np.array([np.random.default_rng(hash_of(text)).normal(size=DIMENSIONS) for text in texts])

    found = fit_familiarity(4, alike, sentences(300, 1), sentences(200, 2), seed=13)
    assert found.foreign(np.array([0.5, 1.0, 50.0])).tolist() == pytest.approx([0.0] * 3)


def test_it_is_read_back_as_written(fitted: Familiarity, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    found = read_familiarity(tmp_path)
    assert found is not None
    states = hidden(sentences(50, 4))
    assert found.distance(states) == pytest.approx(fitted.distance(states), rel=1e-2)
    assert (found.layer, found.limit, found.slope) == (4, fitted.limit, fitted.slope)
    assert read_familiarity(tmp_path / "elsewhere") is None
    (tmp_path / FAMILIARITY).write_bytes(b"not safetensors")
    with pytest.raises(ArtifactError, match="not a valid familiarity file"):
        read_familiarity(tmp_path)


def test_the_halves_of_the_foreign_texts_share_none() -> None:
    train, test = foreign_texts("train"), foreign_texts("test")
    assert not set(train) & set(test)
    assert len(train) + len(test) > 590
    assert min(len(train), len(test)) > 250


@pytest.mark.parametrize(("layers", "looked_at"), [(1, 1), (2, 1), (6, 4), (12, 8)])
def test_two_thirds_up_the_layers(layers: int, looked_at: int) -> None:
    assert layer_of(layers) == looked_at


def state(distance: float | None) -> dict:
    return {
        "clean": ["text"],
        "emoji": [None],
        "remembered": [None],
        "primary": [{"by": "model", "probabilities": [0.9, 0.1], "ms": 0.0, "error": None}],
        "unfamiliar": [distance],
    }


def test_the_confidence_falls_with_the_distance_towards_what_is_known_of_any_text(fitted: Familiarity) -> None:
    trust = Trust(Decider(("a", "b")), familiarity=fitted, prior={"a": 0.3, "b": 0.7})
    sure = [trust(state(distance))["trust"][0] for distance in (0.5, 1.0, 1.5, 3.0, 20.0)]
    assert sure == sorted(sure, reverse=True)
    assert sure[:2] == [0.9, 0.9]  # within the limit nothing changes
    assert sure[2] < 0.9
    assert sure[-1] == pytest.approx(0.3, abs=0.02)
    assert trust(state(None))["trust"] == [0.9]
    strict = Trust(Decider(("a", "b")), least={"": 0.8}, familiarity=fitted, prior={"a": 0.3, "b": 0.7})
    assert strict(state(0.5))["accepted"] == [True]
    assert strict(state(20.0))["accepted"] == [False]


def test_a_predictor_that_examines_is_asked_once() -> None:
    class Examining:
        name, labels, version = "examining", ("a", "b"), "1"
        calls = 0

        def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
            raise AssertionError("examine makes the probabilities, too")

        def examine(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
            self.calls += 1
            return np.tile([0.6, 0.4], (len(texts), 1)), np.array([0.5, np.nan])

    predictor = Examining()
    answers = ask(predictor, ["one", "two"])
    assert answers.rows == [[0.6, 0.4], [0.6, 0.4]]
    assert answers.distances == [0.5, None]
    assert predictor.calls == 1
