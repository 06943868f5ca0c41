"""A cheap model that is asked first: what it settles, what goes on, and the threshold that it is fitted with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healdag import create_classifier
from healdag.artifacts import FirstStage as Learned
from healdag.artifacts import Policy, read_policy
from healdag.errors import ArtifactError, ConfigError
from healdag.graph import build_graph
from healdag.nodes import FirstStage
from healdag.predictors.fake import FakePredictor
from healdag.training.ensembles.stack import CHEAP_LOSS, fit_first_stage, fit_policy

LABELS = ("joy", "sadness")
TEXTS = {"what a lovely day": "joy", "a day to cry": "sadness"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_tfidf: Any) -> Path:
    """A TF-IDF artefact with another one as its backup, which is asked first from 0.6 on."""
    place: Path = tmp_path_factory.mktemp("first") / "mood" / "1.0.0"
    make_tfidf(place, TEXTS, task="mood")
    make_tfidf(place / "backups" / "tfidf", TEXTS, task="mood")
    policy = Policy(first=Learned(by="tfidf", threshold=0.6, n=100, share=0.3, loss=0.001))
    (place / "policy.json").write_text(policy.model_dump_json(), encoding="utf-8")
    return place


class TestGraph:
    def test_what_it_is_sure_of_ends_there(self, folder: Path) -> None:
        classifier = create_classifier(str(folder), cheap_first=True)
        sure, unsure, emoji = classifier.classify_many(["what a lovely day", "hm", "什么 lovely day"])
        assert [attempt.by for attempt in sure.attempts] == ["tfidf"]
        assert (sure.final_label, sure.source, sure.reasons) == ("joy", "model", ())
        assert sure.confidence == pytest.approx(sure.probabilities["joy"])
        assert sure.sarcasm is None
        assert [attempt.by for attempt in unsure.attempts][:1] == ["model"]
        assert [attempt.by for attempt in emoji.attempts][:1] == ["model"]  # letters that it cannot read

    def test_alone_and_in_a_batch_the_answers_are_the_same(self, folder: Path) -> None:
        classifier = create_classifier(str(folder), cheap_first=True)
        texts = ["what a lovely day", "a day to cry", "hm"]
        alone = [classifier.classify(text) for text in texts]
        together = classifier.classify_many(texts)
        assert [one.final_label for one in alone] == [one.final_label for one in together]
        assert [[a.by for a in one.attempts] for one in alone] == [[a.by for a in one.attempts] for one in together]
        assert list(classifier.stream("what a lovely day"))[2].keys() == {"first"}

    def test_by_default_nobody_is_asked_first(self, folder: Path) -> None:
        classifier = create_classifier(str(folder))
        assert classifier.nodes.first is None
        assert classifier.classify("what a lovely day").attempts[0].by == "model"

    def test_a_failing_model_sends_everything_on(self, folder: Path) -> None:
        nodes = create_classifier(str(folder)).nodes
        broken = FakePredictor(LABELS, fail="down", name="cheap")
        stage = FirstStage(broken, nodes.finalize.decider, 0.5)
        graph = build_graph(replace(nodes, first=stage)).compile()
        (result,) = graph.invoke({"texts": ["what a lovely day"]})["results"]
        assert [attempt["by"] for attempt in result["attempts"]][:1] == ["model"]
        assert result["final_label"] == "joy"

    def test_it_is_said(self, folder: Path) -> None:
        said = create_classifier(str(folder), cheap_first=True).explain_policy()
        assert "'tfidf' is asked first" in said
        assert "0.60" in said

    def test_without_backups_it_works_too(self, folder: Path) -> None:
        classifier = create_classifier(str(folder), cheap_first=True, enable_backup=False)
        assert classifier.classify("what a lovely day").attempts[0].by == "tfidf"


class TestRefusals:
    def test_an_artefact_without_one(self, tmp_path: Path, make_tfidf: Any) -> None:
        make_tfidf(tmp_path / "mood" / "1.0.0", TEXTS, task="mood")
        with pytest.raises(ConfigError, match=r"cheap_first=True.*tfidf,ensemble"):
            create_classifier(str(tmp_path / "mood" / "1.0.0"), cheap_first=True)

    def test_a_primary_of_ones_own(self) -> None:
        with pytest.raises(ConfigError, match="cheap_first"):
            create_classifier(primary=FakePredictor(LABELS, default={"joy": 1.0}), cheap_first=True)

    def test_a_budget_that_was_certified_without(self, folder: Path) -> None:
        with pytest.raises(ArtifactError, match="cheap_first"):
            create_classifier(str(folder), cheap_first=True, max_error=0.1)


class TestFit:
    def test_as_far_as_nothing_is_lost(self) -> None:
        n = 4000
        sure = np.linspace(1.0, 0.2, n)
        whole = np.ones(n, dtype=bool)
        right = np.arange(n) < 1500  # from there on it is wrong where the graph is right
        found = fit_first_stage(sure, right, whole)
        assert found is not None
        assert 0.37 < found.share < 0.38
        assert found.loss <= CHEAP_LOSS
        assert found.threshold == pytest.approx(sure[round(found.share * n) - 1])

    def test_loss_is_counted_for_all_rows_with_its_standard_error(self) -> None:
        generator = np.random.default_rng(3)
        n = 2000
        whole, right = generator.random(n) < 0.7, generator.random(n) < 0.7
        found = fit_first_stage(generator.random(n), right, whole)
        # As good on average, but 40 % of the rows differ, so that little can be shown.
        assert found is None or found.share < 0.2

    def test_one_that_answers_too_little_does_not_pay(self) -> None:
        n = 1000
        right = np.arange(n) < 20
        assert fit_first_stage(np.linspace(1, 0, n), right, np.ones(n, dtype=bool)) is None

    def test_equally_sure_rows_stay_together(self) -> None:
        sure = np.repeat([0.9, 0.5], 500)
        right = np.r_[np.ones(600), np.zeros(400)].astype(bool)
        found = fit_first_stage(sure, right, np.ones(1000, dtype=bool))
        assert found is not None
        assert (found.share, found.threshold) == (0.5, 0.9)

    def test_with_the_policy(self, tmp_path: Path) -> None:
        truth = np.tile([0, 1], 500)
        perfect = np.where(np.eye(2)[truth] == 1, 0.9, 0.1)
        policy = fit_policy(Policy(), {"model": perfect, "tfidf": perfect, "ensemble": perfect}, truth)
        assert policy.first is not None
        assert policy.first.share == 1.0
        assert fit_policy(policy, {"model": perfect, "ensemble": perfect}, truth).first is None
        (tmp_path / "policy.json").write_text(json.dumps(policy.model_dump(mode="json")), encoding="utf-8")
        assert read_policy(tmp_path) == policy
