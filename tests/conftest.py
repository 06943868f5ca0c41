"""Fixtures: no network, and tiny real models that transformers itself wrote and reads."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported

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
