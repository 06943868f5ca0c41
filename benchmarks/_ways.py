"""The ways to classify that benchmarks/peers.py compares: each takes texts and gives the column of each answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healdag import Classifier, create_classifier
from healdag.artifacts import Manifest, find_artifact, find_export, read_manifest, resolve_base
from healdag.artifacts.exports import exportable
from healdag.engines.export import export_graph, own_rows
from healdag.errors import ArtifactError, MissingExtraError
from healdag.predictors import Predictor, Spec, load_predictor
from healdag.predictors.lora import load_merged
from healdag.text import prepare
from healdag.training.evaluation.candidates import Artifact

Way = Callable[[list[str]], list[int]]
"""Texts to columns of labels; -1 where there is no answer."""

ENGINES = {"int8": "onnx-int8", "onnx": "onnx", "fp32": "onnx-fp32", "torch": "torch"}
"""The fastest first; ``onnx`` is each model in the fastest form that passed here, where int8 did not pass for all."""


@dataclass(frozen=True)
class Subject:
    """The model that all ways run, with its labels."""

    task: str
    folder: Path
    manifest: Manifest

    @classmethod
    def of(cls, task: str) -> Subject:
        """The version in use."""
        folder = find_artifact(task)
        return cls(task, folder, read_manifest(folder))

    def column(self, label: Any) -> int:
        """Of a label; -1 of None."""
        return -1 if label is None else self.manifest.labels.index(label)


@dataclass(frozen=True)
class Plain:
    """The merged model as Hugging Face's libraries load it from a folder.

    Attributes:
        folder: With the whole model and its tokenizer.
    """

    folder: Path
    model: Any
    tokenizer: Any

    @classmethod
    def write(cls, subject: Subject, folder: Path) -> Plain:
        """Merges the adapter into the base, as its author would publish it."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        base = subject.manifest.base
        assert base is not None
        labels = subject.manifest.labels
        model, tokenizer = load_merged(resolve_base(base.name, revision=base.revision), subject.folder, labels)
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: i for i, label in enumerate(labels)}
        tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        loaded = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32").eval()
        return cls(folder, loaded, AutoTokenizer.from_pretrained(folder))


def pipeline_of(plain: Plain, device: str = "cpu") -> Any:
    """Hugging Face's pipeline, as its documentation shows it."""
    from transformers import pipeline

    return pipeline("text-classification", model=str(plain.folder), device=device, dtype="float32")


def by_pipeline(subject: Subject, pipe: Any, batch_size: int, *, by_length: bool = False) -> Way:
    """The pipeline over a list; ``by_length``: of texts that its caller has sorted."""

    def run(texts: list[str]) -> list[int]:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i])) if by_length else range(len(texts))
        answers = pipe([texts[i] for i in order], batch_size=batch_size, truncation=True)
        found = dict(zip(order, (subject.column(answer["label"]) for answer in answers), strict=True))
        return [found[i] for i in range(len(texts))]

    return run


def by_torch_loop(plain: Plain, batch_size: int = 32) -> Way:
    """Tokenise and run, batch after batch, each padded to its longest text."""
    import torch

    def run(texts: list[str]) -> list[int]:
        found: list[int] = []
        for start in range(0, len(texts), batch_size):
            batch = plain.tokenizer(
                texts[start : start + batch_size], padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                found += plain.model(**batch).logits.argmax(dim=1).tolist()
        return found

    return run


def by_embedding(subject: Subject, texts: Sequence[str], labels: Sequence[str], batch_size: int = 32) -> Way:
    """As SetFit serves: sentence embeddings of the base, and logistic regression on them. Its base is not fine-tuned.

    Args:
        texts: To fit the regression on, with their labels.
    """
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    assert subject.manifest.base is not None
    folder = str(resolve_base(subject.manifest.base.name, revision=subject.manifest.base.revision))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype="float32").eval()

    def embed(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))  # as sentence-transformers does
        found: Any = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
                shares = batch["attention_mask"].unsqueeze(2).float()
                means = (states * shares).sum(1) / shares.sum(1)
                found[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
        return found

    head = LogisticRegression(max_iter=1000).fit(embed(texts), list(labels))
    return lambda texts: [subject.column(label) for label in head.predict(embed(texts))]


def by_predictor(predictor: Predictor, *, prepared: bool = True) -> Way:
    """A model of ours without a graph: cleaned texts, and the likeliest label."""

    def run(texts: list[str]) -> list[int]:
        given = [prepare(text).clean for text in texts] if prepared else texts
        return [int(column) for column in predictor.predict_proba(given).argmax(axis=1)]

    return run


def by_graph(subject: Subject, classifier: Classifier) -> Way:
    """``classify_many``."""
    return lambda texts: [subject.column(result.final_label) for result in classifier.classify_many(texts)]


def one_by_one(subject: Subject, classifier: Classifier, *, invoke: bool = False) -> Way:
    """``classify`` for each text, or LangGraph's own ``graph.invoke``."""
    if invoke:
        return lambda texts: [subject.column(classifier.graph.invoke({"text": t})["final_label"]) for t in texts]
    return lambda texts: [subject.column(classifier.classify(text).final_label) for text in texts]


def model_of(subject: Subject, engine: str, device: str = "cpu") -> Predictor:
    """The primary alone."""
    spec = Spec(subject.manifest.labels, subject.folder, {"engine": ENGINES[engine], "device": device})
    return load_predictor(subject.manifest.kind, spec)


def graph_of(subject: Subject, engine: str, parts: str = "whole", device: str = "cpu") -> Classifier:
    """The graph: 'whole', 'cheap' (TF-IDF asked first), 'sarcasm' (no backups), or 'alone' (no sarcasm, either)."""
    if parts == "alone":
        return create_classifier(primary=model_of(subject, engine, device), enable_backup=False)
    return create_classifier(
        subject.task,
        engine=ENGINES[engine],
        device=device,
        enable_backup=False if parts == "sarcasm" else None,
        cheap_first=parts == "cheap",
    )


def exports(subject: Subject, source: Path) -> str:
    """Exports what was not exported and measured on labelled rows; '' or why there is no ONNX engine."""
    models = list(exportable(subject.folder).values())
    if subject.manifest.sarcasm:
        models += exportable(find_artifact("sarcasm"), backups=False).values()
    found = [find_export(folder, manifest) for folder, manifest in models]
    if all(one is not None and one.checks is not None and one.checks.int8 is not None for one in found):
        return ""
    try:
        for _ in export_graph(Artifact(subject.task, subject.folder, subject.manifest), own_rows(source)):
            pass
    except (MissingExtraError, ArtifactError) as error:
        return str(error)
    return ""


def engines(subject: Subject, missing: str) -> tuple[dict[str, Classifier], dict[str, str]]:
    """The whole graph by engine, the fastest first, and why the others are not there."""
    found: dict[str, Classifier] = {}
    refused = {"onnx": missing} if missing else {}
    for name in ("torch",) if missing else ENGINES:
        if name == "onnx" and "int8" in found:
            continue
        try:
            found[name] = graph_of(subject, name)
        except (MissingExtraError, ArtifactError) as error:
            refused[name] = str(error)
    return found, refused
