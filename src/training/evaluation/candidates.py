"""What can be measured, by name: a task's model, an artefact's folder, its backups, and the plain baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...artifacts import (
    MANIFEST,
    WEIGHTS,
    Manifest,
    available_tasks,
    find_artifact,
    read_manifest,
    read_policy,
    resolve_base,
)
from ...config import LoraSettings
from ...errors import ArtifactError, UsageError
from ...predictors import Predictor, Spec, load_predictor
from .comparison import majority
from .measure import Model, of_predictor
from .nearest_label import NearestLabel

BASE, MAJORITY = "base", "majority"
CLASSICAL = ("tfidf", "svm")
GRAPH = "graph:"
_BACKUPS = "backups"


@dataclass(frozen=True)
class Artifact:
    """A model's folder and what its manifest says.

    Attributes:
        name: As the user wrote it.
    """

    name: str
    folder: Path
    manifest: Manifest


def find(item: str, version: str | None = None) -> Artifact:
    """The artefact that ``item`` names: a task, task@version, a folder, or one of a model's backups (task/backup).

    Raises:
        UsageError: there is no such task, version or backup; the message lists what there is.
        ArtifactError: its files are missing or not the trained ones.
    """
    folder = _folder(item.removeprefix(GRAPH), version)
    return Artifact(item if version is None else f"{item}@{version}", folder, read_manifest(folder))


def _folder(item: str, version: str | None) -> Path:
    path = Path(item).expanduser()
    if path.name != item and path.is_dir():
        if (path / MANIFEST).is_file():
            return path
        raise UsageError(f"no {MANIFEST} in {item!r}; give an artefact's folder, such as models/<task>/<version>")
    task, _, rest = item.partition("/")
    name, _, given = task.partition("@")
    folder = find_artifact(name, version or given or None)
    if not rest:
        return folder
    inside = folder / _BACKUPS / rest.removeprefix(f"{_BACKUPS}/")
    if not (inside / MANIFEST).is_file():
        there = ", ".join(backups_of(folder)) or "none"
        raise UsageError(f"no backup {rest!r} in the model of {task!r}; there are: {there}")
    return inside


def backups_of(folder: Path) -> list[str]:
    """Names of the models kept in an artefact's folder as its backups."""
    return sorted(path.parent.name for path in folder.glob(f"{_BACKUPS}/*/{MANIFEST}"))


def open_artifact(found: Artifact, *, device: str = "auto") -> Model:
    """The artefact's model alone, without the graph around it."""
    manifest = found.manifest
    predictor = load(found, device=device)
    model = of_predictor(
        predictor,
        read_policy(found.folder).thresholds,
        multi_label=manifest.multi_label,
        size=size_of(found.folder),
        calibration=manifest.calibration,
    )
    return replace(model, name=found.name)


def load(found: Artifact, *, device: str = "auto") -> Predictor:
    """The predictor in a folder; for an ensemble among a model's backups with the members that it needs."""
    members: dict[str, Predictor] = {}
    if found.manifest.kind == "ensemble" and found.folder.parent.name == _BACKUPS:
        owner = found.folder.parents[1]
        places = {"model": owner, **{name: owner / _BACKUPS / name for name in backups_of(owner)}}
        if found.manifest.sarcasm or read_manifest(owner).sarcasm:
            places["sarcasm"] = find_artifact("sarcasm")
        for name, folder in places.items():
            if folder != found.folder and (manifest := read_manifest(folder)).kind != "ensemble":
                members[name] = load(Artifact(name, folder, manifest), device=device)
    manifest = found.manifest
    return load_predictor(manifest.kind, Spec(manifest.labels, found.folder, {"device": device}, members))


def size_of(folder: Path, *, backups: bool = False) -> int:
    """Bytes of an artefact's own files; of its backups too where asked. The shared base is not counted."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if backups or path.relative_to(folder).parts[0] != _BACKUPS)


def reference_of(items: Sequence[str]) -> Artifact:
    """The first item that names an artefact; the baselines are made for its labels.

    Raises:
        UsageError: there is none.
    """
    item = next((item for item in items if item not in (BASE, MAJORITY, *CLASSICAL)), None)
    if item is None:
        tasks = ", ".join(sorted(available_tasks())) or "none yet"
        raise UsageError(
            f"{list(items)} names no model; give at least one task ({tasks}) or folder, whose labels the others take"
        )
    return find(item)


def open_item(item: str, reference: Artifact, *, device: str = "auto") -> Model:
    """A model by what the user wrote.

    Args:
        item: 'base' (the pretrained base, untrained), 'majority', 'tfidf' and 'svm' (among the reference's backups,
            or a task <task>-tfidf), or what :func:`find` takes.
        reference: Gives the baselines their labels.

    Raises:
        UsageError: there is no such model.
    """
    manifest = reference.manifest
    if item == MAJORITY:
        return majority(manifest.labels, manifest.prior, multi_label=manifest.multi_label)
    if item == BASE:
        base = resolve_base(manifest.base.name if manifest.base is not None else LoraSettings().base)
        nearest = NearestLabel(
            base,
            manifest.labels,
            max_length=manifest.max_length,
            device=device,
        )
        return of_predictor(nearest, multi_label=manifest.multi_label, size=(base / WEIGHTS).stat().st_size)
    if item in CLASSICAL:
        return replace(open_artifact(_classical(item, reference), device=device), name=item)
    return open_artifact(find(item), device=device)


def _classical(item: str, reference: Artifact) -> Artifact:
    """The classical model of the reference's task: among its backups, or a task of its own."""
    owner = reference.folder.parents[1] if reference.folder.parent.name == _BACKUPS else reference.folder
    task = reference.manifest.task
    for name in backups_of(owner):
        manifest = read_manifest(owner / _BACKUPS / name)
        if name == item or manifest.kind == item or name == f"tfidf_{item}":
            return Artifact(item, owner / _BACKUPS / name, manifest)
    tasks = available_tasks()
    for name in (f"{task}-{item}", f"{task}_{item}", f"{task}-tfidf_{item}", f"{task}_tfidf_{item}"):
        if name in tasks:
            return find(name)
    methods = {"tfidf": "tfidf", "svm": "tfidf_svm"}
    raise UsageError(
        f"no {item!r} for {reference.name!r}: its backups are {', '.join(backups_of(owner)) or 'none'}, and there is "
        f"no task '{task}-{item}'. Train one (healdag train {task} --method {methods[item]} into a --models folder of "
        "its own) and give its folder"
    )


def detector(device: str = "auto") -> Predictor:
    """The sarcasm detector in use.

    Raises:
        ArtifactError: it has no label 'sarcastic'.
    """
    found = find("sarcasm")
    if "sarcastic" not in found.manifest.labels:
        raise ArtifactError(f"the model of task 'sarcasm' answers {list(found.manifest.labels)}, not 'sarcastic'")
    return load(found, device=device)
