"""Faults that systems of this kind had, one test each, so that they do not come back."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tokenizers import Tokenizer

from healdag import Classification, create_classifier
from healdag.artifacts import available_tasks
from healdag.emojis import DATA, emoji_key
from healdag.errors import ArtifactError
from healdag.graph import State
from healdag.predictors import Spec, load_predictor
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.fake import FakePredictor
from healdag.text import prepare

LABELS = lexicon_labels()
Make = Callable[..., Path]


def test_01_the_confidence_after_a_fallback_is_the_new_labels() -> None:
    primary = FakePredictor(LABELS, default={"joy": 0.45}, name="model")
    backup = FakePredictor(LABELS, default={"anger": 0.7}, name="second")
    result = create_classifier(primary=primary, backups=[backup]).classify("text")
    assert result.final_label == "anger"
    assert result.confidence == result.probabilities["anger"] == pytest.approx(0.7)
    output = create_classifier(primary=primary, backups=[backup]).graph.invoke({"text": "text"})
    assert (output["final_label"], output["confidence"]) == ("anger", pytest.approx(0.7))


def test_02_every_key_of_a_node_is_declared_in_the_state() -> None:
    fakes = {"primary": FakePredictor(LABELS), "backups": [FakePredictor(LABELS)]}
    detector = FakePredictor(("sarcastic", "not_sarcastic"))
    classifier = create_classifier(**fakes, sarcasm=detector)  # type: ignore[arg-type]
    for update in classifier.stream("text"):
        for node, values in update.items():
            assert values.keys() <= get_type_hints(State).keys(), node


def test_03_nothing_blocks_on_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*args: object) -> str:
        raise AssertionError("input() was called")

    monkeypatch.setattr(builtins, "input", ask)
    doubtful = FakePredictor(LABELS)
    for human_review in (False, True):
        result = create_classifier(primary=doubtful, human_review=human_review).classify("text")
        assert result.source == ("pending" if human_review else "model")


def test_04_sarcasm_is_looked_for_above_the_threshold_too() -> None:
    detector = FakePredictor(("sarcastic", "not_sarcastic"), default="sarcastic")
    sure = FakePredictor(LABELS, default="joy")
    assert create_classifier(primary=sure, sarcasm=detector).classify("great").reasons == ("sarcasm",)


@pytest.mark.parametrize("text", ["It was a pleasure meeting you downtown", "I am so happy with my new puppy"])
def test_05_words_within_words_mean_nothing(classifier: Any, text: str) -> None:
    assert classifier.classify(text).final_label == "joy"


@pytest.mark.parametrize("sequence", ["❤️", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🤷🏻‍♀️", "1️⃣"])
def test_06_emoji_are_read_whole(sequence: str) -> None:
    prepared = prepare(f"see {sequence}{sequence} here")
    assert prepared.emojis == (sequence, sequence)
    assert prepared.clean.isascii()
    result = create_classifier(primary=FakePredictor(LABELS)).classify(sequence)
    assert result.source == "emoji"


def test_07_a_text_that_cannot_be_read_is_not_answered_with_confidence(classifier: Any) -> None:
    result = classifier.classify("今天真的很难过😀")
    assert "unreadable" in result.reasons
    assert not (result.final_label == "joy" and result.confidence > 0.5)
    assert result.confidence < 0.6


def test_08_no_emoji_has_two_entries() -> None:
    keys: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys.extend(key for key, value in pairs if isinstance(value, dict))
        return dict(pairs)

    json.loads((DATA / "emoji_emotions.json").read_text(encoding="utf-8"), object_pairs_hook=collect)
    keys.remove("emoji")
    assert len({emoji_key(key) for key in keys}) == len(keys)


class TestFault12AdapterWithARandomHead:
    def load(self, folder: Path) -> Any:
        from healdag.artifacts import read_manifest

        manifest = read_manifest(folder)
        return load_predictor(manifest.kind, Spec(manifest.labels, folder, {"device": "cpu"}))

    def rewrite(self, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], make_artifact: Make) -> None:
        from safetensors.numpy import load_file, save_file

        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        options = {key: manifest[key] for key in ("base", "max_length")}
        make_artifact(folder, "lora", tuple(manifest["labels"]), **options)

    def test_whole(self, tmp_path: Path, tiny_base: Path, make_lora: Make) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger", "neutral"))
        answer = self.load(folder).predict_proba(["happy", "sad"])
        np.testing.assert_array_equal(self.load(folder).predict_proba(["happy", "sad"]), answer)
        assert create_classifier(str(folder), threshold=0).classify("happy").confidence == pytest.approx(
            answer[0].max()
        )

    def test_without_its_head(self, tmp_path: Path, tiny_base: Path, make_lora: Make, make_artifact: Make) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger", "neutral"))
        self.rewrite(folder, lambda w: {k: v for k, v in w.items() if "classifier" not in k}, make_artifact)
        with pytest.raises(ArtifactError, match=r"no trained 'classifier\.(bias|weight)'.*random"):
            self.load(folder)

    def test_with_half_a_head(self, tmp_path: Path, tiny_base: Path, make_lora: Make, make_artifact: Make) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger", "neutral"))
        self.rewrite(folder, lambda w: {k: v for k, v in w.items() if "classifier.weight" not in k}, make_artifact)
        with pytest.raises(ArtifactError, match=r"no trained 'classifier\.weight'"):
            self.load(folder)

    def test_without_an_adapted_layer(
        self, tmp_path: Path, tiny_base: Path, make_lora: Make, make_artifact: Any
    ) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger", "neutral"))
        self.rewrite(folder, lambda w: {k: v for k, v in w.items() if "query.lora_B" not in k}, make_artifact)
        with pytest.raises(ArtifactError, match="lora"):
            self.load(folder)

    def test_with_the_wrong_number_of_labels(
        self, tmp_path: Path, tiny_base: Path, make_lora: Make, make_artifact: Make
    ) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger", "neutral"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        make_artifact(folder, "lora", ("joy", "anger"), base=manifest["base"], max_length=64)
        with pytest.raises(ArtifactError, match=r"has shape \[3(, 16)?\], but 2 labels need \[2(, 16)?\]"):
            self.load(folder)

    def test_on_another_base(self, tmp_path: Path, tiny_base: Path, make_lora: Make, make_artifact: Make) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger"))
        reference = {"name": str(tiny_base), "sha256": "0" * 64}
        make_artifact(folder, "lora", ("joy", "anger"), base=reference, max_length=64)
        with pytest.raises(ArtifactError, match=r"model\.safetensors' is not the file that was trained"):
            self.load(folder)

    def test_with_changed_weights(self, tmp_path: Path, tiny_base: Path, make_lora: Make) -> None:
        folder = make_lora(tmp_path / "1", tiny_base, ("joy", "anger"))
        path = folder / "adapter_model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(ArtifactError, match="is not the file that was trained"):
            self.load(folder)


def test_13_reload_takes_the_new_current_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tfidf: Make
) -> None:
    monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path))
    current = tmp_path / "mood" / "current"
    make_tfidf(tmp_path / "mood" / "1.0.0", {"red": "warm", "blue": "cold"})
    make_tfidf(tmp_path / "mood" / "1.1.0", {"blue": "warm", "red": "cold"})
    current.write_text("1.0.0\n", encoding="utf-8")
    classifier, pinned = create_classifier("mood"), create_classifier("mood", version="1.0.0")
    before, graph = classifier.classify("red"), classifier.graph
    assert (before.final_label, before.model_version) == ("warm", "mood/1.0.0")
    current.write_text("1.1.0\n", encoding="utf-8")
    assert classifier.classify("red").model_version == "mood/1.0.0"
    classifier.reload()
    pinned.reload()
    after = classifier.classify("red")
    assert (after.final_label, after.model_version) == ("cold", "mood/1.1.0")
    assert pinned.classify("red").final_label == "warm"
    assert graph.invoke({"text": "red"})["final_label"] == "warm"  # held before: still the old one


def test_13_a_reload_that_fails_keeps_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tfidf: Make
) -> None:
    monkeypatch.setenv("HEALDAG_MODELS", str(tmp_path))
    folder = make_tfidf(tmp_path / "mood" / "1.0.0", {"red": "warm", "blue": "cold"})
    (folder.parent / "current").write_text("1.0.0", encoding="utf-8")
    classifier = create_classifier("mood")
    (folder / "model.skops").write_bytes(b"broken")
    with pytest.raises(ArtifactError):
        classifier.reload()
    assert classifier.classify("red").final_label == "warm"


class TestFault14SilentCut:
    def test_windows_cover_every_token(self, tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        predictor: Any = load_predictor(
            "transformer", Spec(("joy", "anger", "neutral"), options={"model": str(tiny_classifier), "device": "cpu"})
        )
        encoder = predictor._encoder
        rng = np.random.default_rng(0)
        text = " ".join(rng.choice(["happy", "sad", "this", "text", "joy", "anger", "a", "b", "c"], 300))
        windows: list[list[int]] = []
        forward = encoder._forward

        def record(batch: list[Any], layer: int | None) -> Any:
            windows.extend(row.window.ids.tolist() for row in batch)
            return forward(batch, layer)

        monkeypatch.setattr(encoder, "_forward", record)
        predictor.predict_proba([text])
        tokenizer = Tokenizer.from_str(encoder.vocabulary.content)  # the encoder's own is shared, and stays as it is
        tokenizer.no_truncation()
        whole = tokenizer.encode(text, add_special_tokens=False).ids
        assert all(len(window) <= encoder.max_length for window in windows)
        # Each window repeats the overlap of the one before it; what is new in each, put together, is the text.
        inner, overlap = encoder.max_length - 2, min(32, encoder.max_length // 4)
        expected = [whole[i : i + inner] for i in range(0, len(whole) - overlap, inner - overlap)]
        assert sorted(window[1:-1] for window in windows) == sorted(expected)
        assert sum(len(window) for window in expected) - overlap * (len(expected) - 1) == len(whole) == 300

    @pytest.mark.parametrize("place", [130, 400])
    def test_a_late_word_counts(self, tiny_classifier: Path, place: int) -> None:
        predictor = load_predictor(
            "transformer", Spec(("joy", "anger", "neutral"), options={"model": str(tiny_classifier), "device": "cpu"})
        )
        words = ["happy"] * 450
        plain = predictor.predict_proba([" ".join(words)])
        words[place:] = ["anger"] * (450 - place)
        assert np.abs(predictor.predict_proba([" ".join(words)]) - plain).max() > 1e-4

    @pytest.mark.parametrize("repeats", [20, 60])
    def test_the_end_of_a_long_text_changes_the_shipped_models_answer(self, classifier: Any, repeats: int) -> None:
        plain = "The report lies on the table next to the printer. " * repeats  # 11 tokens each
        end = "I am furious, I hate every one of them, this makes me so angry! " * (repeats // 2)
        before, after = classifier.classify_many([plain, plain + end])
        assert after.attempts[0].label != before.attempts[0].label or (
            after.probabilities["anger"] > before.probabilities["anger"] + 0.05
        )


def test_15_the_working_directory_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoy = tmp_path / "models" / "decoy" / "1"
    decoy.mkdir(parents=True)
    (decoy.parent / "current").write_text("1", encoding="utf-8")
    (decoy / "manifest.json").write_text("{}", encoding="utf-8")
    monkeypatch.delenv("HEALDAG_MODELS", raising=False)
    before = available_tasks()
    monkeypatch.chdir(tmp_path)
    assert available_tasks() == before
    code = "from healdag.emojis import load_data; print(len(load_data('emoticons')['emoticons']))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 50


def test_16_one_tokenizer_serves_many_threads(tiny_classifier: Path) -> None:
    model = load_predictor(
        "transformer",
        Spec(("joy", "anger", "neutral"), options={"model": str(tiny_classifier), "device": "cpu", "name": "model"}),
    )
    classifier = create_classifier(primary=model, threshold=0)
    texts = ["happy " * n + "sad" for n in (1, 5, 40, 150)]
    expected = [result.confidence for result in classifier.classify_many(texts)]
    with ThreadPoolExecutor(16) as pool:
        for found in pool.map(lambda _: [r.confidence for r in classifier.classify_many(texts)], range(48)):
            assert found == pytest.approx(expected, abs=1e-6)


def test_16_the_tokenizer_is_not_shared_with_others(tiny_classifier: Path) -> None:
    from healdag.predictors._encoder import Encoder, load_pretrained

    model, tokenizer = load_pretrained(tiny_classifier)
    encoder = Encoder(model, tokenizer, max_length=64, device="cpu")
    before = encoder.predict_proba(["happy and sad, this text"])
    tokenizer.backend_tokenizer.enable_truncation(3)  # as another user of the same tokenizer may
    np.testing.assert_array_equal(encoder.predict_proba(["happy and sad, this text"]), before)


def test_17_a_checkpointer_gets_no_numpy_values() -> None:
    class Numpy(FakePredictor):
        def predict_proba(self, texts: Any) -> Any:
            return super().predict_proba(texts).astype(np.float32)

        def unknown_share(self, texts: Any) -> list[float]:
            return [0.25] * len(texts)

    classifier = create_classifier(primary=Numpy(LABELS), backups=[Numpy(LABELS)], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    output = classifier.graph.invoke({"text": "text"}, config)
    json.dumps(output)
    json.dumps(classifier.graph.get_state(config).values)
    assert type(output["confidence"]) is float


class TestShippedModel:
    """The sentences that earlier systems got wrong."""

    def test_sarcasm_is_not_joy(self, classifier: Any) -> None:
        result = classifier.classify("Oh great, another Monday. Just perfect.")
        assert result.final_label != "joy"
        assert result.sarcasm is not None

    def test_plain_joy_is_joy(self, classifier: Any) -> None:
        result = classifier.classify("I'm so happy today!")
        assert result.final_label == "joy"
        assert result.confidence == result.probabilities["joy"]

    def test_one_by_one_as_in_a_batch(self, classifier: Any) -> None:
        texts = [
            "I'm so happy today!",
            "Oh great, another Monday. Just perfect.",
            "😭",
            "今天真的很难过😀",
            "hm " * 200,
        ]
        for one, other in zip(classifier.classify_many(texts), map(classifier.classify, texts), strict=True):
            assert isinstance(one, Classification)
            assert (one.final_label, one.source, one.reasons) == (other.final_label, other.source, other.reasons)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
