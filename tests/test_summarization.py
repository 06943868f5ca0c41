"""Summarizers on a tiny T5: pairs, ROUGE, training, artefacts, and the node that condenses long texts."""

from __future__ import annotations

import csv
import errno
import importlib.util
import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from healdag import create_classifier
from healdag.artifacts import read_summarizer_manifest
from healdag.cli import app
from healdag.cli.train import stops_said
from healdag.config import LoraSettings, Settings, TrainingSettings
from healdag.errors import ArtifactError, ConfigError, HealdagError, MissingExtraError, UsageError
from healdag.predictors.fake import FakePredictor
from healdag.summarizer import Condenser, Summarizer, load_seq2seq, load_summarizer
from healdag.training.checkpoints import last_checkpoint
from healdag.training.summarization.pairs import Pair, read_pairs, split_pairs
from healdag.training.summarization.rouge import ROUGE_TYPES, rouge, sentence_lines
from healdag.training.summarization.summarization import (
    KeepBest,
    SummaryTrainer,
    summarizer_settings,
    tokenize,
    train_summarizer,
)

NOUNS = ("cat", "dog", "bird", "fish", "horse", "cow", "fox", "owl", "bee", "ant")
VERBS = ("runs", "sleeps", "eats")
FILLER = "on this long and quiet day near the old house"
VOCABULARY = ("<pad>", "</s>", "<unk>", "summarize:", "the", *NOUNS, *VERBS, ".", *dict.fromkeys(FILLER.split()))


def pairs() -> list[Pair]:
    return [Pair(f"the {noun} {verb} {FILLER} .", f"{noun} {verb}") for noun in NOUNS for verb in VERBS]


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a T5 of one layer and 32 dimensions whose tokenizer splits at white space."""
    from transformers import T5Config, T5ForConditionalGeneration

    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    return save_seq2seq(tmp_path_factory.mktemp("t5"), T5ForConditionalGeneration, T5Config, **shape)


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a BART of one layer and 16 dimensions that reads 24 tokens."""
    from transformers import BartConfig, BartForConditionalGeneration

    sides = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in SIDE.items()}
    shape = {"d_model": 16, "max_position_embeddings": 24, "bos_token_id": 0, "forced_eos_token_id": 1, **sides}
    return save_seq2seq(tmp_path_factory.mktemp("bart"), BartForConditionalGeneration, BartConfig, **shape)


SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 32}


def save_seq2seq(folder: Path, model_class: Any, config_class: Any, **shape: Any) -> Path:
    """Writes an untrained seq2seq model and its tokenizer."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(dict.fromkeys(VOCABULARY))}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        special = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
        model = model_class(config_class(vocab_size=len(ids), **special, **shape))
    model.save_pretrained(folder)
    return folder


LORA = LoraSettings(r=16, alpha=32, dropout=0.0, max_length=32)
TRAINING = TrainingSettings(epochs=12, batch_size=6, learning_rate=2e-2, precision="fp32")


@pytest.fixture(scope="session")
def trained(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train, validation = split_pairs(pairs(), share=0.2)
    folder = tmp_path_factory.mktemp("models") / "summarize" / "1.0.0"
    return train_summarizer(
        tiny_t5, [*train, validation[0]], validation, LORA, TRAINING, folder,
        test=validation[:2], max_target_length=6, command="healdag train-summarizer",
    )  # fmt: skip


class Halver:
    """Keeps the first words of a text."""

    max_tokens = 10

    def __init__(self, answer: Callable[[str], Any] = lambda text: " ".join(text.split()[:10])) -> None:
        self.answer = answer
        self.calls: list[list[str]] = []

    def condense(self, texts: Sequence[str]) -> list[str]:
        self.calls.append(list(texts))
        return [self.answer(text) for text in texts]


class TestPairs:
    def test_csv_and_jsonl_give_the_same_cleaned_pairs(self, tmp_path: Path) -> None:
        rows = [("A <b>long</b> text, http://x.org", "short"), ("Second", "2nd"), ("no summary", " ")]
        with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("body", "gist"))
            writer.writerows(rows)
        lines = "\n".join(json.dumps({"body": d, "gist": s}) for d, s in rows)
        (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
        expected = [Pair("A long text, http", "short"), Pair("Second", "2nd")]
        for name in ("a.csv", "a.jsonl"):
            assert read_pairs(tmp_path / name, document_column="body", summary_column="gist") == expected

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.csv", "text,summary\na,b\n", "line 2: no column 'document'; there are: text, summary"),
            ("a.jsonl", '{"document": "a", "summary": "b"}\n{"document": \n', "line 2: not JSON"),
            ("a.jsonl", '{"document": 3, "summary": "b"}\n', "'document' must be text, got 3"),
            ("a.csv", "document,summary\n,\n", "holds no pair"),
            ("a.txt", "x", "unknown kind of file '.txt'"),
        ],
    )
    def test_a_bad_file_is_named_with_its_place(self, tmp_path: Path, name: str, content: str, message: str) -> None:
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match=r"a\.(csv|jsonl|txt)") as raised:
            read_pairs(tmp_path / name)
        assert message in str(raised.value)

    def test_a_missing_file_says_what_is_wanted(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no file .*give a \.csv"):
            read_pairs(tmp_path / "none.csv")

    def test_no_document_is_in_both_splits(self) -> None:
        train, held_out = split_pairs([*pairs(), *pairs()], share=0.2)
        assert (len(train), len(held_out)) == (24, 6)
        assert not {p.document for p in train} & {p.document for p in held_out}
        assert split_pairs(pairs(), share=0.2) == (train, held_out)  # the same each time

    def test_three_rows_are_too_few(self) -> None:
        with pytest.raises(UsageError, match="3 different documents are too few; give at least 10"):
            split_pairs(pairs()[:3])


class TestRouge:
    def test_equals_rouge_score(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        said = ["The cats were running. It rained!", "nothing shared"]
        wanted = ["The cat runs. We stayed in. It rained.", "other words"]
        scorer = RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
        scores = [scorer.score(sentence_lines(w), sentence_lines(s)) for s, w in zip(said, wanted, strict=True)]
        found = rouge(said, wanted)
        for kind in ROUGE_TYPES:
            assert found[kind] == pytest.approx((scores[0][kind].fmeasure + scores[1][kind].fmeasure) / 2)
        assert found["rougeLsum"] > 0

    def test_sentences_may_change_places_for_lsum_alone(self) -> None:
        found = rouge(["It rained. Cats slept."], ["Cats slept. It rained."])
        assert found["rougeLsum"] == pytest.approx(1.0)
        assert found["rougeL"] == pytest.approx(0.5)

    def test_without_rouge_score_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
        with pytest.raises(MissingExtraError, match=r"healdag\[train\]"):
            rouge([], [])


class TestTraining:
    def test_the_loss_falls_on_both_splits(self, trained: Path) -> None:
        history = json.loads((trained / "training_info.json").read_text(encoding="utf-8"))["history"]
        losses = [entry["loss"] for entry in history if "loss" in entry]
        assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
        held_out = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
        assert len(held_out) == TRAINING.epochs
        assert min(held_out) < held_out[0]

    def test_the_files_of_an_artefact(self, trained: Path) -> None:
        names = {path.name for path in trained.iterdir()}
        assert names == {
            *("README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json"),
            *("metrics.csv", "metrics.json", "training_info.json"),
        }
        manifest = read_summarizer_manifest(trained)
        assert (manifest.kind, manifest.task, manifest.prefix) == ("summarizer", "summarize", "summarize: ")
        config = json.loads((trained / "adapter_config.json").read_text(encoding="utf-8"))
        assert config["task_type"] == "SEQ_2_SEQ_LM"
        assert f"| validation | 6 | {figure(trained, 'validation', 'rouge1'):.3f} |" in (
            trained / "README.md"
        ).read_text(encoding="utf-8")

    def test_held_out_documents_are_not_trained_on(self, trained: Path) -> None:
        info = json.loads((trained / "training_info.json").read_text(encoding="utf-8"))
        assert (info["rows"], info["left_out_as_held_out"]) == (24, 1)

    def test_metrics_are_those_of_rouge_score_on_what_is_served(self, trained: Path) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        _, validation = split_pairs(pairs(), share=0.2)
        written = load_summarizer(trained).condense([pair.document for pair in validation])
        scorer = RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
        for kind in ROUGE_TYPES:
            scores = [scorer.score(p.summary, w)[kind].fmeasure for p, w in zip(validation, written, strict=True)]
            assert figure(trained, "validation", kind) == pytest.approx(sum(scores) / len(scores))
        assert figure(trained, "validation", "rouge1") > 0.3

    def test_the_best_weights_are_kept_and_survive_the_reload(self, trained: Path) -> None:
        info = json.loads((trained / "training_info.json").read_text(encoding="utf-8"))
        scores = {entry["step"]: entry["eval_rougeL"] for entry in info["history"] if "eval_rougeL" in entry}
        assert scores[info["best_step"]] == max(scores.values())
        assert figure(trained, "validation", "rougeL") == pytest.approx(max(scores.values()))

    def test_of_weights_that_score_alike_those_with_the_lowest_loss_are_kept(self) -> None:
        from types import SimpleNamespace

        import torch

        model, keeper = torch.nn.Linear(1, 1), KeepBest(patience=2)
        control = SimpleNamespace(should_training_stop=False)
        for step, (score, loss) in enumerate([(0.0, 3.0), (0.0, 2.0), (0.0, 2.5), (0.0, 2.1)], start=1):
            keeper.on_evaluate(
                None, SimpleNamespace(global_step=step), control, {"eval_rougeL": score, "eval_loss": loss}, model
            )
        assert (keeper.best.step, control.should_training_stop) == (2, True)

    def test_the_reloaded_adapter_writes_what_the_trained_model_wrote(self, trained: Path, tiny_t5: Path) -> None:
        documents = [pair.document for pair in pairs()]
        bare = Summarizer(*load_seq2seq(tiny_t5), read_summarizer_manifest(trained), device="cpu")
        first = load_summarizer(trained).condense(documents)
        assert load_summarizer(trained, device="cpu").condense(documents) == first
        assert [load_summarizer(trained).condense([d])[0] for d in documents[:5]] == first[:5]  # alone or in a batch
        assert bare.condense(documents) != first

    def test_too_few_pairs_and_full_fine_tuning_are_refused(self, tiny_t5: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"0 training pairs .* give at least 2 and 1"):
            train_summarizer(tiny_t5, pairs()[:3], pairs()[:3], LORA, TRAINING, tmp_path / "x")
        full = TRAINING.model_copy(update={"method": "full"})
        with pytest.raises(ConfigError, match="'full'"):
            train_summarizer(tiny_t5, pairs()[:3], pairs()[3:], LORA, full, tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_a_base_of_another_kind_is_refused(self, tiny_base: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"holds no seq2seq model .*t5-small"):
            train_summarizer(tiny_base, pairs()[:5], pairs()[5:], LORA, TRAINING, tmp_path / "x")

    def test_the_largest_profile_on_a_bart(self, tiny_bart: Path, tmp_path: Path) -> None:
        """Label smoothing, a schedule with restarts, accumulation, and a base with a fixed number of positions."""
        lora, training = summarizer_settings("fullscale", Settings(training=TrainingSettings(epochs=1, batch_size=4)))
        assert (lora.r, training.gradient_accumulation, training.schedule) == (32, 2, "cosine_with_restarts")
        assert training.label_smoothing > 0
        train, validation = split_pairs(pairs())
        folder = train_summarizer(
            tiny_bart, train[:12], validation, lora, training, tmp_path / "out", max_target_length=5, beams=2
        )
        manifest = read_summarizer_manifest(folder)
        assert (manifest.max_source_length, manifest.prefix, manifest.beams) == (24, "", 2)
        written = load_summarizer(folder).condense([pair.document for pair in validation] + [" ".join(NOUNS * 5)])
        assert len(written) == len(validation) + 1

    def test_what_is_cut_and_what_is_masked(self, tiny_t5: Path, trained: Path) -> None:
        _, tokenizer = load_seq2seq(tiny_t5)
        manifest = read_summarizer_manifest(trained).model_copy(update={"max_source_length": 8, "max_target_length": 2})
        row = tokenize(pairs()[:1], tokenizer, manifest)[0]
        assert (len(row["input_ids"]), len(row["labels"]), row["length"]) == (8, 2, 8)
        assert tokenizer.decode(row["input_ids"]).startswith("summarize: the cat runs")

    def test_a_profile_gives_way_to_what_the_user_set(self) -> None:
        settings = Settings(training=TrainingSettings(epochs=2.5))
        lora, training = summarizer_settings("fast", settings)
        assert (lora.r, training.epochs, training.learning_rate) == (8, 2.5, 1e-3)
        with pytest.raises(UsageError, match="no profile 'slow'; there are: fast: "):
            summarizer_settings("slow", settings)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """While ``with killed():`` lasts, every training dies in its eighth step."""

    @contextmanager
    def block() -> Any:
        step = SummaryTrainer.training_step

        def dying(self: SummaryTrainer, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 7:
                raise KeyboardInterrupt
            return step(self, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(SummaryTrainer, "training_step", dying)
            yield

    return block


class TestStops:
    """Trainings that stop before their end: 24 pairs, 4 steps of 6 per epoch, a checkpoint after every second one."""

    SHAPE = LoraSettings(r=4, alpha=8, dropout=0.2, max_length=32)
    RUN = TrainingSettings(epochs=3, batch_size=6, learning_rate=2e-2, precision="fp32", checkpoints=2)

    def train(self, base: Path, folder: Path, resume: bool | None = None, **changes: Any) -> dict[str, Any]:
        """Trains; what is in training_info.json then."""
        train, validation = split_pairs(pairs(), share=0.2)
        run = self.RUN.model_copy(update=changes)
        train_summarizer(base, train, validation, self.SHAPE, run, folder, max_target_length=6, resume=resume)
        return dict(json.loads((folder / "training_info.json").read_text(encoding="utf-8")))

    def test_a_killed_training_goes_on_to_the_same_weights(
        self, tiny_t5: Path, tmp_path: Path, killed: Callable[[], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "healdag")
        whole = self.train(tiny_t5, tmp_path / "whole")
        with killed(), pytest.raises(KeyboardInterrupt):
            self.train(tiny_t5, tmp_path / "part")
        assert [path.name for path in tmp_path.iterdir() if path.name != "whole"] == [".training"]
        assert last_checkpoint(tmp_path / ".training" / "part") == tmp_path / ".training" / "part" / "checkpoint-6"
        resumed = self.train(tiny_t5, tmp_path / "part", resume=True)
        assert "going on from checkpoint-6" in caplog.text
        expected, found = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "part"))
        assert expected.keys() == found.keys()
        assert all(np.allclose(expected[name], found[name], atol=1e-5) for name in expected)
        assert resumed["best_step"] == whole["best_step"]
        steps = [[entry["step"] for entry in info["history"] if "eval_rougeL" in entry] for info in (whole, resumed)]
        assert steps == [[4, 8, 12], [4, 8, 12]]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "whole"]

    def test_the_best_weights_of_before_are_kept(
        self, tiny_t5: Path, tmp_path: Path, killed: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with killed(), pytest.raises(KeyboardInterrupt):
            self.train(tiny_t5, tmp_path / "out")
        worse = iter(range(9))
        rated = KeepBest.on_evaluate

        def falling(self: KeepBest, *args: Any, metrics: Any = None, **kwargs: Any) -> None:
            rated(self, *args, metrics={**metrics, "eval_rougeL": -1.0 - next(worse)}, **kwargs)

        monkeypatch.setattr(KeepBest, "on_evaluate", falling)
        assert self.train(tiny_t5, tmp_path / "out")["best_step"] == 4

    def test_after_its_last_step_it_is_only_written(
        self, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(f"{train_summarizer.__module__}._measure", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                self.train(tiny_t5, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        monkeypatch.setattr(SummaryTrainer, "training_step", lambda *_, **__: 1 / 0)
        assert max(entry["step"] for entry in self.train(tiny_t5, tmp_path / "out")["history"]) == 12

    def test_other_settings_start_over_and_are_not_resumed(
        self, tiny_t5: Path, tmp_path: Path, killed: Callable[[], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "healdag")
        with pytest.raises(UsageError, match="no checkpoint of it is there"):
            self.train(tiny_t5, tmp_path / "out", resume=True)
        assert not any(tmp_path.iterdir())
        with killed(), pytest.raises(KeyboardInterrupt):
            self.train(tiny_t5, tmp_path / "out")
        with pytest.raises(UsageError, match=r"nothing to resume .*its rows or settings were others"):
            self.train(tiny_t5, tmp_path / "out", resume=True, learning_rate=1e-3)
        assert last_checkpoint(tmp_path / ".training" / "out") is not None
        self.train(tiny_t5, tmp_path / "out", resume=False)
        assert "going on" not in caplog.text

    def test_what_fails_before_its_first_checkpoint_leaves_nothing(
        self, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(SummaryTrainer, "training_step", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            self.train(tiny_t5, tmp_path / "out")
        assert not any(tmp_path.iterdir())

    def test_out_of_memory_halves_the_batch_and_keeps_the_effective_size(
        self, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        step = SummaryTrainer.training_step
        taken = []

        def small_only(self: SummaryTrainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            if len(inputs["input_ids"]) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            taken.append(len(inputs["input_ids"]))
            return step(self, model, inputs, *args, **kwargs)

        monkeypatch.setattr(SummaryTrainer, "training_step", small_only)
        info = self.train(tiny_t5, tmp_path / "out", epochs=1, batch_size=8)
        assert (info["batch_size"], info["gradient_accumulation"]) == (2, 4)
        assert (info["training"]["batch_size"], info["training"]["gradient_accumulation"]) == (8, 1)
        assert taken == [2] * 12
        assert max(entry["step"] for entry in info["history"]) == 3  # as many as of 8 pairs each
        assert "batch 4 instead, 2 passes per step" in caplog.text

    def test_where_memory_runs_out_late_the_last_checkpoint_is_gone_on_from(
        self, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step = SummaryTrainer.training_step
        taken: list[int] = []

        def late(self: SummaryTrainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 7 and len(inputs["input_ids"]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            taken.append(self.state.global_step)
            return step(self, model, inputs, *args, **kwargs)

        monkeypatch.setattr(SummaryTrainer, "training_step", late)
        info = self.train(tiny_t5, tmp_path / "out")
        assert taken == [*range(7), *(step for step in range(6, 12) for _ in range(2))]
        assert (info["batch_size"], info["gradient_accumulation"]) == (3, 2)

    def test_not_even_one_pair_fits(self, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: Any, **__: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(SummaryTrainer, "training_step", never)
        with pytest.raises(HealdagError, match="not even one row"):
            self.train(tiny_t5, tmp_path / "out")
        assert not any(tmp_path.iterdir())


class TestSummarizer:
    def test_it_is_a_condenser(self, trained: Path) -> None:
        summarizer = load_summarizer(trained)
        assert isinstance(summarizer, Condenser)
        assert summarizer.max_tokens == 6

    def test_no_part_of_a_long_text_is_left_unread(self, trained: Path) -> None:
        summarizer = load_summarizer(trained)
        text = " ".join(pair.document for pair in pairs()[:4])
        pieces = summarizer.pieces(text)
        assert len(pieces) > 1
        assert " ".join(pieces) == text
        assert summarizer.condense([text]) == [" ".join(summarizer.condense(pieces))]

    def test_no_text_gives_no_summary(self, trained: Path) -> None:
        assert load_summarizer(trained).condense([]) == []

    def test_a_changed_adapter_is_refused(self, trained: Path, tmp_path: Path) -> None:
        import shutil

        folder = Path(shutil.copytree(trained, tmp_path / "copy"))
        (folder / "adapter_model.safetensors").write_bytes(b"other")
        with pytest.raises(ArtifactError, match="is not the file that was trained"):
            load_summarizer(folder)


LONG = "word " * 150 + "end"


class TestNode:
    @staticmethod
    def fake(**answers: Any) -> FakePredictor:
        return FakePredictor(("warm", "cold"), answers=answers, default={"warm": 0.9})

    def test_only_long_rows_are_condensed_and_the_model_reads_them_so(self) -> None:
        primary, condenser = self.fake(), Halver()
        detector = FakePredictor(("sarcastic", "plain"), default={"sarcastic": 0.0})
        classifier = create_classifier(primary=primary, sarcasm=detector, condenser=condenser)
        short, long = classifier.classify_many(["a short text", LONG])
        assert condenser.calls == [[LONG]]
        assert primary.calls == [["a short text", "word " * 9 + "word"]]
        assert detector.calls == [["a short text", LONG]]
        assert [attempt.by for attempt in short.attempts] == ["fake"]
        assert [(a.by, a.label, a.error, a.accepted) for a in long.attempts] == [
            ("condenser", None, None, False), ("fake", "warm", None, True)
        ]  # fmt: skip
        assert (long.text, long.final_label, long.source, long.reasons) == (LONG, "warm", "model", ())

    def test_the_window_of_the_model_decides(self, tiny_classifier: Path) -> None:
        from healdag.predictors import Spec, load_predictor

        options = {"model": str(tiny_classifier), "max_length": 16, "device": "cpu"}
        primary = load_predictor("transformer", Spec(("Joy", "Anger", "Neutral"), None, options))
        fits, exceeds = "joy " * 13 + "joy", "joy " * 14 + "joy"  # and two special tokens
        condenser = Halver()
        create_classifier(primary=primary, condenser=condenser).classify_many([fits, exceeds])
        assert condenser.calls == [[exceeds]]

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (lambda text: 1 / 0, "ZeroDivisionError: division by zero"),
            (lambda text: " ", "gave an empty summary"),
            (lambda text: text + " and more", "gave no shorter text"),
            (lambda text: None, "gave a NoneType, not a text"),
        ],
    )
    def test_a_failing_condenser_leaves_the_text(self, answer: Callable[[str], Any], error: str) -> None:
        primary = self.fake()
        result = create_classifier(primary=primary, condenser=Halver(answer)).classify(LONG)
        assert primary.calls == [[LONG]]
        assert (result.final_label, result.source) == ("warm", "model")
        assert [(a.by, a.error) for a in result.attempts] == [("condenser", error), ("fake", None)]

    def test_too_few_summaries_are_not_taken(self) -> None:
        class Lazy(Halver):
            def condense(self, texts: Sequence[str]) -> list[str]:
                return ["one"]

        result = create_classifier(primary=self.fake(), condenser=Lazy()).classify_many([LONG, LONG + "ing"])[1]
        assert result.attempts[0].error == "gave 1 summaries for 2 texts"

    def test_off_by_default_and_then_the_graph_is_as_it_was(self) -> None:
        plain = create_classifier(primary=self.fake())
        assert "condense" not in plain.graph.get_graph().nodes
        assert [a.by for a in plain.classify(LONG).attempts] == ["fake"]
        assert not {"condensed", "condensing"} & plain.graph.invoke({"text": LONG}).keys()
        on = create_classifier(primary=self.fake(), condenser=Halver())
        edges = {(e.source, e.target) for e in on.graph.get_graph().edges}
        assert {("memory", "condense"), ("condense", "classify")} <= edges
        assert ("memory", "classify") not in edges

    def test_a_corrected_text_is_not_condensed(self) -> None:
        condenser = Halver()
        classifier = create_classifier(primary=self.fake(), condenser=condenser)
        classifier.correct(LONG, "cold")
        assert classifier.classify(LONG).source == "memory"
        assert condenser.calls == []

    def test_a_thread_that_is_used_again_forgets_the_last_summary(self) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        primary = self.fake()
        classifier = create_classifier(primary=primary, condenser=Halver(), checkpointer=InMemorySaver())
        thread: Any = {"configurable": {"thread_id": "run-1"}}
        classifier.graph.invoke({"text": LONG}, thread)
        classifier.correct("a correction", "cold")
        found = classifier.graph.invoke({"text": "a correction"}, thread)
        assert [a["by"] for a in found["results"][0]["attempts"]] == ["memory"]
        classifier.graph.invoke({"text": "short"}, thread)
        assert primary.calls[-1] == ["short"]

    def test_an_artefact_by_argument_or_config(self, trained: Path, tmp_path: Path) -> None:
        text = " ".join(pair.document for pair in pairs()[:10])
        expected = load_summarizer(trained).condense([text])[0]
        (tmp_path / "config.yaml").write_text("dag:\n  condenser: models/short\n", encoding="utf-8")
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "short").symlink_to(trained)
        for options in ({"condenser": trained}, {"config_path": tmp_path / "config.yaml"}):
            primary = self.fake()
            create_classifier(primary=primary, **options).classify(text)
            assert primary.calls == [[expected]]

    def test_what_is_no_condenser_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"a condenser is the folder .* got int"):
            create_classifier(primary=self.fake(), condenser=3)  # type: ignore[arg-type]


class TestCommand:
    def test_trains_from_a_file_and_shows_rouge(
        self, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        lines = "\n".join(json.dumps({"body": p.document, "gist": p.summary}) for p in pairs())
        (tmp_path / "pairs.jsonl").write_text(lines, encoding="utf-8")
        columns = ["--document-column", "body", "--summary-column", "gist"]
        place = ["--data", str(tmp_path / "pairs.jsonl"), "--base", str(tiny_t5), "--out", str(tmp_path / "out")]
        found = CliRunner().invoke(app, ["train-summarizer", *place, *columns, "--profile", "fast"])
        assert found.exit_code == 0, found.output
        assert "ROUGE-Lsum" in found.stdout
        assert "validation" in found.stdout
        info = json.loads((tmp_path / "out" / "training_info.json").read_text(encoding="utf-8"))
        assert (info["lora"]["r"], info["training"]["epochs"], info["lora"]["max_length"]) == (8, 1.0, 512)
        assert info["command"].startswith("healdag train-summarizer --data")
        assert load_summarizer(tmp_path / "out").version == "summarize/1.0.0"
        assert not list((tmp_path / "elsewhere").iterdir())  # nothing is left in the working directory

    def test_the_same_command_goes_on_after_a_stop(
        self, tiny_t5: Path, tmp_path: Path, killed: Callable[[], Any]
    ) -> None:
        lines = "\n".join(json.dumps({"document": p.document, "summary": p.summary}) for p in pairs())
        (tmp_path / "pairs.jsonl").write_text(lines, encoding="utf-8")
        (tmp_path / "config.yaml").write_text("training: {epochs: 2, batch_size: 6, precision: fp32}", encoding="utf-8")
        place = ["--data", str(tmp_path / "pairs.jsonl"), "--base", str(tiny_t5), "--out", str(tmp_path / "out")]
        arguments = ["train-summarizer", *place, "--config", str(tmp_path / "config.yaml")]
        with killed():
            stopped = CliRunner().invoke(app, arguments)
        assert stopped.exit_code == 130
        assert "The same command goes on from the last checkpoint" in stopped.stderr
        found = CliRunner().invoke(app, [*arguments, "--resume"])
        assert found.exit_code == 0, found.output
        assert "going on from checkpoint-7" in found.stderr
        again = CliRunner().invoke(app, [*arguments, "--resume"])
        assert again.exit_code == 2
        assert "nothing to resume" in again.stderr

    def test_a_full_disk_says_how_to_go_on(self) -> None:
        with (
            pytest.raises(
                HealdagError, match=r"no space left on the disk with 'out'; make room, then .*last checkpoint"
            ),
            stops_said(Path("out"), "make room"),
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(PermissionError), stops_said(Path("out"), "make room"):
            raise PermissionError("not yours")

    def test_without_rouge_score_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        there = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rouge_score" else there(name))
        place = ["--data", "pairs.csv", "--base", "t5-small", "--out", str(tmp_path / "out")]
        found = CliRunner().invoke(app, ["train-summarizer", *place])
        assert found.exit_code != 0
        assert "rouge-score" in found.stderr
        assert "healdag[train]" in found.stderr

    def test_a_missing_column_is_a_usage_error(self, tiny_t5: Path, tmp_path: Path) -> None:
        (tmp_path / "pairs.csv").write_text("a,b\n1,2\n", encoding="utf-8")
        place = ["--data", str(tmp_path / "pairs.csv"), "--base", str(tiny_t5), "--out", str(tmp_path / "out")]
        found = CliRunner().invoke(app, ["train-summarizer", *place])
        assert found.exit_code == 2
        assert "no column 'document'; there are: a, b" in found.stderr
        assert not (tmp_path / "out").exists()


def figure(folder: Path, split: str, metric: str) -> float:
    """A value of metrics.csv."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return next(float(r["value"]) for r in csv.DictReader(stream) if (r["split"], r["metric"]) == (split, metric))
