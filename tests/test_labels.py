"""``create_classifier(labels=[...], label_prior={...})``: answers among some of the task's labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from healdag import Classifier, create_classifier
from healdag.artifacts import Manifest
from healdag.cli import app
from healdag.errors import ConfigError
from healdag.predictors import Spec, load_predictor
from healdag.predictors.emoji import EmojiLexicon, lexicon_labels
from healdag.predictors.ensemble import Ensemble, Irony, Pool
from healdag.predictors.fake import FakePredictor
from healdag.predictors.restricted import Restricted

LABELS = lexicon_labels()
SOME = ["sadness", "joy"]
ANSWERS: dict[str, Any] = {
    "mixed": {"joy": 0.1, "sadness": 0.3, "anger": 0.6},
    "other": {"anger": 1.0},
    "even": {"joy": 0.3, "sadness": 0.28},
}


def fake(**options: Any) -> FakePredictor:
    return FakePredictor(LABELS, **{"answers": ANSWERS, "default": {"neutral": 0.8}, "name": "model", **options})


def make(**options: Any) -> Classifier:
    return create_classifier(**{"primary": fake(), "labels": SOME, **options})


class TestRestricted:
    def test_conditional_probability(self) -> None:
        predictor = Restricted(fake(), SOME)
        assert predictor.labels == ("sadness", "joy")
        np.testing.assert_allclose(predictor.predict_proba(["mixed"]), [[0.75, 0.25]])
        assert np.isnan(predictor.predict_proba(["other"])).all()
        assert predictor.predict_proba([]).shape == (0, 2)

    def test_conditional_probabilities_stay_calibrated(self) -> None:
        """The claim itself, on a model that knows the truth: three labels, the texts of the third left out."""
        generator = np.random.default_rng(0)
        p = generator.dirichlet([1, 1, 1], 60_000)
        drawn = (generator.random(len(p))[:, None] > p.cumsum(axis=1)).sum(axis=1)
        kept = p[drawn < 2]
        restricted = Restricted(FakePredictor(("a", "b", "c")), ("a", "b")).narrow(kept)[:, 0]
        truth = drawn[drawn < 2] == 0
        for low in np.arange(0, 1, 0.2):
            part = (restricted >= low) & (restricted < low + 0.2)
            assert truth[part].mean() == pytest.approx(restricted[part].mean(), abs=0.02)

    def test_expected_shares_recalibrate(self) -> None:
        """Saerens et al.: a Bayes classifier of two normals, asked where one label is far rarer than in training."""
        generator = np.random.default_rng(1)
        shares = np.array([0.05, 0.95])
        truth = (generator.random(60_000) > shares[0]).astype(int)
        x = generator.normal(np.where(truth == 0, -1.0, 1.0))
        learned = 1 / (1 + np.exp(2 * x))  # P(a) with equal shares in training
        values = np.stack([learned, 1 - learned], axis=1)
        inner = FakePredictor(("a", "b"))
        plain = Restricted(inner, ("a", "b")).narrow(values)[:, 0]
        told = Restricted(inner, ("a", "b"), label_prior={"a": 0.05, "b": 0.95}, prior=[0.5, 0.5]).narrow(values)[:, 0]
        assert plain.mean() > 0.15
        assert told.mean() == pytest.approx(0.05, abs=0.005)
        part = told > 0.3
        assert (truth[part] == 0).mean() == pytest.approx(told[part].mean(), abs=0.05)

    def test_counts_do_as_shares(self) -> None:
        one = Restricted(fake(), SOME, label_prior={"joy": 30, "sadness": 10})
        other = Restricted(fake(), SOME, label_prior={"joy": 0.75, "sadness": 0.25})
        np.testing.assert_allclose(one.predict_proba(["mixed"]), other.predict_proba(["mixed"]))
        np.testing.assert_allclose(one.predict_proba(["mixed"]), [[0.5, 0.5]])

    def test_the_version_changes_with_the_answers(self) -> None:
        versions = {
            Restricted(fake(), LABELS).version,
            Restricted(fake(), SOME).version,
            Restricted(fake(), SOME[::-1]).version,
            Restricted(fake(), SOME, label_prior={"joy": 1, "sadness": 2}).version,
        }
        assert len(versions) == 4
        assert fake().version in versions

    def test_load(self) -> None:
        spec = Spec(("joy", "anger"), options={"of": "m", "label_prior": {"joy": 1, "anger": 1}}, members={"m": fake()})
        np.testing.assert_allclose(load_predictor("restricted", spec).predict_proba(["mixed"]), [[1 / 7, 6 / 7]])
        with pytest.raises(ConfigError, match="no predictor 'model' to restrict; there are: m"):
            load_predictor("restricted", Spec(("joy", "anger"), members={"m": fake()}))
        with pytest.raises(ConfigError, match=r"unknown \['share'\]"):
            load_predictor("restricted", Spec(("joy", "anger"), options={"share": 1}, members={"model": fake()}))


class TestGraph:
    def test_answers_among_the_labels(self) -> None:
        classifier = make()
        assert classifier.labels == ("sadness", "joy")
        result = classifier.classify("mixed")
        assert (result.final_label, result.confidence) == ("sadness", pytest.approx(0.75))
        assert result.probabilities == pytest.approx({"sadness": 0.75, "joy": 0.25})
        assert list(result.probabilities) == SOME

    def test_a_text_that_is_certainly_another_label(self) -> None:
        result = make().classify("other")
        assert (result.final_label, result.source, result.reasons) == (None, "abstain", ("model_error",))
        assert result.attempts[0].error == "gives none of the labels asked for any probability"

    def test_all_labels_is_no_restriction(self) -> None:
        assert isinstance(make(labels=list(LABELS)).nodes.classify.primary, FakePredictor)

    def test_the_given_order_is_kept(self) -> None:
        result = make(labels=["neutral", "love", "joy"]).classify("nothing")
        assert list(result.probabilities) == ["neutral", "love", "joy"]
        assert sum(result.probabilities.values()) == pytest.approx(1)

    def test_expected_shares(self) -> None:
        primary = fake()
        primary.prior = (0.3, 0.1, *[0.1] * (len(LABELS) - 2))  # type: ignore[attr-defined]
        learned = dict(zip(LABELS, primary.prior, strict=True))  # type: ignore[attr-defined]
        result = make(primary=primary, label_prior={"joy": 0.9, "sadness": 0.1}).classify("mixed")
        joy, sadness = 0.1 * 0.9 / learned["joy"], 0.3 * 0.1 / learned["sadness"]
        assert result.probabilities["joy"] == pytest.approx(joy / (joy + sadness))
        # A text of which nothing can be read is answered with the shares that were expected.
        assert make(primary=primary, label_prior={"joy": 0.9, "sadness": 0.1}).classify(
            "今天真的很难过"
        ).probabilities == pytest.approx({"joy": 0.9, "sadness": 0.1})

    def test_shares_without_labels(self) -> None:
        shares = dict.fromkeys(LABELS, 1.0) | {"joy": 10.0}
        assert make(labels=None, label_prior=shares).classify("mixed").final_label == "joy"

    def test_emoji(self) -> None:
        result = make(labels=["joy", "sadness", "anger"]).classify("😭")
        whole = dict(zip(LABELS, EmojiLexicon(LABELS).predict_proba(["😭"])[0], strict=True))
        total = whole["joy"] + whole["sadness"] + whole["anger"]
        assert (result.final_label, result.source) == ("sadness", "emoji")
        assert result.confidence == pytest.approx(whole["sadness"] / total)

    def test_an_emoji_that_means_none_of_the_labels_goes_to_the_model(self) -> None:
        emoji = next(
            sequence
            for sequence in ("😡", "😱", "🤮", "❤️", "😀")
            if EmojiLexicon(LABELS).predict_proba([sequence])[0][[LABELS.index("neutral"), LABELS.index("fear")]].sum()
            == 0
        )
        assert make(labels=["neutral", "fear"]).classify(emoji).source == "model"

    def test_memory(self) -> None:
        classifier = make()
        classifier.correct("mixed", "joy")
        result = classifier.classify("mixed")
        assert (result.final_label, result.source, result.probabilities) == (
            *("joy", "memory"),
            {"sadness": 0.0, "joy": 1.0},
        )
        with pytest.raises(ValueError, match="no label 'anger'; there are: sadness, joy"):
            classifier.correct("mixed", "anger")

    def test_review(self) -> None:
        classifier = make(human_review=True, threshold=0.9)
        pending = classifier.classify("even")
        assert pending.source == "pending"
        with pytest.raises(ValueError, match="no label 'anger'"):
            classifier.answer(pending.decision_id, "anger")
        assert classifier.answer(pending.decision_id, "joy").final_label == "joy"

    def test_backups(self) -> None:
        whole = fake(default={"anger": 0.5, "joy": 0.4}, answers={}, name="whole")
        own = FakePredictor(SOME, default={"sadness": 0.95}, name="own")
        result = make(backups=[whole], threshold=0.8).classify("even")
        assert (result.final_label, result.source) == ("joy", "model")
        assert [a.label for a in result.attempts] == ["joy", "joy"]
        assert result.confidence == pytest.approx(result.probabilities["joy"])
        assert result.attempts[1].confidence == pytest.approx((0.4) / (0.4 + 0.1 / 6))
        assert make(backups=[own], threshold=0.8).classify("even").final_label == "sadness"
        with pytest.raises(ConfigError, match="backup 'two' answers"):
            make(backups=[FakePredictor(("joy", "anger"), name="two")])

    def test_backups_by_kind(self) -> None:
        options = {"kind": "fake", "default": {"sadness": 0.5, "anger": 0.5}, "name": "f"}
        assert make(backups=[options], threshold=0.8).classify("even").final_label == "sadness"

    def test_an_ensemble_weighs_unrestricted_answers(self) -> None:
        """Irony turns joy into anger; the model's anger must not be lost before it is turned into anything."""
        model = fake(answers={}, default={"joy": 0.45, "sadness": 0.4, "anger": 0.1})
        second = fake(answers={}, default={"love": 0.5, "joy": 0.3}, name="second")
        irony = FakePredictor(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.9}, name="irony")
        k = len(LABELS)
        meant = np.roll(np.eye(k), 1, axis=1)
        pool = Pool(
            members=("model", "second"),
            weights=(0.7, 0.6),
            bias=(0.0,) * k,
            irony=Irony(offset=0.3, slope=1.0, meant=tuple(map(tuple, meant.tolist()))),
        )
        manifest = Manifest(kind="ensemble", task="t", version="1", labels=LABELS, prior=(1 / k,) * k)
        ensemble = Ensemble(pool, manifest, {"model": model, "second": second, "sarcasm": irony})
        expected = Restricted(ensemble, SOME).predict_proba(["hm"])[0]
        model.calls.clear()
        second.calls.clear()
        classifier = make(primary=model, sarcasm=irony, backups=[second, ensemble], threshold=0.999)
        result = classifier.classify("hm")
        by = {attempt.by: attempt for attempt in result.attempts}
        assert by["ensemble"].confidence == pytest.approx(expected.max())
        assert by["ensemble"].label == SOME[int(expected.argmax())]
        # What the members said was used again.
        assert len(model.calls) == len(second.calls) == 1

    def test_a_thread_forgets_the_unrestricted_answers(self) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        graph = make(checkpointer=InMemorySaver(), backups=[fake(name="b")]).graph
        config: Any = {"configurable": {"thread_id": "t"}}
        for text in ("even", "😀", "mixed"):
            graph.invoke({"text": text}, config)
            assert len(graph.get_state(config).values["whole"]) == (0 if text == "😀" else 1)


class TestBadSettings:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (["joy", "rage"], "no label 'rage'; the task's labels are: .*joy"),
            (["joy"], "at least two"),
            ([], "at least two"),
            ("joy", "at least two"),
            (["joy", "joy"], "'joy' is given twice"),
        ],
    )
    def test_labels(self, labels: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make(labels=labels)

    @pytest.mark.parametrize(
        ("shares", "message"),
        [
            ({"joy": 1.0}, r"no share for \['sadness'\].*sadness, joy"),
            ({"joy": 1.0, "sadness": 1.0, "anger": 1.0}, r"names \['anger'\]"),
            ({"joy": 0.0, "sadness": 1.0}, "above 0"),
            ({"joy": float("nan"), "sadness": 1.0}, "above 0"),
            ({"joy": "many", "sadness": 1.0}, "many"),
        ],
    )
    def test_shares(self, shares: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make(label_prior=shares)

    def test_shares_of_a_label_that_was_never_seen(self) -> None:
        primary = fake()
        primary.prior = tuple(0.0 if label == "joy" else 1 / 7 for label in LABELS)  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match=r"learned the shares .*'joy': 0\.0"):
            make(primary=primary, label_prior={"joy": 1.0, "sadness": 1.0})


class TestSettings:
    @pytest.fixture
    def artifact(self, tmp_path: Path, make_tfidf: Callable[..., Path]) -> Path:
        texts = {"so happy": "joy", "very sad": "sadness", "quite angry": "anger"}
        folder = make_tfidf(tmp_path / "mood" / "1.0.0", texts, prior=[0.5, 0.25, 0.25])
        policy = {"threshold": 0.9, "thresholds": [0.5, 0.2, 0.3]}
        (folder / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
        return folder

    def test_the_policy_comes_along(self, artifact: Path) -> None:
        nodes = create_classifier(str(artifact), labels=["anger", "joy"]).nodes
        assert nodes.finalize.decider.thresholds == (0.3, 0.5)
        assert nodes.check.threshold == 0.9

    def test_config_file(self, artifact: Path, tmp_path: Path) -> None:
        config = tmp_path / "config.yaml"
        content = f"model:\n  task: {artifact}\n  labels: [anger, joy]\n  label_prior: {{anger: 0.9, joy: 0.1}}\n"
        config.write_text(content, encoding="utf-8")
        classifier = create_classifier(config_path=config)
        assert classifier.labels == ("anger", "joy")
        assert classifier.classify("今天").probabilities == pytest.approx({"anger": 0.9, "joy": 0.1})
        assert create_classifier(config_path=config, labels=["joy", "anger"]).labels == ("joy", "anger")

    def test_reload_keeps_the_labels(self, artifact: Path) -> None:
        classifier = create_classifier(str(artifact), labels=["anger", "joy"])
        classifier.reload()
        assert classifier.labels == ("anger", "joy")

    def test_command_line(self, artifact: Path) -> None:
        run = CliRunner().invoke(
            app, ["classify", "--task", str(artifact), "--labels", "sadness, joy", "--format", "jsonl", "quite angry"]
        )
        assert run.exit_code == 0, run.output
        assert json.loads(run.stdout)["final_label"] in {"sadness", "joy"}
        run = CliRunner().invoke(app, ["classify", "--task", str(artifact), "--labels", "sadness,rage", "x"])
        assert run.exit_code != 0


def test_the_shipped_classifier(classifier: Classifier) -> None:
    """Restricted, it answers with the shipped ensemble's own probabilities, divided by their sum."""
    text = "Oh great, another Monday. Just perfect."
    some = create_classifier(labels=["joy", "anger", "neutral"])
    whole, own = classifier.classify(text), some.classify(text)
    assert own.final_label in some.labels
    by = {attempt.by: attempt for attempt in own.attempts}
    if "ensemble" in by and any(attempt.accepted for attempt in whole.attempts if attempt.by == "ensemble"):
        total = sum(whole.probabilities[label] for label in some.labels)
        expected = max(whole.probabilities[label] / total for label in some.labels)
        assert by["ensemble"].confidence == pytest.approx(expected)
