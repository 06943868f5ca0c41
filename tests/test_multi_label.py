"""Multi-label tasks: a text can have several labels, or none, from the predictors through the whole graph."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from typer.testing import CliRunner

from healdag import Classification, Classifier, create_classifier
from healdag.artifacts import POLICY
from healdag.cli import app
from healdag.cli.chat import Stats
from healdag.cli.writers import show_label
from healdag.errors import ArtifactError, ConfigError, UsageError
from healdag.predictors import Spec, ask, check_rows, list_confidence, load_predictor, sigmoid
from healdag.predictors.fake import FakePredictor
from healdag.training.ensembles.list_confidence import fit_list_confidence

LABELS = ("toxic", "insult", "threat")
ANSWERS: dict[str, Any] = {
    "both": {"insult": 0.95, "toxic": 0.9},
    "clean": {"toxic": 0.02},
    "unsure": {"toxic": 0.55, "insult": 0.45, "threat": 0.4},
    "odd": None,
}


def fake(**options: Any) -> FakePredictor:
    settings = {"answers": ANSWERS, "default": ["threat"], "name": "model", "multi_label": True, **options}
    return FakePredictor(LABELS, **settings)


def make(**options: Any) -> Classifier:
    return create_classifier(**{"primary": fake(), **options})


class TestRows:
    def test_a_row_needs_no_sum(self) -> None:
        answers = check_rows([[0.9, 0.8], [0, 0], [1, 1]], 3, 2, 0.0, multi_label=True)
        assert answers.rows == [[0.9, 0.8], [0.0, 0.0], [1.0, 1.0]]
        assert check_rows([[0.9, 0.8]], 1, 2, 0.0).rows == [None]

    @pytest.mark.parametrize("row", [[1.2, 0.1], [-0.1, 0.1], [np.inf, 0.1]])
    def test_each_number_is_a_probability(self, row: list[float]) -> None:
        assert check_rows([row], 1, 2, 0.0, multi_label=True).rows == [None]

    def test_a_predictor_says_that_it_is_multi_label(self) -> None:
        assert ask(fake(), ["both"]).rows == [[0.9, 0.95, 0.0]]
        silent = fake()
        del silent.multi_label
        assert ask(silent, ["both"]).errors == ["not a probability distribution"]


class TestListConfidence:
    def test_is_the_product(self) -> None:
        found = list_confidence(np.array([[0.9, 0.2], [0.4, 0.4]]), np.array([[1, 0], [1, 1]]))
        np.testing.assert_allclose(found, [0.72, 0.16])

    def test_calibrated(self) -> None:
        values, decided = np.array([[0.9, 0.2]]), [[1, 0]]
        np.testing.assert_allclose(list_confidence(values, decided, (1.0, 0.0)), [0.72])
        expected = sigmoid(np.array([0.5 + 2 * np.log(0.72 / 0.28)]))
        np.testing.assert_allclose(list_confidence(values, decided, (2.0, 0.5)), expected)

    def test_a_fit_finds_what_correlated_labels_need(self) -> None:
        # Six labels that all come together: each is right with p, and so is the whole list, not with p to the sixth.
        generator = np.random.default_rng(0)
        p = generator.uniform(0.55, 0.99, 4000)
        truth = np.repeat((generator.random(4000) < p)[:, None], 6, axis=1).astype(np.int64)
        values = np.repeat(p[:, None], 6, axis=1)
        pair = fit_list_confidence(values[:2000], truth[:2000])
        test, right = values[2000:], truth[2000:].all(axis=1)
        decided = np.ones_like(test)
        assert abs(list_confidence(test, decided).mean() - right.mean()) > 0.3
        fitted = list_confidence(test, decided, pair)
        for low, high in ((0.55, 0.75), (0.75, 0.9), (0.9, 1.0)):
            part = (test[:, 0] >= low) & (test[:, 0] < high)
            assert fitted[part].mean() == pytest.approx(right[part].mean(), abs=0.06)

    def test_a_fit_leaves_independent_labels_as_they_are(self) -> None:
        generator = np.random.default_rng(1)
        values = generator.uniform(0, 1, (20_000, 2))
        truth = (generator.random(values.shape) < values).astype(np.int64)
        slope, offset = fit_list_confidence(values, truth, (0.5, 0.5))
        assert slope == pytest.approx(1, abs=0.1)
        assert offset == pytest.approx(0, abs=0.1)

    def test_rows_that_are_all_right_give_no_certainty(self) -> None:
        slope, offset = fit_list_confidence(np.full((5, 2), 0.9), np.ones((5, 2), dtype=np.int64))
        assert np.isfinite([slope, offset]).all()
        assert list_confidence(np.array([[0.9, 0.9]]), [[1, 1]], (slope, offset))[0] < 0.95

    @pytest.mark.parametrize("shape", [(0, 2), (3, 2)])
    def test_bad_shapes(self, shape: tuple[int, int]) -> None:
        with pytest.raises(UsageError, match="shape"):
            fit_list_confidence(np.zeros((0, 2)) if shape[0] == 0 else np.zeros((3, 3)), np.zeros(shape, np.int64))


class TestGraph:
    def test_the_answer_is_a_list_in_label_order(self) -> None:
        both, clean, threat = make().classify_many(["both", "clean", "go away"])
        assert (both.final_label, both.confidence, both.source) == (["toxic", "insult"], pytest.approx(0.855), "model")
        assert both.probabilities == {"toxic": 0.9, "insult": 0.95, "threat": 0.0}
        assert (clean.final_label, clean.confidence) == ([], pytest.approx(0.98))
        assert (threat.final_label, threat.confidence, threat.reasons) == (["threat"], 1.0, ())

    def test_goes_through_json_and_a_checkpointer(self) -> None:
        saver = InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=False))
        result = make(checkpointer=saver).classify("both")
        assert Classification.model_validate_json(result.model_dump_json()) == result
        assert make().graph.invoke({"text": "both"})["final_label"] == ["toxic", "insult"]

    def test_a_single_text_a_batch_and_async_agree(self) -> None:
        classifier = make()
        texts = ["both", "unsure", "clean", "odd"]
        many = [r.final_label for r in classifier.classify_many(texts)]
        assert many == [classifier.classify(text).final_label for text in texts]
        assert many == [r.final_label for r in asyncio.run(classifier.aclassify_many(texts))]  # type: ignore[union-attr]
        assert many == [["toxic", "insult"], ["toxic"], [], None]

    def test_a_list_that_is_likely_wrong_somewhere_is_doubted(self) -> None:
        assert make().classify("both").reasons == ()
        result = make().classify("unsure")  # 0.55 * 0.55 * 0.6
        assert result.reasons == ("low_confidence",)
        assert result.confidence == pytest.approx(0.1815)

    def test_the_surer_list_replaces(self) -> None:
        # The single probability 0.99 would look surer than the list is: 0.99 * 0.41 * 0.4.
        lower = fake(default={"toxic": 0.99, "insult": 0.59, "threat": 0.6}, answers={}, name="lower")
        surer = fake(default={"toxic": 0.8, "insult": 0.7}, answers={}, name="surer")
        result = make(backups=[lower, surer]).classify("unsure")
        assert (result.final_label, result.source) == (["toxic", "insult"], "backup")
        assert result.confidence == pytest.approx(0.56)
        assert [(a.by, a.label, a.accepted) for a in result.attempts] == [
            ("model", ["toxic"], False),
            ("lower", ["toxic", "insult", "threat"], False),
            ("surer", ["toxic", "insult"], True),
        ]

    def test_an_unreadable_text_is_answered_by_each_labels_share(self) -> None:
        primary = fake(default={"toxic": 0.9}, answers={})
        primary.prior = (0.1, 0.05, 0.01)  # type: ignore[attr-defined]
        result = make(primary=primary).classify("今天真的很难过")
        assert "unreadable" in result.reasons
        assert result.probabilities == pytest.approx({"toxic": 0.1, "insult": 0.05, "threat": 0.01})
        assert result.final_label == []

    def test_emoji_have_no_lexicon_here(self) -> None:
        from healdag.predictors.emoji import lexicon_labels

        primary = FakePredictor(lexicon_labels(), default=["joy", "love"], multi_label=True)
        assert make(primary=primary).classify("😀").source == "model"

    def test_a_backup_of_the_other_form_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"chooses one label.*multi_label = True"):
            make(backups=[FakePredictor(LABELS, name="single")])
        with pytest.raises(ConfigError, match="each label by itself"):
            create_classifier(primary=FakePredictor(LABELS), backups=[fake()])

    def test_backups_by_kind_answer_each_label(self) -> None:
        said = '{"toxic": 0.9, "insult": 0.8, "threat": 0.1}'
        model = FakeListChatModel(responses=[said])
        result = make(backups=[{"kind": "llm", "model": model}]).classify("unsure")
        assert (result.final_label, result.source) == (["toxic", "insult"], "backup")
        assert result.confidence == pytest.approx(0.648)


class TestPeople:
    def test_review(self) -> None:
        classifier = make(human_review=True)
        pending = classifier.classify("unsure")
        assert (pending.final_label, pending.source) == (None, "pending")
        result = classifier.answer(pending.decision_id, ["threat", "toxic"])
        assert (result.final_label, result.confidence, result.source) == (["toxic", "threat"], 1.0, "human")
        assert result.attempts[-1].label == ["toxic", "threat"]

    def test_none_of_the_labels_is_an_answer(self) -> None:
        classifier = make(human_review=True)
        assert classifier.answer(classifier.classify("unsure").decision_id, []).final_label == []

    @pytest.mark.parametrize("wrong", ["toxic", ["rude"], None, {"toxic": 1}, [["toxic"]]])
    def test_a_wrong_answer_is_asked_again(self, wrong: Any) -> None:
        graph = make(human_review=True).graph
        config: Any = {"configurable": {"thread_id": "t"}}
        (question,) = graph.invoke({"text": "unsure"}, config)["__interrupt__"][0].value
        assert question["multi_label"] is True
        assert question["labels"] == list(LABELS)
        output = graph.invoke(Command(resume={question["decision_id"]: wrong}), config)
        assert output["__interrupt__"][0].value == [question]
        output = graph.invoke(Command(resume={question["decision_id"]: ["insult"]}), config)
        assert (output["final_label"], output["source"]) == (["insult"], "human")

    @pytest.mark.parametrize(
        ("label", "message"), [("toxic", r"a list of labels.*'toxic'"), (["toxic", "rude"], "no label 'rude'")]
    )
    def test_corrections_are_checked(self, label: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            make().correct("both", label)
        with pytest.raises(UsageError, match="one label"):
            create_classifier(primary=FakePredictor(LABELS)).correct("both", ["toxic"])

    @pytest.mark.parametrize("label", [["threat", "toxic"], ("toxic",), []])
    def test_corrections_are_remembered(self, label: Sequence[str]) -> None:
        classifier = make()
        classifier.correct("BOTH", label)
        result = classifier.classify("both")
        assert result.final_label == [name for name in LABELS if name in label]
        assert (result.source, result.confidence) == ("memory", 1.0)

    def test_corrections_of_the_other_form_are_passed_over(self) -> None:
        store = InMemoryStore()
        create_classifier(primary=FakePredictor(LABELS), store=store).correct("both", "threat")
        assert make(store=store).classify("both").source == "model"
        make(store=store).correct("both", ["threat"])
        assert create_classifier(primary=FakePredictor(LABELS), store=store).classify("both").final_label == "threat"
        make(store=store).correct("neither", ["threat"])
        assert create_classifier(primary=FakePredictor(LABELS), store=store).classify("neither").source == "model"

    def test_a_correction_among_some_labels_says_nothing_of_the_others(self) -> None:
        store = InMemoryStore()
        make(store=store, labels=["toxic", "threat"]).correct("both", ["threat"])
        assert make(store=store).classify("both").source == "model"
        assert make(store=store, labels=["threat", "toxic"]).classify("both").final_label == ["threat"]
        make(store=store).correct("both", ["insult", "threat"])
        result = make(store=store, labels=["toxic", "threat"]).classify("both")
        assert (result.final_label, result.source) == (["threat"], "memory")


class TestAsPart:
    def test_a_node(self) -> None:
        class Parent(TypedDict, total=False):
            text: str
            final_label: list[str]
            decision_id: str

        graph = StateGraph(Parent)
        graph.add_node("label", make().as_node())
        graph.add_edge(START, "label")
        graph.add_edge("label", END)
        output = graph.compile().invoke({"text": "both"})
        assert output["final_label"] == ["toxic", "insult"]

    def test_a_node_names_the_decision_that_waits(self) -> None:
        classifier = make(human_review=True)
        output = classifier.as_node(prefix="tox_").invoke({"text": "unsure"})
        assert output["tox_source"] == "pending"
        assert classifier.answer(output["tox_decision_id"], ["toxic"]).final_label == ["toxic"]

    def test_a_tool(self) -> None:
        tool = make().as_tool()
        assert "apply" in tool.description
        assert tool.invoke({"text": "both"})["final_label"] == ["toxic", "insult"]

    @pytest.mark.parametrize("text", ["", "  "])
    def test_a_tool_answers_an_empty_text(self, text: str) -> None:
        tool = make().as_tool()
        assert "empty" in tool.invoke({"text": text})["error"]
        assert "empty" in asyncio.run(tool.ainvoke({"text": text}))["error"]

    def test_stream(self) -> None:
        (last,) = [update["finalize"] for update in make().stream("both") if "finalize" in update]
        assert last["final_label"] == ["toxic", "insult"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, make_lora: Callable[..., Path]) -> Path:
    """A multi-label adapter with a policy."""
    folder = tmp_path_factory.mktemp("mood") / "1.0.0"
    make_lora(folder, tiny_base, LABELS, multi_label=True, prior=[0.1, 0.05, 0.01], bias=[1.0, -1.0, 0.0])
    policy = {"thresholds": [0.3, 0.5, 0.9], "set_calibration": [0.5, 1.0], "threshold": 0.4}
    (folder / POLICY).write_text(json.dumps(policy), encoding="utf-8")
    return folder


class TestAdapter:
    def test_probabilities_are_independent(self, artifact: Path) -> None:
        predictor = load_predictor("lora", Spec(LABELS, artifact, {"device": "cpu"}, multi_label=True))
        values = predictor.predict_proba(["happy", "sad text", "joy " * 200])
        assert values.min() >= 0.0001
        assert values.max() <= 0.9999
        assert not np.allclose(values.sum(axis=1), 1, atol=0.01)
        np.testing.assert_array_equal(values, predictor.predict_proba(["happy", "sad text", "joy " * 200]))
        assert predictor.predict_proba([]).shape == (0, 3)

    def test_the_policy_decides(self, artifact: Path) -> None:
        result = create_classifier(str(artifact), device="cpu").classify("this text expresses anger")
        row = np.array(list(result.probabilities.values()))
        decided = row >= [0.3, 0.5, 0.9]
        assert result.final_label == [label for label, said in zip(LABELS, decided, strict=True) if said]
        product = np.where(decided, row, 1 - row).prod()
        expected = 1 / (1 + np.exp(-(1.0 + 0.5 * np.log(product / (1 - product)))))
        assert result.confidence == pytest.approx(expected)
        assert result.reasons == (("low_confidence",) if expected < 0.4 else ())
        memory = create_classifier(str(artifact), device="cpu")
        memory.correct("sad", ["threat"])
        assert memory.classify("sad").confidence == 1.0

    def test_selected_columns(self, artifact: Path) -> None:
        text = "this text expresses anger"
        result = create_classifier(str(artifact), device="cpu").classify(text)
        chosen = create_classifier(str(artifact), device="cpu", labels=["threat", "toxic"])
        some = chosen.classify(text)
        assert some.probabilities == {label: result.probabilities[label] for label in ("threat", "toxic")}
        assert chosen.nodes.finalize.decider.thresholds == (0.9, 0.3)
        # Fitted for lists of all three labels.
        assert chosen.nodes.finalize.decider.set_calibration is None

    def test_expected_shares(self, artifact: Path) -> None:
        shares = {"threat": 0.02, "toxic": 0.3}
        plain = create_classifier(str(artifact), device="cpu", labels=["threat", "toxic"]).classify("sad")
        result = create_classifier(
            str(artifact), device="cpu", labels=["threat", "toxic"], label_prior=shares
        ).classify("sad")
        for label, learned in (("threat", 0.01), ("toxic", 0.1)):
            p, expected = plain.probabilities[label], shares[label]
            yes, no = p * expected / learned, (1 - p) * (1 - expected) / (1 - learned)
            assert result.probabilities[label] == pytest.approx(yes / (yes + no))

    def test_thresholds_for_other_labels(self, artifact: Path, tmp_path: Path) -> None:
        import shutil

        broken = shutil.copytree(artifact, tmp_path / "mood" / "1.0.0")
        (broken / POLICY).write_text('{"thresholds": [0.5, 0.5]}', encoding="utf-8")
        with pytest.raises(ArtifactError, match="2 thresholds for 3 labels"):
            create_classifier(str(broken))


class TestKinds:
    def test_zero_shot_weighs_each_label_by_itself(self, tiny_nli: Path) -> None:
        spec = Spec(LABELS, options={"model": str(tiny_nli)}, multi_label=True)
        predictor: Any = load_predictor("zero_shot", spec)
        values = predictor.predict_proba(["sad text"])
        pairs = [("sad text", f"This text expresses {label}.") for label in LABELS]
        raw = predictor._encoder.pooled(pairs, lambda logits: logits)
        expected = np.exp(raw[:, 2]) / (np.exp(raw[:, 2]) + np.exp(raw[:, 0]))
        np.testing.assert_allclose(values[0], expected, atol=1e-6)
        assert ask(predictor, ["sad text"]).errors == [None]

    def test_zero_shot_with_two_outputs(self, make_bert: Callable[..., Path], tmp_path: Path) -> None:
        folder = make_bert(tmp_path / "two", ("entailment", "not_entailment"))
        spec = Spec(LABELS, options={"model": str(folder)}, multi_label=True)
        assert ask(load_predictor("zero_shot", spec), ["sad"]).errors == [None]
        folder = make_bert(tmp_path / "three", ("entailment", "neutral", "unrelated"))
        with pytest.raises(ConfigError, match="no label 'contradiction'"):
            load_predictor("zero_shot", Spec(LABELS, options={"model": str(folder)}, multi_label=True))

    def test_transformer(self, make_bert: Callable[..., Path], tmp_path: Path) -> None:
        folder = make_bert(
            tmp_path / "m", ("TOXIC", "insult", "threat", "menace"), problem_type="multi_label_classification"
        )
        mapping = {"toxic": "toxic", "insult": "insult", "threat": "threat", "menace": "threat"}
        spec = Spec(LABELS, options={"model": str(folder), "label_map": mapping}, multi_label=True)
        predictor: Any = load_predictor("transformer", spec)
        values = predictor.predict_proba(["sad text"])
        raw = predictor._encoder.pooled(["sad text"], sigmoid)
        np.testing.assert_allclose(values[0], [raw[0, 0], raw[0, 1], max(raw[0, 2:])], atol=1e-6)
        fewer = {"model": str(folder), "label_map": {"toxic": "toxic", "insult": "insult"}}
        with pytest.raises(ConfigError, match=r"no output of .* maps to \['threat'\]"):
            load_predictor("transformer", Spec(LABELS, options=fewer, multi_label=True))

    def test_a_model_that_chooses_one_label_is_refused(self, tiny_classifier: Path) -> None:
        spec = Spec(("joy", "anger", "neutral"), options={"model": str(tiny_classifier)}, multi_label=True)
        with pytest.raises(ConfigError, match=r"multi-label.*zero_shot"):
            load_predictor("transformer", spec)

    @pytest.mark.parametrize("said", ['{"toxic": 1.5, "insult": 0, "threat": 0}', '{"toxic": 0.5}', "[]"])
    def test_an_llm_that_answers_no_probabilities(self, said: str) -> None:
        options = {"model": FakeListChatModel(responses=[said]), "retries": 0}
        predictor = load_predictor("llm", Spec(LABELS, options=options, multi_label=True))
        assert ask(predictor, ["x"]).rows == [None]

    def test_an_llm_is_told_that_labels_do_not_exclude_each_other(self) -> None:
        options = {"model": FakeListChatModel(responses=['{"toxic": 1, "insult": 1, "threat": 0}'])}
        predictor: Any = load_predictor("llm", Spec(LABELS, options=options, multi_label=True))
        assert "sum to 1" not in predictor._system
        np.testing.assert_allclose(predictor.predict_proba(["x"]), [[1, 1, 0]], atol=1e-6)

    def test_fake(self) -> None:
        np.testing.assert_allclose(fake(default={}).predict_proba(["?"]), [[0.5, 0.5, 0.5]])
        with pytest.raises(ConfigError, match="from 0 to 1"):
            fake(default={"toxic": 1.1})
        with pytest.raises(ConfigError, match="rude"):
            fake(default=["rude"])


class TestCommandLine:
    @pytest.fixture
    def classified(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        monkeypatch.setattr(import_module("healdag.cli.classify"), "open_classifier", lambda *_: make())

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(app, ["classify", *arguments, "both", "clean", "odd"])
            assert result.exit_code == 0, result.output
            return result.stdout

        return run

    def test_csv(self, classified: Callable[..., str]) -> None:
        rows = list(csv.DictReader(io.StringIO(classified("--format", "csv"))))
        assert [row["final_label"] for row in rows] == ["toxic|insult", "", ""]
        assert [row["source"] for row in rows] == ["model", "model", "abstain"]

    def test_jsonl(self, classified: Callable[..., str]) -> None:
        rows = [json.loads(line) for line in classified("--format", "jsonl").splitlines()]
        assert [row["final_label"] for row in rows] == [["toxic", "insult"], [], None]

    def test_table(self, classified: Callable[..., str]) -> None:
        shown = classified("--format", "table")
        assert "(none)" in shown
        assert "insult" in shown

    def test_chat_counts_each_label(self) -> None:
        stats = Stats()
        for result in make().classify_many(["both", "clean", "odd"]):
            stats.add(result)
        assert stats.labels == {"toxic": 1, "insult": 1, "(none)": 1, "-": 1}

    @pytest.mark.parametrize(("label", "shown"), [("joy", "joy"), (None, "-"), ([], "(none)"), (["a", "b"], "a, b")])
    def test_labels_are_shown(self, label: Any, shown: str) -> None:
        assert show_label(label) == shown
