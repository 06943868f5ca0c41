"""A new version of a trained model, with everything fitted anew that is fitted on held-out rows."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import CERTIFICATE, read_json, replacing
from ..errors import UsageError
from ..training.artifact_writer import set_current, write_json
from ..training.calibrating import RELIABILITY
from ..training.data import load_split
from ..training.evaluation.candidates import Artifact
from ..training.evaluation.labelled import CALIBRATED_ON, text_hash
from ..training.evaluation.plots import reliability_png
from ..training.pipeline import model_of
from ..training.recalibration import Refit, recalibrate
from ..training.tasks import Task
from .certify import check_environment
from .fit import fit_graph_if_possible


@dataclass(frozen=True)
class Made:
    """What :func:`calibrate` made.

    Attributes:
        folder: The artefact.
        refits: Its models, the primary first.
        fresh: Whether they were calibrated on other rows before; else what they are compared to is uncalibrated.
        graph: The content of graph_metrics.json; None where the rows were too few to fit the graph's confidence.
    """

    folder: Path
    refits: list[Refit]
    fresh: bool
    graph: dict[str, Any] | None


def calibrate(
    found: Artifact,
    task: Task,
    source: Path | None,
    *,
    models: Path,
    version: str,
    own_rows: bool = False,
    command: str = "",
) -> Made:
    """Makes ``models/<task>/<version>`` of an artefact and points ``current`` at it; the one that was there stays.

    Primary, backups, ensemble, policy and the graph's confidence are fitted on the validation split of ``task``. The
    new version has no certificate: that was another confidence's.

    Args:
        task: See :func:`healdag.training.evaluation.labelled.calibration_task`, as for ``own_rows``.
        source: Folder with the data sets of the task.
        own_rows: Whether they are a user's, and not the task's. Then they are remembered, by their hashes, for a
            certificate must leave them out.
        command: The command line that was typed.

    Raises:
        UsageError: the version is there already, the rows do not allow it, or HEALDAG_CONFIG makes another graph.
        ArtifactError: the artefact is damaged.
    """
    check_environment()
    name = found.manifest.task
    folder = models / name / version
    if folder.exists():
        raise UsageError(f"{str(folder)!r} is there already; leave --version out, or give another one")
    detector = model_of(models, "sarcasm") if found.manifest.sarcasm else None
    hashes = sorted(text_hash(row.text) for row in load_split(task, "validation", source))
    known = found.folder / CALIBRATED_ON
    new_rows = own_rows and not (known.is_file() and read_json(known) == hashes)
    with replacing(folder) as fresh:
        left_out = shutil.ignore_patterns(CERTIFICATE, CALIBRATED_ON, ".*")
        shutil.copytree(found.folder, fresh, ignore=left_out, dirs_exist_ok=True)
        refits = recalibrate(fresh, task, source, version, detector, fresh=new_rows, command=command)
        if own_rows:
            write_json(fresh / CALIBRATED_ON, hashes)
        graph = fit_graph_if_possible(task, source, fresh)
        reliability_png(fresh / RELIABILITY, [refit.answers for refit in refits])
    set_current(models, name, version)
    return Made(folder, refits, new_rows, graph)
