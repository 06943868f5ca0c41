"""Ensembles that stand alone: several trained models with learned weights, or the best of them, as one artefact."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ...artifacts import CURRENT, MANIFEST, POLICY, Manifest, Policy, find_artifact, read_json, read_manifest, replacing
from ...errors import UsageError
from ...predictors import FloatArray, Spec, decide, load_predictor, logits_of
from ...predictors.ensemble import OWN, SETUP, Pool
from ..artifact_writer import set_current, write_json, write_manifest
from ..calibrating import recalibrated, thresholds_of, write_figures
from ..data import data_hash, load_split, prior_of, targets, texts_of
from ..datasets import Example
from ..evaluation.calibration import fit_calibration
from ..evaluation.metrics import IntArray, evaluate, fit_thresholds, macro_f1
from ..tasks import Task
from .stack import Evidence, cross_validated, fit_pool, folds_of

Method: TypeAlias = Literal["auto", "pool", "best"]
METHODS: tuple[Method, ...] = get_args(Method)
_LEFT_OUT = ("backups", "*.png", "metrics.csv", ".*")
"""What of a member's folder an ensemble has no use for."""

log = logging.getLogger("healdag")


@dataclass(frozen=True)
class Member:
    """A model that an ensemble is made of."""

    number: int
    folder: Path
    manifest: Manifest

    @property
    def title(self) -> str:
        """Its number, from 1, its task and version, its kind and the name of its folder: no two have the same."""
        return f"{self.number}. {self.manifest.task}@{self.manifest.version} ({self.manifest.kind}, {self.folder.name})"


@dataclass(frozen=True)
class Combined:
    """What :func:`combine_models` made.

    Attributes:
        folder: The artefact.
        method: 'pool' or 'best'.
        scores: Cross-validated macro-F1 of 'pool' and 'best' on the validation split; only what was compared.
        weights: Weight of each member that is in it, by title.
        members: Macro-F1 of every member on the validation split, by title.
        figures: The content of metrics.json.
    """

    folder: Path
    method: Method
    scores: dict[str, float]
    weights: dict[str, float]
    members: dict[str, float]
    figures: dict[str, Any]


def find_member(name: str, models: Path | None = None) -> Path:
    """The folder of a member: an artefact folder, ``task`` or ``task@version``.

    Args:
        models: A folder of models that is searched first.

    Raises:
        UsageError: there is none; the message lists what there is.
    """
    if (Path(name).expanduser() / MANIFEST).is_file() and Path(name).name != name:
        return Path(name).expanduser()
    task, _, version = name.partition("@")
    pointer = models / task / CURRENT if models is not None else None
    if pointer is not None and pointer.is_file():
        here = pointer.parent / (version or pointer.read_text(encoding="utf-8").strip())
        if (here / MANIFEST).is_file():
            return here
    return find_artifact(task, version or None)


def task_of(member: Path) -> Task:
    """The task that a model was trained for, as its training_info.json has it.

    Raises:
        UsageError: it does not say.
    """
    path = member / "training_info.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict) or "task" not in content:
        raise UsageError(f"{str(member)!r} does not say which task it was trained for; name the task with --task")
    return Task.model_validate(content["task"])


def combine_models(
    name: str,
    members: Sequence[Path],
    task: Task,
    *,
    source: Path | None,
    models: Path,
    version: str,
    method: Method = "auto",
    command: str = "",
) -> Combined:
    """Makes ``models/<name>/<version>`` from trained models; it stands alone, with copies of its members.

    The weights are learned on the task's validation split, and calibration and thresholds from cross-validated
    answers, so that no row is answered by weights that saw it. Members that were calibrated on the same split are a
    little better on it than elsewhere; the test split says how good the whole is.

    Args:
        name: What ``create_classifier(task=name)`` calls it.
        members: Artefact folders; each model answers without its backups.
        task: Its rows teach the weights.
        method: 'pool' (a logarithmic opinion pool with a weight per member), 'best' (the member with the best
            macro-F1 on the validation split), or 'auto': whichever has the better cross-validated macro-F1.

    Raises:
        UsageError: fewer than two members, members that do not fit the task, or too few rows.
        ArtifactError: a member is damaged.
    """
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; there are: {', '.join(METHODS)}")
    opened = _open(members, task)
    rows, test = load_split(task, "validation", source), load_split(task, "test", source)
    evidence = _evidence(opened, rows, task)
    values, truth, seed = list(evidence.members.values()), evidence.truth, task.training.seed
    said = [_answers(each, truth, task) for each in values]
    singles = {member.title: _score(truth, each, len(task.labels)) for member, each in zip(opened, said, strict=True)}
    scores: dict[str, float] = {}
    if method != "best":
        crossed = cross_validated(evidence, seed)
        scores["pool"] = _score(truth, _answers(crossed, truth, task), len(task.labels))
    if method != "pool":
        scores["best"] = _score(truth, _cross_picked(evidence, said, seed), len(task.labels))
    # A pool that is no better than its best member is not worth the others' time.
    taken: Method = "best" if scores.get("best", -1.0) >= scores.get("pool", -1.0) else "pool"
    picked = list(range(len(opened))) if taken == "pool" else [_best(said, truth, len(task.labels))]
    pool = _pool(evidence, taken, picked)
    log.info("%s: %s, of cross-validated macro-F1 %s", name, taken, {way: round(s, 4) for way, s in scores.items()})
    answers = crossed if taken == "pool" else pool.combine([values[i] for i in picked])
    kept = [opened[i] for i in picked]
    weights = {member.title: weight for member, weight in zip(kept, pool.weights, strict=True)}
    fitted = _fit(name, version, task, answers, evidence.truth)
    folder = models / name / version
    info: dict[str, Any] = {
        "command": command,
        "model": "ensemble",
        "method": taken,
        "asked_method": method,
        "scores": scores,
        "members": singles,
        "weights": weights,
        "task": task.model_dump(mode="json"),
        "data_sha256": {"validation": data_hash(rows), "test": data_hash(test)},
        "seed": seed,
    }
    with replacing(folder) as fresh:
        covered = _copy_members(kept, fresh)
        write_json(fresh / SETUP, pool.model_dump(mode="json"))
        write_manifest(fresh, fitted.manifest, [SETUP, *covered])
        figures = fitted.figures | _test_figures(fresh, fitted, task, test)
        _write_report(fresh, fitted, figures, info, task)
    set_current(models, name, version)
    return Combined(folder, taken, scores, weights, singles, figures)


def _open(folders: Sequence[Path], task: Task) -> list[Member]:
    """The members, all for the task's labels.

    Raises:
        UsageError: fewer than two different ones, or one that does not fit.
    """
    places = list(dict.fromkeys(folder.resolve() for folder in folders))
    if len(places) < 2:
        raise UsageError(f"an ensemble needs two different members at least; got {[str(folder) for folder in folders]}")
    opened = [Member(number, place, read_manifest(place)) for number, place in enumerate(places, start=1)]
    for member in opened:
        has = member.manifest
        if has.labels != task.labels or has.multi_label != task.multi_label:
            raise UsageError(
                f"{str(member.folder)!r} answers {_form(has.labels, has.multi_label)}, task {task.name!r} has "
                f"{_form(task.labels, task.multi_label)}; members need the task's labels, in its order"
            )
        if has.kind == "ensemble" and not any(name.startswith(f"{OWN}/") for name in has.files):
            raise UsageError(
                f"{str(member.folder)!r} is the ensemble of a model's own backups and cannot be taken out of it; "
                "name those backups' folders, or an ensemble made with 'healdag ensemble'"
            )
    return opened


def _form(labels: tuple[str, ...], multi_label: bool) -> str:
    return f"{list(labels)}{' (several per text)' if multi_label else ''}"


def _evidence(opened: Sequence[Member], rows: Sequence[Example], task: Task) -> Evidence:
    texts = texts_of(rows)
    answers = {}
    for place, member in enumerate(opened):
        values = load_predictor(member.manifest.kind, Spec(task.labels, member.folder)).predict_proba(texts)
        if not np.isfinite(values).all():
            raise UsageError(f"{member.title} could not answer every validation row; leave it out")
        answers[f"{OWN}/{place}"] = values
    n = len(rows)
    truth = targets(rows, task.labels, multi_label=task.multi_label)
    return Evidence(answers, None, truth, np.ones(n, dtype=bool), np.zeros(n, dtype=bool))


def _answers(probabilities: FloatArray, truth: IntArray, task: Task) -> IntArray:
    """What is answered with the thresholds that the task's decision calls for; see healdag.predictors.decide."""
    thresholds = fit_thresholds(probabilities, truth, task.decision, multi_label=task.multi_label)
    return decide(probabilities, thresholds, multi_label=task.multi_label)


def _score(truth: IntArray, said: IntArray, k: int) -> float:
    return round(macro_f1(truth, said, k), 5)


def _best(said: Sequence[IntArray], truth: IntArray, k: int) -> int:
    """Place of the member with the best macro-F1; of equals the first."""
    return int(np.argmax([_score(truth, each, k) for each in said]))


def _cross_picked(evidence: Evidence, said: Sequence[IntArray], seed: int) -> IntArray:
    """The answer to each row by the member that is best on the other folds, in the shape of the truth."""
    folds, truth = folds_of(evidence, seed), evidence.truth
    result = np.zeros_like(truth)
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        result[out] = said[_best([each[~out] for each in said], truth[~out], evidence.shape[1])][out]
    return result


def _pool(evidence: Evidence, method: Method, picked: Sequence[int]) -> Pool:
    """The pool over the members that are kept, named by their places in the artefact."""
    names = tuple(f"{OWN}/{place}" for place in range(len(picked)))
    if method == "pool":
        return fit_pool(evidence).model_copy(update={"members": names})
    zeros = (0.0,) * evidence.shape[1]
    return Pool(members=names, weights=(1.0,), bias=zeros, multi_label=evidence.multi_label)


@dataclass(frozen=True)
class _Fitted:
    manifest: Manifest
    policy: Policy
    figures: dict[str, Any]
    report: dict[str, Any]


def _fit(name: str, version: str, task: Task, answers: FloatArray, truth: IntArray) -> _Fitted:
    """Calibration, thresholds and validation figures from cross-validated answers."""
    multi = task.multi_label
    fitted = fit_calibration(logits_of(answers, multi_label=multi), truth, multi_label=multi)
    values = recalibrated(answers, fitted.calibration, multi_label=multi)
    policy = thresholds_of(values, truth, task)
    manifest = Manifest(
        kind="ensemble",
        task=name,
        version=version,
        labels=task.labels,
        prior=prior_of(truth, len(task.labels)),
        calibration=fitted.calibration,
        multi_label=multi,
        sarcasm=task.sarcasm,
    )
    figures = evaluate(fitted.crossed, truth, task.labels, policy.thresholds, multi_label=multi)
    return _Fitted(manifest, policy, {"validation": figures}, fitted.report)


def _copy_members(members: Sequence[Member], folder: Path) -> list[str]:
    """Copies the members to ``folder/members/<place>``; returns the files that the ensemble's manifest vouches for."""
    for place, member in enumerate(members):
        shutil.copytree(member.folder, folder / OWN / str(place), ignore=shutil.ignore_patterns(*_LEFT_OUT))
    return [f"{OWN}/{place}/{MANIFEST}" for place in range(len(members))]


def _test_figures(folder: Path, fitted: _Fitted, task: Task, test: Sequence[Example]) -> dict[str, Any]:
    """Figures on the test split, as the written artefact answers; empty without one."""
    if not test:
        return {}
    values = load_predictor("ensemble", Spec(task.labels, folder)).predict_proba(texts_of(test))
    truth = targets(test, task.labels, multi_label=task.multi_label)
    return {"test": evaluate(values, truth, task.labels, fitted.policy.thresholds, multi_label=task.multi_label)}


def _write_report(folder: Path, fitted: _Fitted, figures: dict[str, Any], info: dict[str, Any], task: Task) -> None:
    write_json(folder / POLICY, fitted.policy.model_dump(mode="json"))
    write_figures(folder, task.labels, figures, fitted.report)
    write_json(folder / "training_info.json", info)
    (folder / "README.md").write_text(ensemble_card(fitted.manifest, figures, info, task), encoding="utf-8")


def ensemble_card(manifest: Manifest, figures: Mapping[str, Any], info: Mapping[str, Any], task: Task) -> str:
    """The README.md of an ensemble: members, weights, figures."""
    what = {
        "pool": "a logarithmic opinion pool of its members, with weights learned on the validation split",
        "best": "the best of several models by macro-F1 on the validation split",
    }[info["method"]]
    compared = ", ".join(f"{way} {score:.4f}" for way, score in info["scores"].items())
    members = "\n".join(
        f"| {title} | {info['weights'][title]:.3f} | {score:.4f} |"
        if title in info["weights"]
        else f"| {title} | not in it | {score:.4f} |"
        for title, score in info["members"].items()
    )
    measured = "\n".join(
        f"- {split}: n = {f['n']:,}, accuracy {f['accuracy']:.3f}, macro-F1 {f['macro_f1']:.3f}, "
        f"expected calibration error {f['ece']:.3f}"
        for split, f in figures.items()
    )
    return f"""# {manifest.task} {manifest.version}

{task.description}: {what}.

- Labels{" (a text can have several, or none)" if manifest.multi_label else ""}: {", ".join(manifest.labels)}
- Cross-validated macro-F1: {compared}
- Licences of the data: {task.licence} See each member's card for what it was trained on.
- Command: `{info["command"]}`

| member | weight | macro-F1 on validation |
|---|---|---|
{members}

## Figures

The validation figures are cross-validated; all figures: `metrics.json`.

{measured}

The members lie in `members/`, in the order of the weights in `ensemble.json`; a member that is changed is refused.
"""
