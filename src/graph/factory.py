"""From settings to a running graph: artefact, predictors, nodes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from ..artifacts import BackupPolicy, Manifest, Policy, find_artifact, read_manifest, read_policy
from ..config import Settings, load_settings
from ..errors import ArtifactError, ConfigError
from ..nodes import Backup, Check, Classify, Finalize, Memory, Preprocess, Review, Rung, Sarcasm
from ..predictors import Predictor, Spec, load_predictor
from ..predictors.emoji import EmojiLexicon, lexicon_labels
from .build import Nodes, build_graph
from .classifier import Classifier, Engine

BackupSpec = str | dict[str, Any] | Predictor


def create_classifier(
    task: str | None = None,
    *,
    config_path: str | Path | None = None,
    version: str | None = None,
    base_path: str | Path | None = None,
    enable_backup: bool | None = None,
    backups: Sequence[BackupSpec] | None = None,
    threshold: float | None = None,
    sarcasm_threshold: float | None = None,
    max_error: float | None = None,
    certainty: float = 0.95,
    engine: str | None = None,
    device: str | None = None,
    human_review: bool | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    store: BaseStore | None = None,
    primary: Predictor | None = None,
    sarcasm: Predictor | None = None,
) -> Classifier:
    """Loads a classifier; without arguments, the embedded 8-emotion one: no network, no API key.

    Arguments win over the configuration file, the file over the defaults.

    Args:
        task: Task name ("emotion", "sarcasm", or one you trained), or the folder of an artefact. Default "emotion".
        config_path: A ``config.yaml``.
        version: Version of the task's artefact; the current one by default.
        base_path: Local folder of the pretrained base; searched for by default.
        enable_backup: Whether doubtful answers go to the backups. Default True.
        backups: In order: names of the artefact's backups, ``{"kind": "llm", "model": ...}``, or predictors of your
            own. By default those of the artefact, by its fitted policy.
        threshold: Confidence, 0 to 1, below which an answer is doubted; by default fitted on held-out data.
        sarcasm_threshold: Probability, 0 to 1, from which a text counts as sarcastic. Default 0.5:
            likelier sarcastic than not.
        max_error: Largest share of wrong answers, 0 to 1. Needs a certificate in the artefact; the shipped models carry
            none yet, so that anything but None is refused.
        certainty: Certainty of that bound, 0 to 1.
        engine: "auto" or "torch".
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        human_review: Whether rows that stay doubtful wait for a person (LangGraph's interrupt). Default False.
        checkpointer: Keeps runs that wait; in memory by default where human_review is on.
        store: LangGraph store that keeps corrections; in memory by default.
        primary: A predictor to use instead of the task's artefact.
        sarcasm: A predictor with the label 'sarcastic' to use instead of the shipped detector.

    Raises:
        ConfigError: a setting that is not allowed.
        UsageError: no such task or version.
        ArtifactError: the model's files are missing or not the trained ones, or a budget without a certificate.

    >>> from healdag import create_classifier
    >>> create_classifier().classify("I'm so happy today!").final_label
    'joy'
    """
    if max_error is not None:
        raise ArtifactError(
            f"max_error={max_error!r} with certainty={certainty!r} needs a certificate that covers the model, its "
            f"backups and its policy; {task or 'emotion'!r} has none. "
            "Leave max_error out, or set threshold=..., which promises nothing"
        )
    settings = load_settings(
        config_path,
        model={"task": task, "version": version, "base_path": base_path, "engine": engine, "device": device},
        dag={
            "enable_backup": enable_backup,
            "threshold": threshold,
            "sarcasm_threshold": sarcasm_threshold,
            "human_review": human_review,
        },
    )
    if "logging" in settings.model_fields_set:
        logging.getLogger("healdag").setLevel(settings.logging.level)
    asked_backups = backups if backups is not None else settings.dag.backups
    corrections = store if store is not None else InMemoryStore()
    saver = checkpointer
    if saver is None and settings.dag.human_review:
        saver = InMemorySaver()

    def build() -> Engine:
        models = _load(settings, primary, sarcasm, asked_backups)
        return _engine(models, settings, corrections, saver)

    return Classifier(build)


@dataclass(frozen=True)
class _Models:
    """Everything that is loaded from disk or given."""

    task: str
    version: str
    primary: Predictor
    prior: tuple[float, ...]
    detector: Predictor | None
    ladder: tuple[Rung, ...]
    policy: Policy


def _load(
    settings: Settings, primary: Predictor | None, sarcasm: Predictor | None, backups: Sequence[BackupSpec] | None
) -> _Models:
    if primary is not None:
        labels = tuple(primary.labels)
        ladder = _ladder(settings, labels, None, Policy(), {"model": primary}, backups)
        prior = tuple([1 / len(labels)] * len(labels))
        return _Models(settings.model.task, primary.version, primary, prior, sarcasm, ladder, Policy())
    folder = find_artifact(settings.model.task, settings.model.version)
    manifest, policy = read_manifest(folder), read_policy(folder)
    model = _open(manifest, folder, settings, "model")
    detector = sarcasm or (_shipped_detector(settings) if manifest.sarcasm else None)
    members = {"model": model, **({"sarcasm": detector} if detector is not None else {})}
    ladder = _ladder(settings, manifest.labels, folder, policy, members, backups)
    version = f"{manifest.task}/{manifest.version}"
    return _Models(manifest.task, version, model, manifest.prior, detector, ladder, policy)


def _open(
    manifest: Manifest, folder: Path, settings: Settings, name: str, members: dict[str, Predictor] | None = None
) -> Predictor:
    options = {
        "base_path": settings.model.base_path,
        "device": settings.model.device,
        "tokens_per_batch": settings.model.tokens_per_batch,
        "window_overlap": settings.model.window_overlap,
        "name": name,
    }
    return load_predictor(manifest.kind, Spec(manifest.labels, folder, options, members or {}))


def _shipped_detector(settings: Settings) -> Predictor:
    folder = find_artifact("sarcasm")
    return _open(read_manifest(folder), folder, settings, "sarcasm")


def _ladder(
    settings: Settings,
    labels: tuple[str, ...],
    folder: Path | None,
    policy: Policy,
    members: dict[str, Predictor],
    asked: Sequence[BackupSpec] | None,
) -> tuple[Rung, ...]:
    """The backups in order; what is loaded earlier can be a member of what comes later."""
    if not settings.dag.enable_backup:
        return ()
    loaded = dict(members)
    rungs: list[Rung] = []
    for spec in tuple(policy.backups) if asked is None else asked:
        rung = _rung(settings, labels, folder, policy, loaded, spec)
        taken = {members["model"].name, *(other.name for other in rungs)}
        rung = replace(rung, name=_free_name(rung.name, taken))
        if tuple(rung.predictor.labels) != labels:
            raise ConfigError(
                f"backup {rung.predictor.name!r} answers {list(rung.predictor.labels)}, the task has {list(labels)}"
            )
        loaded[rung.name] = rung.predictor
        rungs.append(rung)
    return tuple(rungs)


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or the name with the first free number behind it."""
    numbered = (f"{name}-{n}" for n in count(2))
    return name if name not in taken else next(candidate for candidate in numbered if candidate not in taken)


def _rung(
    settings: Settings,
    labels: tuple[str, ...],
    folder: Path | None,
    policy: Policy,
    loaded: dict[str, Predictor],
    spec: BackupSpec,
) -> Rung:
    timeout = settings.dag.backup_timeout
    if isinstance(spec, dict):
        options = dict(spec)
        kind = options.pop("kind", None)
        if not isinstance(kind, str):
            raise ConfigError(f"a backup needs a 'kind', got {spec!r}; for example {{'kind': 'llm', 'model': ...}}")
        options = {"device": settings.model.device, **options}
        made = load_predictor(kind, Spec(labels, options.pop("folder", None), options, loaded))
        # An LLM keeps a time limit of its own per text; a limit for the batch would cut it short.
        return Rung(made.name, made, timeout=None if kind == "llm" else timeout)
    if not isinstance(spec, str):
        if not isinstance(spec, Predictor):
            raise ConfigError(f"a backup is a name, a dict with 'kind', or a predictor; got {type(spec).__name__}")
        return Rung(spec.name, spec, timeout=timeout)
    inside = folder / "backups" / spec if folder is not None else None
    if inside is None or not inside.is_dir():
        there = ", ".join(policy.backups) or "none"
        raise ConfigError(f"no backup {spec!r} in this model; there are: {there}; or give {{'kind': ..., ...}}")
    predictor = _open(read_manifest(inside), inside, settings, spec, loaded)
    learned: BackupPolicy | None = policy.backups.get(spec)
    return Rung(spec, predictor, rule=learned.rule if learned is not None else "surer", skips_unreadable=True)


def _engine(
    models: _Models, settings: Settings, store: BaseStore, checkpointer: BaseCheckpointSaver[Any] | None
) -> Engine:
    labels = tuple(models.primary.labels)
    policy, dag = models.policy, settings.dag
    threshold = policy.threshold if dag.threshold is None else dag.threshold
    nodes = Nodes(
        preprocess=Preprocess(_lexicon(labels), dag.max_chars),
        memory=Memory(store, models.task, labels),
        classify=Classify(models.primary, models.prior),
        sarcasm=Sarcasm(models.detector),
        check=Check(threshold, dag.sarcasm_threshold),
        backup=Backup(models.ladder, threshold),
        review=Review(labels, policy.review_threshold if dag.threshold is None else dag.threshold),
        finalize=Finalize(labels, models.version, policy.thresholds),
    )
    graph = build_graph(nodes, human_review=dag.human_review)
    compiled: CompiledStateGraph[Any, Any, Any, Any] = graph.compile(checkpointer=checkpointer, name="healdag")
    return Engine(graph=compiled, nodes=nodes, task=models.task)


def _lexicon(labels: tuple[str, ...]) -> Predictor | None:
    """The emoji lexicon, where the labels are the emotions that it speaks about."""
    return EmojiLexicon(labels) if set(labels) == set(lexicon_labels()) else None
