"""From settings to a running graph: artefact, predictors, nodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from ..artifacts import (
    MANIFEST,
    BackupPolicy,
    Manifest,
    Policy,
    Rule,
    find_artifact,
    read_confidence,
    read_manifest,
    read_policy,
    sha256,
)
from ..config import DagSettings, Settings, load_settings
from ..errors import ArtifactError, BaseModelNotFoundError, ConfigError, UsageError
from ..nodes import (
    Backup,
    Check,
    Circuit,
    Classify,
    Condense,
    Corrections,
    Decider,
    Finalize,
    FirstStage,
    Log,
    Memory,
    Preprocess,
    Recall,
    Review,
    Rung,
    Sarcasm,
)
from ..predictors import Predictor, Screen, Spec, is_multi_label, load_predictor
from ..predictors.emoji import EmojiLexicon, lexicon_labels
from ..predictors.restricted import Restricted, check_label_prior, check_labels, whole
from ..store import DecisionLog
from ..store.feedback_place import FeedbackPlace
from ..summarizer import Condenser, load_summarizer
from .budget import Origin, changed_settings, familiarity_of, trust_of
from .build import Nodes, build_graph
from .classifier import Classifier, Engine
from .engines import Settled, in_words, settle
from .fallback import first_that_loads, may_fall_back
from .learning import Learned, renew_vectors
from .one_step import in_one_step
from .savers import MemoryQueue, open_saver
from .waiting import MARK

if TYPE_CHECKING:
    from ..store import FeedbackStore

log = logging.getLogger("healdag")

BackupSpec = str | dict[str, Any] | Predictor


def create_classifier(
    task: str | None = None,
    *,
    config_path: str | Path | None = None,
    version: str | None = None,
    base_path: str | Path | None = None,
    labels: Sequence[str] | None = None,
    label_prior: Mapping[str, float] | None = None,
    enable_backup: bool | None = None,
    backups: Sequence[BackupSpec] | None = None,
    cheap_first: bool | None = None,
    threshold: float | None = None,
    sarcasm_threshold: float | None = None,
    sarcasm_screen: bool | None = None,
    max_error: float | Mapping[str, float] | None = None,
    certainty: float = 0.95,
    label_set: float | None = None,
    engine: str | None = None,
    device: str | None = None,
    human_review: bool | None = None,
    checkpointer: BaseCheckpointSaver[Any] | str | Path | None = None,
    store: BaseStore | None = None,
    log: DecisionLog | str | Path | None = None,
    primary: Predictor | None = None,
    sarcasm: Predictor | None = None,
    condenser: Condenser | str | Path | None = None,
    batching: bool | None = None,
    fallback: bool | None = None,
    feedback: FeedbackStore | str | Path | None = None,
) -> Classifier:
    """Loads a classifier; without arguments, the embedded 8-emotion one: no network, no API key.

    Arguments win over the configuration file, the file over the defaults.

    Args:
        task: Task name ("emotion", "sarcasm", or one you trained), or the folder of an artefact. Default "emotion".
        config_path: A ``config.yaml``.
        version: Version of the task's artefact; the current one by default.
        base_path: Local folder of the pretrained base; searched for by default.
        labels: Some of the task's labels, two at least, in the order wanted: the answer is one of them, with
            P(label | one of these), see :class:`healdag.predictors.restricted.Restricted`. Multi-label: those alone
            are looked for.
        label_prior: Share of each label expected in your texts, for example ``{"joy": 0.1, "anger": 0.9}``, where it
            is not that of the calibration data; counts do as well (multi-label: the share of texts that have it).
            Emoji-only texts, whose lexicon knows of no shares, are answered without it.
        enable_backup: Whether doubtful answers go to the backups. Default True.
        backups: In order: names of the artefact's backups, ``{"kind": "llm", "model": ...}``, or predictors of your
            own. By default those of the artefact, by its fitted policy.
        cheap_first: Whether the artefact's TF-IDF model is asked before all others and answers the texts that it is
            sure enough of, by a threshold fitted on held-out data: all texts together lose 0.3 points of accuracy at
            most there. Nobody looks for sarcasm in those. Default False.
        threshold: Confidence, 0 to 1, below which an answer is doubted; by default fitted on held-out data.
        sarcasm_threshold: Probability, 0 to 1, from which a text counts as sarcastic. Default 0.5:
            likelier sarcastic than not.
        sarcasm_screen: Whether the detector is asked only about texts that the primary's own pass does not show to be
            hardly sarcastic; that costs a fraction of asking about all. Default True, where the artefact has a screen
            that was fitted to this detector.
        max_error: Largest share of wrong ones, 0 to 1, among the answers that are given; what might exceed it comes
            back with source 'abstain' (or waits for a person, with human_review). Rests on the artefact's certificate,
            see ``healdag certify``. Or such a share per label, of the answers with that label.
        certainty: Certainty of that bound over the draw of the certificate's rows, 0 to 1; goes with ``max_error``.
        label_set: How often, 0 to 1, the right label is in the set of labels that comes with each answer
            (``Classification.label_set``): conformal prediction, for each label by itself. Rests on the certificate's
            rows; needs the extra ``conformal``.
        engine: What runs the networks. "torch". "onnx": ONNX Runtime on the processor, without torch, in the fastest
            of two forms that passed on this machine: fp32, whose probabilities are torch's within 1e-4, and int8,
            which needs ``healdag export TASK --data FILE`` to show on labelled texts that it answers as torch does;
            models are exported at first use. "onnx-fp32", "onnx-int8": that form, or an error with the figures. "auto"
            (default): "onnx" where every model has been exported, passed and is faster than torch, else "torch";
            ``explain_policy()`` and the log say which and why. With ``max_error`` or ``label_set`` int8 is not taken:
            the certificate was made with torch. Other kinds of backups run as they always do.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        human_review: Whether rows that stay doubtful wait for a person (LangGraph's interrupt). Default False.
        checkpointer: Keeps runs that wait; in memory by default where human_review is on. A file for SQLite
            ("review.db"; extra ``review``), "postgresql://user@host/database" (extra ``postgres``), or any of
            LangGraph's checkpointers. See :meth:`Classifier.pending`. While such a database is locked, full or out of
            reach, a text that would wait comes back with source 'abstain' and the error in ``attempts``.
        store: LangGraph store in which corrections are looked up; in memory by default, and filled from ``feedback``.
        log: Where decisions are logged: a ``.jsonl`` file, a ``.db`` or ``.sqlite`` database, or a
            :class:`healdag.store.DecisionLog`. Of a text its SHA-256 is kept, unless ``log.text`` in the configuration
            says otherwise. A decision that waits for a person is logged when it is answered. By default nothing is.
        primary: A predictor to use instead of the task's artefact.
        sarcasm: A predictor with the label 'sarcastic' to use instead of the shipped detector.
        condenser: Shortens texts that are longer than the model's window, for the model to read: the folder of a
            summarizer (``healdag train-summarizer``), or an object with ``condense(texts)`` and ``max_tokens``. By
            default nothing is shortened. Thresholds and calibration were fitted without one.
        batching: Whether ``classify`` and ``aclassify`` calls that come at the same time share a run. Default True; a
            lone call never waits. False where the primary waits for a network rather than for this machine. With a
            checkpointer each call has a run of its own.
        fallback: Whether, where the task's current version is missing or damaged, the last good one answers, else its
            TF-IDF backup; and whether a damaged backup or sarcasm detector is left out. Default True: with a warning in
            the log, ``model_version`` "emotion/1.0.0 (fallback from 1.1.0)", and a line in ``explain_policy()``. Never
            for a version that is asked for by its number or folder, nor in ``reload()``; and ``max_error`` is refused
            where the certificate of what was loaded does not cover it.
        feedback: Where corrections are kept, with who and when: a file for SQLite ("feedback.db"), a URL
            ("postgresql://user@host/database"; extra ``postgres``), or a :class:`healdag.store.FeedbackStore`. Those of
            the task that stand there hold from the start, those of other processes within a second. Of a text its
            SHA-256 is kept, unless ``feedback.text`` in the configuration says otherwise. By default corrections live
            in this process alone, and end with it.

    Raises:
        ConfigError: a setting that is not allowed.
        UsageError: no such task or version.
        ArtifactError: the model's files are missing or not the trained ones, no export passed, or a budget without a
            certificate for this very graph.
        MissingExtraError: an ONNX engine without onnxruntime.

    >>> from healdag import create_classifier
    >>> create_classifier().classify("I'm so happy today!").final_label
    'joy'
    """
    settings = load_settings(
        config_path,
        model={
            "task": task,
            "version": version,
            "base_path": base_path,
            "labels": labels if labels is None else ([labels] if isinstance(labels, str) else list(labels)),
            "label_prior": None if label_prior is None else dict(label_prior),
            "engine": engine,
            "device": device,
            "fallback": fallback,
        },
        dag={
            "enable_backup": enable_backup,
            "cheap_first": cheap_first,
            "threshold": threshold,
            "sarcasm_threshold": sarcasm_threshold,
            "sarcasm_screen": sarcasm_screen,
            "human_review": human_review,
            "checkpointer": str(checkpointer) if isinstance(checkpointer, str | Path) else None,
            "max_error": dict(max_error) if isinstance(max_error, Mapping) else max_error,
            "label_set": label_set,
            "certainty": None if max_error is None else certainty,  # the two are one promise
            "condenser": condenser if isinstance(condenser, str | Path) else None,
        },
        log={"path": None if isinstance(log, DecisionLog) else log},
        feedback={"path": str(feedback) if isinstance(feedback, str | Path) else None},
    )
    decisions = log if isinstance(log, DecisionLog) else _open_log(settings)
    if "logging" in settings.model_fields_set:
        logging.getLogger("healdag").setLevel(settings.logging.level)
    asked_backups = backups if backups is not None else settings.dag.backups
    corrections = store if store is not None else InMemoryStore()
    given = settings.feedback.path if feedback is None or isinstance(feedback, str | Path) else feedback
    learned = Learned(FeedbackPlace(given, text=settings.feedback.text), corrections)
    if given is not None:
        learned.place.open()
    saver = None if isinstance(checkpointer, str | Path) else checkpointer
    if saver is None and settings.dag.checkpointer is not None:
        saver = open_saver(settings.dag.checkpointer)
    if saver is None and settings.dag.human_review:
        saver = MemoryQueue()

    def engine_of(models: _Models) -> Engine:
        return _engine(models, settings, learned, saver, _condenser(settings, condenser), decisions)

    def start() -> Engine:
        return engine_of(_load_or_fall_back(settings, primary, sarcasm, asked_backups))

    def build() -> Engine:
        return engine_of(_load_settled(settings, primary, sarcasm, asked_backups))

    return Classifier(build, start=start, batching=batching is not False, learned=learned)


@dataclass(frozen=True)
class _Models:
    """Everything that is loaded from disk or given; ``prior`` and ``all_labels`` are those before a restriction.

    ``cheap`` is who is asked first, where somebody is.
    """

    task: str
    version: str
    primary: Predictor
    prior: tuple[float, ...]
    all_labels: tuple[str, ...]
    detector: Predictor | None
    ladder: tuple[Rung, ...]
    policy: Policy
    origin: Origin
    cheap: Predictor | None = None
    engine: str = ""
    notes: tuple[str, ...] = ()


def _load_or_fall_back(
    settings: Settings, primary: Predictor | None, sarcasm: Predictor | None, backups: Sequence[BackupSpec] | None
) -> _Models:
    """The models; where the task's current version cannot be loaded, those of the last good one, or TF-IDF."""
    wanted = may_fall_back(settings) if primary is None else None
    if wanted is None:
        return _load_settled(settings, primary, sarcasm, backups)

    def load(there: Settings, baseline: bool) -> _Models:
        own = [spec for spec in backups or () if not isinstance(spec, str)]
        return _load_settled(there, None, sarcasm, own if baseline and backups is not None else backups, lenient=True)

    models, stand_in = first_that_loads(wanted, settings, load)
    if stand_in is None:
        return models
    note, origin = stand_in.note(models.version), models.origin
    log.warning("%s Once it is restored, reload() takes it", note)
    if stand_in.baseline is not None:
        origin = replace(origin, changed=(*origin.changed, "fallback"))
    return replace(models, version=stand_in.named(models.version), origin=origin, notes=(note, *models.notes))


def _load_settled(
    settings: Settings,
    primary: Predictor | None,
    sarcasm: Predictor | None,
    backups: Sequence[BackupSpec] | None,
    *,
    lenient: bool = False,
) -> _Models:
    """The models, run by the engine that was asked for, or under 'auto' by the fastest that can be had.

    Args:
        lenient: Whether the artefact's backups and the sarcasm detector are left out where they cannot be loaded.
    """
    places = _Places() if primary is not None else _Places.of(settings, detector=sarcasm is None, lenient=lenient)
    settled = settle(settings, places.folders)
    again = settings.model.engine == "auto" and settled.engine != "torch"
    try:
        models = _load(settled.apply(settings), places, primary, sarcasm, backups, lenient=lenient and not again)
    except (ArtifactError, UsageError) as error:
        if not again:
            raise
        settled = Settled("torch", str(error))
        models = _load(settled.apply(settings), places, primary, sarcasm, backups, lenient=lenient)
    rungs = [rung.predictor for rung in models.ladder]
    words = in_words([models.primary, *([models.detector] if models.detector is not None else []), *rungs], settled)
    if words:
        log.info("%s: %s", models.version, words)
    return replace(models, engine=words)


@dataclass(frozen=True)
class _Places:
    """The folders that a graph is made of: looked up once, for another version may come into use meanwhile.

    Attributes:
        model: The artefact; None for a primary that was given.
        detector: The sarcasm detector; None where none is needed, or there is none.
    """

    model: Path | None = None
    detector: Path | None = None

    @classmethod
    def of(cls, settings: Settings, *, detector: bool, lenient: bool) -> _Places:
        """Those of the versions that are in use now, or of the one that was asked for.

        Args:
            detector: Whether the artefact's wish for a detector counts.
            lenient: Whether it can be missing.
        """
        model, found = find_artifact(settings.model.task, settings.model.version), None
        if detector and read_manifest(model).sarcasm:
            with suppress(*((UsageError,) if lenient else ())):
                found = find_artifact("sarcasm")
        return cls(model, found)

    @property
    def folders(self) -> list[Path]:
        """Both, as far as there are."""
        return [place for place in (self.model, self.detector) if place is not None]


def _load(
    settings: Settings,
    places: _Places,
    primary: Predictor | None,
    sarcasm: Predictor | None,
    backups: Sequence[BackupSpec] | None,
    *,
    lenient: bool,
) -> _Models:
    if places.model is None:
        assert primary is not None
        if settings.dag.cheap_first:
            raise ConfigError("cheap_first=True is fitted with an artefact; a primary given as an object has no such")
        view = _View.of(settings, primary)
        ladder = _ladder(settings, view, None, Policy(), {"model": primary}, backups)
        own = view.restrict(primary)
        task = settings.model.task
        return _Models(task, primary.version, own, view.prior, view.all_labels, sarcasm, ladder, Policy(), Origin(None))
    folder = places.model
    manifest, policy = read_manifest(folder), read_policy(folder)
    if policy.thresholds is not None and len(policy.thresholds) != len(manifest.labels):
        raise ArtifactError(
            f"the policy in {str(folder)!r} has {len(policy.thresholds)} thresholds for {len(manifest.labels)} labels; "
            "restore it or train again"
        )
    read_confidence(folder)  # says now whether it is valid, while another version can stand in
    model = _open(manifest, folder, settings, "model")
    view = _View.of(settings, model, manifest.prior)
    left_out: dict[str, str] | None = {} if lenient else None
    shipped, detector = None, sarcasm
    if manifest.sarcasm and sarcasm is None:
        shipped, detector = _detector(settings, places.detector, left_out)
    members = {"model": model, **({"sarcasm": detector} if detector is not None else {})}
    ladder = _ladder(settings, view, folder, policy, members, backups, left_out)
    version, own = f"{manifest.task}/{manifest.version}", view.restrict(model)
    cheap = _cheap(settings, view, folder, policy, ladder) if settings.dag.cheap_first else None
    policy = view.policy(policy)
    given = {"backups": backups is not None, "sarcasm": sarcasm is not None}
    others = dict.fromkeys([*changed_settings(settings), *(name for name, is_given in given.items() if is_given)])
    notes = tuple(f"The {what} cannot be loaded and is left out: {why}." for what, why in (left_out or {}).items())
    for note in notes:
        log.warning("%s: %s Once it is restored, reload() takes it", version, note)
    origin = Origin(folder, shipped, (*others, *(f"{what} (not loaded)" for what in left_out or ())))
    prior, labels = manifest.prior, view.all_labels
    return _Models(manifest.task, version, own, prior, labels, detector, ladder, policy, origin, cheap, notes=notes)


@dataclass(frozen=True)
class _View:
    """The task's labels, and what of them is asked for.

    Attributes:
        all_labels: The task's.
        labels: Those that are answered, in order.
        label_prior: Shares expected of them; None: as in ``prior``.
        prior: Share of each of ``all_labels`` in the calibration data.
        multi_label: Whether the task is.
    """

    all_labels: tuple[str, ...]
    labels: tuple[str, ...]
    label_prior: dict[str, float] | None
    prior: tuple[float, ...]
    multi_label: bool

    @classmethod
    def of(cls, settings: Settings, model: Predictor, prior: tuple[float, ...] | None = None) -> _View:
        """What the settings ask for; ConfigError where the task does not have it."""
        all_labels, asked = tuple(model.labels), settings.model.labels
        labels = all_labels if asked is None else check_labels(asked, all_labels)
        shares, multi_label = settings.model.label_prior, is_multi_label(model)
        if shares is not None:
            check_label_prior(shares, labels, multi_label=multi_label)
        if prior is None:
            unknown = 0.5 if multi_label else 1 / len(all_labels)
            prior = tuple(getattr(model, "prior", None) or [unknown] * len(all_labels))
        return cls(all_labels, labels, shares, prior, multi_label)

    def restrict(self, predictor: Predictor) -> Predictor:
        """The predictor as it answers here; itself where nothing is restricted, or where it is made for the labels."""
        if (self.labels == self.all_labels and self.label_prior is None) or tuple(predictor.labels) != self.all_labels:
            return predictor
        learned = getattr(predictor, "prior", None) or self.prior
        return Restricted(predictor, self.labels, label_prior=self.label_prior, prior=learned)

    def fits(self, predictor: Predictor) -> bool:
        """Whether a backup answers for the task's labels, or just those asked for."""
        return tuple(predictor.labels) in {self.all_labels, self.labels}

    def policy(self, policy: Policy) -> Policy:
        """What of the fitted policy still means something: a list's confidence was fitted for lists of all labels."""
        if self.labels == self.all_labels:
            return policy
        cut = policy.thresholds and tuple(policy.thresholds[self.all_labels.index(label)] for label in self.labels)
        return policy.model_copy(update={"thresholds": cut, "set_calibration": None})


def _open(
    manifest: Manifest, folder: Path, settings: Settings, name: str, members: dict[str, Predictor] | None = None
) -> Predictor:
    options = {
        "base_path": settings.model.base_path,
        "device": settings.model.device,
        "engine": settings.model.engine,
        "tokens_per_batch": settings.model.tokens_per_batch,
        "window_overlap": settings.model.window_overlap,
        "name": name,
    }
    spec = Spec(manifest.labels, folder, options, members or {}, multi_label=manifest.multi_label)
    return load_predictor(manifest.kind, spec)


def _detector(
    settings: Settings, place: Path | None, left_out: dict[str, str] | None
) -> tuple[Path | None, Predictor | None]:
    """The sarcasm detector and its folder; without one, where ``left_out`` takes up why, the graph works too."""
    try:
        folder = place if place is not None else find_artifact("sarcasm")  # which says what there is
        return folder, _open(read_manifest(folder), folder, settings, "sarcasm")
    except BaseModelNotFoundError:
        raise
    except (ArtifactError, UsageError, OSError) as error:
        if left_out is None:
            raise
        left_out["sarcasm detector"] = str(error)
        return None, None


def _cheap(settings: Settings, view: _View, folder: Path, policy: Policy, ladder: Sequence[Rung]) -> Predictor:
    """The artefact's model that is asked first; the ladder's, where it is there."""
    if policy.first is None:
        raise ConfigError(
            f"cheap_first=True: {str(folder)!r} has no cheap model that answers enough held-out texts well enough; "
            "leave it out, or fit anew with one: healdag train TASK --steps tfidf,ensemble"
        )
    there = next((rung.predictor for rung in ladder if rung.name == policy.first.by), None)
    if there is not None:
        return there
    place = folder / "backups" / policy.first.by
    return view.restrict(_open(read_manifest(place), place, settings, policy.first.by))


def _condenser(settings: Settings, given: Condenser | str | Path | None) -> Condenser | None:
    if given is None or isinstance(given, str | Path):
        folder = settings.dag.condenser
        return load_summarizer(folder, device=settings.model.device) if folder is not None else None
    if not isinstance(given, Condenser):
        raise ConfigError(
            "a condenser is the folder of a summarizer, or an object with condense(texts) and max_tokens; "
            f"got {type(given).__name__}"
        )
    return given


def _open_log(settings: Settings) -> DecisionLog | None:
    return DecisionLog(settings.log.path, text=settings.log.text) if settings.log.path is not None else None


def _ladder(
    settings: Settings,
    view: _View,
    folder: Path | None,
    policy: Policy,
    members: dict[str, Predictor],
    asked: Sequence[BackupSpec] | None,
    left_out: dict[str, str] | None = None,
) -> tuple[Rung, ...]:
    """The backups in order; what is loaded earlier can be a member of what comes later.

    Args:
        left_out: Takes up why, for each of the artefact's own that cannot be loaded; None: that is an error.
    """
    if not settings.dag.enable_backup:
        return ()
    loaded = dict(members)
    rungs: list[Rung] = []
    for spec in tuple(policy.backups) if asked is None else asked:
        try:
            rung = _rung(settings, view, folder, policy, loaded, spec)
        except (ArtifactError, ConfigError, OSError) as error:
            if left_out is None or asked is not None or isinstance(error, BaseModelNotFoundError):
                raise
            left_out[f"backup {spec!r}"] = str(error)
            continue
        taken = {members["model"].name, *(other.name for other in rungs)}
        name = _free_name(rung.name, taken)
        rung = replace(rung, name=name, circuit=None if isinstance(spec, str) else _circuit(settings, name))
        _check_backup(rung.predictor, view)
        loaded[rung.name] = rung.predictor  # a member answers for all labels; what its ensemble says is restricted
        rungs.append(replace(rung, predictor=view.restrict(rung.predictor)))
    return tuple(rungs)


def _circuit(settings: Settings, name: str) -> Circuit | None:
    """For backups that may be slow or far away; those of the artefact fail with the text, not with the time."""
    dag = settings.dag
    return Circuit(name, dag.backup_failures, dag.backup_pause) if dag.backup_failures else None


def _check_backup(predictor: Predictor, view: _View) -> None:
    """Raises ConfigError where the backup's answers are not the task's."""
    if not view.fits(predictor):
        raise ConfigError(
            f"backup {predictor.name!r} answers {list(predictor.labels)}, the task has {list(view.all_labels)}"
        )
    if is_multi_label(predictor) != view.multi_label:
        has, needs = ("chooses one label", "True") if view.multi_label else ("answers each label by itself", "False")
        raise ConfigError(
            f"backup {predictor.name!r} {has}, the task does not; a predictor with multi_label = {needs} is needed"
        )


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or the name with the first free number behind it."""
    numbered = (f"{name}-{n}" for n in count(2))
    return name if name not in taken else next(candidate for candidate in numbered if candidate not in taken)


def _rung(
    settings: Settings,
    view: _View,
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
        place = options.pop("folder", None)
        made = load_predictor(kind, Spec(view.all_labels, place, options, loaded, multi_label=view.multi_label))
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
    rule: Rule = learned.rule if learned is not None else "surer"
    return Rung(spec, predictor, rule=rule, skips_unreadable=True, learned=learned)


def _engine(
    models: _Models,
    settings: Settings,
    learned: Learned,
    checkpointer: BaseCheckpointSaver[Any] | None,
    condenser: Condenser | None = None,
    decisions: DecisionLog | None = None,
) -> Engine:
    policy, dag = models.policy, settings.dag
    origin = models.origin
    if condenser is not None and "condenser" not in origin.changed:
        origin = replace(origin, changed=(*origin.changed, "condenser"))
    threshold = policy.threshold if dag.threshold is None else dag.threshold
    decider = Decider(
        tuple(models.primary.labels), policy.thresholds, is_multi_label(models.primary), policy.set_calibration
    )
    asker = decider.to_state(models.version, policy.review_threshold if dag.threshold is None else dag.threshold)
    prior = dict(zip(models.all_labels, models.prior, strict=True))
    corrections, recall = _memory(models, settings, learned, decider)
    nodes = Nodes(
        preprocess=Preprocess(_lexicon(models.all_labels, decider), dag.max_chars, asker),
        memory=Memory(corrections, decider),
        classify=Classify(models.primary, models.prior, recall),
        sarcasm=Sarcasm(models.detector, _screen(models, dag)),
        check=Check(decider, threshold, dag.sarcasm_threshold),
        backup=Backup(models.ladder, decider, threshold),
        trust=trust_of(origin, decider, dag, familiarity_of(models.primary), prior),
        review=Review(),
        finalize=Finalize(decider, models.version, learned.recent.add),
        condense=Condense(condenser, whole(models.primary)) if condenser is not None else None,
        first=_first_stage(models, decider),
        log=Log(decisions) if decisions is not None else None,
        engine=models.engine,
        notes=models.notes,
    )
    renew_vectors(corrections, nodes.classify)
    graph = build_graph(nodes, human_review=dag.human_review)
    compiled: CompiledStateGraph[Any, Any, Any, Any] = graph.compile(checkpointer=checkpointer, name="healdag")
    if checkpointer is not None:
        compiled = compiled.with_config(metadata={MARK: models.task})  # by which pending() finds its runs
    short = in_one_step(graph) if checkpointer is None else None
    return Engine(compiled, nodes, models.task, short.compile(name="healdag") if short is not None else None)


def _screen(models: _Models, dag: DagSettings) -> Screen | None:
    """What spares the detector texts; None where it was fitted to another detector, or to a higher threshold."""
    found = getattr(whole(models.primary), "screen", None)
    shipped = models.origin.detector
    if not isinstance(found, Screen) or shipped is None or not dag.sarcasm_screen:
        return None
    fits = found.detector == sha256(shipped / MANIFEST) and dag.sarcasm_threshold >= found.flagged_from
    return found if fits else None


def _first_stage(models: _Models, decider: Decider) -> FirstStage | None:
    learned = models.policy.first
    return FirstStage(models.cheap, decider, learned.threshold) if models.cheap is not None and learned else None


def _memory(
    models: _Models, settings: Settings, learned: Learned, decider: Decider
) -> tuple[Corrections, Recall | None]:
    """What people have said, and who answers near twins by it; nobody where a promise was made without that."""
    space = models.version.partition(" ")[0]  # without what it stands in for
    corrections = Corrections(
        learned.store, models.task, learned.place, space=space, capacity=settings.feedback.memory_size
    )
    promised = settings.dag.max_error is not None or settings.dag.label_set is not None
    if promised or not settings.feedback.near_twins or familiarity_of(models.primary) is None:
        return corrections, None
    return corrections, Recall(corrections, decider)


def _lexicon(all_labels: tuple[str, ...], decider: Decider) -> Predictor | None:
    """The emoji lexicon, where the task chooses one of the emotions that it speaks about."""
    if decider.multi_label or set(all_labels) != set(lexicon_labels()):
        return None
    lexicon = EmojiLexicon(all_labels)
    return lexicon if decider.labels == all_labels else Restricted(lexicon, decider.labels)
