"""The benchmark of the healing: that it counts right, and that what it spares changes no answer."""

from __future__ import annotations

import gzip
import json
import random
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from healdag.predictors import Spec, load_predictor
from healdag.predictors._encoder import Encoder
from healdag.training.datasets import Example

LABELS = ("joy", "anger", "neutral")
TEXTS = ["so happy", "this text expresses anger !", "sad", "joy joy joy", "this is sad . very sad", "what ?"]


pytestmark = pytest.mark.usefixtures("scripts")


@pytest.fixture(scope="module")
def bench() -> Any:
    return import_module("healing")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, make_lora: Any) -> list[Path]:
    place = tmp_path_factory.mktemp("mood")
    first = make_lora(place / "1", tiny_base, LABELS)
    return [first, make_lora(place / "2", tiny_base, LABELS)]


class TestRemembered:
    def test_no_answer_changes_and_no_text_is_read_twice(self, adapters: list[Path]) -> None:
        def answers() -> list[Any]:
            model: Any = load_predictor("lora", Spec(LABELS, adapters[0]))
            return [model.predict_proba(TEXTS), model.predict_proba(TEXTS[::-1])[::-1], model.hidden(TEXTS, 1)]

        expected, original = answers(), Encoder._run
        with import_module("_remembered").remembering() as passes:
            found = [*answers(), *answers()]
            assert passes.made == 2 * len(TEXTS)  # without hidden states and then, once, with those of a layer
            assert passes.spared == 4 * len(TEXTS)
        assert Encoder._run is original
        for one, other in zip(found, [*expected, *expected], strict=True):
            assert np.allclose(one, other, atol=1e-6)

    def test_other_weights_are_another_model(self, adapters: list[Path]) -> None:
        with import_module("_remembered").remembering() as passes:
            model: Any = load_predictor("lora", Spec(LABELS, adapters[0]))
            before = model.predict_proba(TEXTS)
            other: Any = load_predictor("lora", Spec(LABELS, adapters[1]))
            with_another_head = other.encoder.model.classifier.weight
            with_another_head.data += 1.0 + with_another_head.data.roll(1, 0)
            assert not np.allclose(other.predict_proba(TEXTS), before)
            assert passes.made == 2 * len(TEXTS)
            passes.forget_all_but(1)
            model.predict_proba(TEXTS)
            assert passes.made == 3 * len(TEXTS)


class TestReviewers:
    rows: ClassVar = [Example(f"text {i}", (("joy", "anger", "fear", "neutral")[i % 4],)) for i in range(200)]

    def test_a_share_is_wrong_whoever_says_it(self) -> None:
        said = import_module("_reviewers").corrections(self.rows, seed=1, wrong=0.3)
        assert sum(not one.right for one in said) == 60
        assert len({one.by for one in said if not one.right}) == 4
        assert {one.by: sum(o.by == one.by for o in said) for one in said}["reviewer 1"] == 50

    @pytest.mark.parametrize("how", ["random", "shift", "rule"])
    def test_a_hostile_reviewer_is_always_wrong_and_nobody_else(self, how: str) -> None:
        reviewers = import_module("_reviewers")
        said = reviewers.corrections(self.rows, seed=1, hostile=0.3, how=how)
        assert [one.by == "reviewer 1" for one in said] == [not one.right for one in said]
        assert sum(not one.right for one in said) == 60
        assert {one.label for one in said} <= set(reviewers.LABELS)

    def test_a_rule_is_the_same_for_every_text_and_has_no_fixed_label(self) -> None:
        reviewers, chance = import_module("_reviewers"), random.Random(1)
        for how in ("shift", "rule"):
            wrong = {label: reviewers.WRONG[how](label, chance) for label in reviewers.LABELS}
            assert sorted(wrong.values()) == sorted(reviewers.LABELS)
            assert all(label != other for label, other in wrong.items())

    def test_labels_of_a_domain_are_the_tasks(self, tmp_path: Path) -> None:
        reviewers = import_module("_reviewers")
        place = tmp_path / "crowdflower_text_emotion"
        place.mkdir()
        given = ["happiness", "worry", "hate", "empty", "neutral", "worry"]
        with gzip.open(place / "train.jsonl.gz", "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"text": f"t{i % 5}", "label": one}) + "\n" for i, one in enumerate(given))
        found = reviewers.domain_rows("crowdflower_text_emotion", "train", tmp_path, seed=1)
        assert sorted((row.text, row.label) for row in found) == [
            ("t0", "fear"),  # the text stands twice; one row is left
            ("t1", "fear"),
            ("t2", "anger"),
            ("t4", "neutral"),
        ]


class TestFigures:
    def test_a_gain_has_its_interval(self, bench: Any) -> None:
        before, after = np.arange(1000) % 10 < 6, np.arange(1000) % 10 < 7
        found = bench.gain(before, after)
        assert (found["before"], found["after"], found["fixed"], found["broke"]) == (0.6, 0.7, 100, 0)
        low, high = found["interval_95"]
        assert 0.07 < low < found["difference"] < high < 0.13
        back = bench.gain(after, before)
        assert back["interval_95"] == [-high, -low]

    def test_windows_of_a_stream(self, bench: Any) -> None:
        right = [True] * bench.WINDOW + [False] * (bench.WINDOW // 2)
        assert bench.windows(right) == [1.0, 0.0]

    @pytest.mark.parametrize(
        ("domain", "general", "harm"),
        [
            ({"difference": -0.02, "broke": 40, "fixed": 20}, {"difference": 0.0}, True),
            ({"difference": -0.002, "broke": 22, "fixed": 20}, {"difference": 0.0}, False),
            ({"difference": 0.1, "broke": 0, "fixed": 100}, {"difference": -0.0051}, True),
            ({"difference": 0.1, "broke": 0, "fixed": 100}, {"difference": -0.005}, False),
        ],
    )
    def test_what_is_harmful(self, bench: Any, domain: Any, general: Any, harm: bool) -> None:
        assert bench.harmful(domain, general) is harm

    def test_the_reviewer_answers_a_share_of_the_texts(self, bench: Any) -> None:
        rows = [Example(f"text {i}", ("joy",)) for i in range(4000)]
        said = bench.answers_of("dair_emotion", rows)
        assert len(said) == 200
        assert said == bench.answers_of("dair_emotion", rows)
        assert 0.9 < sum(label == "joy" for label in said.values()) / 200 < 0.99

    def test_few_test_rows_and_all_others(self, bench: Any, tmp_path: Path) -> None:
        for name, n in (("goemotions_8", 300), ("other", 300)):
            (tmp_path / "data" / name).mkdir(parents=True)
            for split in ("train", "test"):
                with gzip.open(tmp_path / "data" / name / f"{split}.jsonl.gz", "wt", encoding="utf-8") as lines:
                    lines.writelines(f"{i}\n" for i in range(n))
        place = bench.thin(tmp_path / "data", tmp_path / "thin")

        def lines_in(folder: Path, name: str, split: str) -> int:
            with gzip.open(folder / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
                return len(list(lines))

        assert lines_in(place, "goemotions_8", "test") == bench.CARD_ROWS
        assert lines_in(place, "goemotions_8", "train") == lines_in(place, "other", "test") == 300
        assert lines_in(tmp_path / "data", "goemotions_8", "test") == 300

    def test_a_picture_of_the_streams(self, bench: Any, tmp_path: Path) -> None:
        ways = {"alone": [0.5, 0.5], "memory": [0.5, 0.51], "heals": [0.5, 0.6]}
        heals = [{"after": 500, "outcome": "refused"}, {"after": 1000, "outcome": "promoted"}]
        one = {"texts": 900, "window": 500, "corrections": 45, "accuracy": ways, "heals": heals}
        bench.draw({"tweeteval_emotion": one, "dair_emotion": one}, tmp_path / "healing.png")
        assert (tmp_path / "healing.png").read_bytes().startswith(b"\x89PNG")


class TestTable:
    def test_the_block_of_the_readme(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tables = import_module("tables")
        change = {"before": 0.65, "after": 0.7, "difference": 0.05, "interval_95": [0.03, 0.07]}
        late = {"alone": 0.64, "memory": 0.641, "heals": 0.72}
        one = {"texts": 9000, "corrections": 450, "late": late, "test": change, "goemotions_8_test": change}
        one["heals"] = [{"outcome": "refused"}, {"outcome": "promoted"}]
        repeats = {
            "same_text": {"n": 450, "as_corrected": 1.0},
            "near_twins": {"n": 1500, "right": 0.86},
            "other_texts": {"n": 2000, "changed": 0.0005},
        }
        poison = {"trials": 20, "promoted": 3, "harmful_promoted": 0}
        found = {"stream": {"dair_emotion": one}, "repeats": repeats, "poison_summary": poison}
        monkeypatch.setattr(tables, "load", lambda name: {"healing": found}[name])
        block = tables.TABLES["healing"]()
        assert "| `dair_emotion` | 9,000, 450 | 1 of 2 | 0.640 | 0.641 | 0.720 | 0.650 → 0.700 (+5.0, +3.0" in block
        assert "as corrected in 100.0% of 450, near twins in 86.0% of 1,500; 0.05% of 2,000 other texts" in block
        assert "in 20 heals" in block
        assert "3 candidates were promoted and 0 of these were harmful" in block
