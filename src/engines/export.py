"""Exports every model of a graph to ONNX and measures it, on labelled rows where there are some."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from ..artifacts import UNCALIBRATED, Checks, Exported, Manifest, find_artifact, find_export, read_policy
from ..artifacts.exports import export_folder, exportable, write_checks
from ..errors import ArtifactError, UsageError
from ..predictors import Spec, load_predictor
from ..predictors._engines import open_exported
from ..predictors.lora import LoraClassifier
from ..training.data import load_split
from ..training.ensembles.stack import IRONY
from ..training.evaluation.candidates import Artifact
from ..training.evaluation.labelled import task_of, trained_task
from ..training.tasks import Task
from .gate import Rows, measure_int8

MOST_ROWS = 4000
"""Rows that int8 is measured on: the standard error of an agreement of 98 % is then 0.2 points."""

RowsFor = Callable[[str, Path, Manifest], Rows]
"""A model's name, folder and manifest to the labelled rows to measure it on; UsageError where there are none."""


@dataclass(frozen=True)
class Made:
    """One exported model.

    Attributes:
        name: 'model' for the primary, 'sarcasm' for the detector, or a backup's name.
        missing: Why int8 was not measured, or None.
    """

    name: str
    exported: Exported
    missing: str | None = None

    @property
    def checks(self) -> Checks:
        """What was measured here."""
        assert self.exported.checks is not None
        return self.exported.checks


def export_graph(found: Artifact, rows_for: RowsFor, *, force: bool = False) -> Iterator[Made]:
    """Exports the models of an artefact and of the sarcasm detector that its graph asks, one after the other.

    A model that is exported already is measured only.

    Args:
        force: Whether it is exported anew.

    Raises:
        UsageError: the artefact has no model that can be exported.
        ArtifactError: the artefact is damaged.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    models = exportable(found.folder)
    if found.manifest.sarcasm:
        detector = exportable(find_artifact("sarcasm"), backups=False)
        models |= {"sarcasm" if name == "model" else f"sarcasm/{name}": one for name, one in detector.items()}
    if not models:
        raise UsageError(
            f"{found.name!r} ({found.manifest.kind}) has no model that runs on torch: there is nothing to export"
        )
    for name, (folder, manifest) in models.items():
        if force:
            shutil.rmtree(export_folder(folder, manifest), ignore_errors=True)
        yield _export(name, folder, manifest, rows_for)


def _export(name: str, folder: Path, manifest: Manifest, rows_for: RowsFor) -> Made:
    options = {"engine": "onnx-fp32", "name": name}
    try:
        load_predictor(manifest.kind, Spec(manifest.labels, folder, options))
    except ArtifactError:
        # Where fp32 is refused, what was measured says so.
        if (failed := find_export(folder, manifest)) is None or failed.checks is None:
            raise
    exported = find_export(folder, manifest)
    assert exported is not None
    assert exported.checks is not None
    try:
        rows = rows_for(name, folder, manifest)
    except UsageError as error:
        return Made(name, exported, str(error))
    reference = cast("LoraClassifier", load_predictor(manifest.kind, Spec(manifest.labels, folder)))
    # Without what was measured before, and without a calibration.
    plain, bare = replace(exported, checks=None), manifest.model_copy(update={"calibration": UNCALIBRATED})
    int8 = open_exported(plain, "int8", bare, folder, {"name": name}, exported.checks.runs["int8"])
    check = measure_int8(reference, int8, read_policy(folder).thresholds, rows)
    return Made(name, write_checks(exported, exported.checks.model_copy(update={"int8": check})))


def own_rows(source: Path | None) -> RowsFor:
    """The validation rows of each model's own task.

    Args:
        source: Folder with the data sets.
    """

    def rows_for(name: str, folder: Path, manifest: Manifest) -> Rows:
        found = Artifact(name, folder, manifest)
        task = task_of(found)
        if name == IRONY and (trained := trained_task(found)) is not None:
            # It says what is meant where a text is ironic: its rows are such texts. None that a certificate rests on.
            task = trained.model_copy(update={"certify": task.certify})
        return rows_of(task, source, f"validation rows of {task.name}")

    return rows_for


def given_rows(labels: tuple[str, ...], task: Task, source: Path | None, data: str) -> RowsFor:
    """A user's rows for the models with their labels, and for the others the validation rows of their own tasks.

    Args:
        labels: Of the rows.
        task: Its validation split is the rows.
        source: Folder with the data sets.
        data: Where the rows are from, in words.
    """

    def rows_for(name: str, folder: Path, manifest: Manifest) -> Rows:
        if manifest.labels != labels:
            return own_rows(source)(name, folder, manifest)
        # The backup for ironic texts keeps its calibration, as in ``healdag calibrate``.
        return rows_of(task, source, data, refit=name != IRONY)

    return rows_for


def rows_of(task: Task, source: Path | None, data: str, *, refit: bool = True) -> Rows:
    """The validation rows of a task, or a fixed random choice of them.

    Raises:
        UsageError: there are none.
    """
    rows = load_split(task, "validation", source)
    if not rows:
        raise UsageError(f"task {task.name!r} has no validation rows")
    if len(rows) > MOST_ROWS:
        rows = random.Random(13).sample(rows, MOST_ROWS)
    return Rows(tuple(rows), data, refit)
