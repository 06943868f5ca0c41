"""Fixtures: no network, and tiny real models that transformers itself wrote and reads."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported
os.environ["HEALDAG_CACHE"] = os.devnull  # ONNX exports of whoever runs the tests are none of theirs

hypothesis.settings.register_profile("healdag", deadline=None, max_examples=60, database=None, derandomize=True)
hypothesis.settings.load_profile("healdag")

WORDS = ("happy", "sad", "this", "text", "expresses", "joy", "anger", ".", "!", "?")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connections to other machines fail, so that no test can need one."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise OSError(f"the tests have no network: {address}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def save_bert(folder: Path, labels: tuple[str, ...], *, seed: int = 0, **config: object) -> Path:
    """Writes a BERT of one layer and 16 dimensions with these labels, and a WordPiece tokenizer that reads any word."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{c}" for c in letters)]
    tokenizer = BertTokenizerFast(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=64)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(tokens),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
                initializer_range=0.5,  # the usual 0.02 answers nearly the same to every text
                id2label=dict(enumerate(labels)),
                label2id={label: i for i, label in enumerate(labels)},
                **config,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_bert() -> Callable[..., Path]:
    """The function that writes such a model: ``make_bert(folder, labels, seed=..., **config)``."""
    return save_bert


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a text classifier with the labels Joy, Anger, Neutral."""
    return save_bert(tmp_path_factory.mktemp("classifier"), ("Joy", "Anger", "Neutral"))


@pytest.fixture(scope="session")
def tiny_nli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with the labels of natural language inference."""
    return save_bert(tmp_path_factory.mktemp("nli"), ("contradiction", "neutral", "entailment"), seed=1)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped classifier, as every user gets it, in an empty folder."""
    from healdag import create_classifier
    from healdag.artifacts import available_tasks

    if "emotion" not in available_tasks():
        pytest.skip("the shipped model is not in models/")
    with contextlib.chdir(tmp_path_factory.mktemp("empty")):
        return create_classifier()


def save_artifact(folder: Path, kind: str, labels: tuple[str, ...], **fields: object) -> Path:
    """Writes the manifest of the files that lie in ``folder``."""
    from healdag.artifacts import MANIFEST, sha256

    folder.mkdir(parents=True, exist_ok=True)
    files = {path.name: sha256(path) for path in folder.iterdir() if path.is_file() and path.name != MANIFEST}
    content = {
        "kind": kind,
        "task": "mood",
        "version": folder.name,
        "labels": labels,
        "prior": [1 / len(labels)] * len(labels),
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps({**content, **fields}), encoding="utf-8")
    return folder


def save_tfidf(folder: Path, texts: dict[str, str], **fields: object) -> Path:
    """Writes an artefact of kind ``tfidf`` that was fitted on ``texts`` (text to label)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from skops.io import dump

    folder.mkdir(parents=True)
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(C=1000.0))
    dump(pipeline.fit(list(texts), list(texts.values())), folder / "model.skops")
    return save_artifact(folder, "tfidf", tuple(dict.fromkeys(texts.values())), **fields)


def save_lora(folder: Path, base: Path, labels: tuple[str, ...], **fields: object) -> Path:
    """Writes an artefact of kind ``lora``: a fresh adapter and head on the base in ``base``."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    from healdag.artifacts import sha256
    from healdag.predictors._encoder import quiet_transformers

    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
        shape = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], init_lora_weights=False)
        get_peft_model(model, shape).save_pretrained(folder)
    reference = {"name": str(base), "sha256": sha256(base / "model.safetensors")}
    return save_artifact(folder, "lora", labels, base=reference, max_length=64, **fields)


@pytest.fixture(scope="session")
def make_artifact() -> Callable[..., Path]:
    """The function that writes a manifest: ``make_artifact(folder, kind, labels, **fields)``."""
    return save_artifact


@pytest.fixture(scope="session")
def make_tfidf() -> Callable[..., Path]:
    """The function that fits and writes a TF-IDF artefact: ``make_tfidf(folder, {text: label}, **fields)``."""
    return save_tfidf


@pytest.fixture(scope="session")
def make_lora() -> Callable[..., Path]:
    """The function that writes an adapter: ``make_lora(folder, base, labels, **fields)``."""
    return save_lora


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> Path:
    """Folder of a pretrained base without a classification head."""
    from transformers import AutoTokenizer, BertModel

    folder = tmp_path_factory.mktemp("base")
    BertModel.from_pretrained(tiny_classifier).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_classifier).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    """The benchmarks import each other by name, as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield
