"""The version in use as it would be without the golden rows, where it was fitted before they were set aside.

Its calibration, ensemble and policy are then fitted on the rows that are left, as the candidate's are. Otherwise the
golden rows would be kinder to it than new texts are: the shipped emotion model with the same weights, fitted on the
other half, is right in 0.8 points less of the golden rows (22 broken, 8 fixed of 1,711), but in 0.2 points more of
goemotions_8's test rows (39 broken, 47 fixed of 4,635), and candidates were refused for that alone.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..artifacts import CERTIFICATE
from ..errors import UsageError
from ..training.evaluation.candidates import Artifact
from ..training.evaluation.labelled import trained_task
from ..training.pipeline import model_of
from ..training.recalibration import recalibrate
from ..training.tasks import Task
from ..trust.fit import fit_graph_if_possible

log = logging.getLogger("healdag")


def saw_golden(found: Artifact, task: Task) -> bool:
    """Whether a version was fitted on rows that are golden in this task."""
    trained = trained_task(found)
    return task.golden > 0 and (trained is None or trained.golden != task.golden)


@contextmanager
def reference(found: Artifact, task: Task, source: Path | None, models: Path) -> Iterator[Path]:
    """Folder of the version, for the block's time where it had to be fitted anew; its weights are the same.

    Args:
        found: The version in use.
        task: From :func:`.candidate.task_to_heal`.
        source: Folder with the task's data sets.
        models: Folder of models.
    """
    if not saw_golden(found, task):
        yield found.folder
        return
    detector = model_of(models, "sarcasm") if task.sarcasm else None
    unmeasured = task.model_copy(update={"test": type(task.test)()})
    with tempfile.TemporaryDirectory(prefix="healdag-") as scratch:
        folder = Path(scratch) / found.folder.name
        shutil.copytree(found.folder, folder, ignore=shutil.ignore_patterns(CERTIFICATE, ".*"))
        try:
            recalibrate(folder, unmeasured, source, found.folder.name, detector)
        except UsageError as error:
            log.warning("%s is compared as it is, though it was fitted on golden rows: %s", found.name, error)
            folder = found.folder
        else:
            fit_graph_if_possible(unmeasured, source, folder)
        yield folder
