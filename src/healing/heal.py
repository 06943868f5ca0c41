"""Turns corrections into the next version of a model, which is put into use only where the gate lets it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import CURRENT, MANIFEST, current_version, promote, root_of
from ..errors import ArtifactError, UsageError
from ..graph import Classifier, create_classifier
from ..store.feedback import FeedbackStore
from ..training.tasks import Task
from ..trust.certify import check_environment
from .candidate import Recipe, admit, train_candidate
from .corrections import Correction
from .gate import Check, Limits, judge
from .prepare import Asked, Prepared, prepare, tried
from .reference import reference
from .report import HealReport, Outcome, read_report, screening_words, write_report
from .screen import Rules
from .state import State, healing, now, read_state, write_state

if TYPE_CHECKING:
    from ..training.finetuning.finetune import Plan

HELD_OUT = 0.25
log = logging.getLogger("healdag")


def heal(
    task: str,
    *,
    feedback: FeedbackStore | str | Path,
    models: str | Path | None = None,
    source: str | Path | None = None,
    golden: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    separator: str | None = None,
    new_golden: bool = False,
    at_least: int = 1,
    again: bool = False,
    held_out: float = HELD_OUT,
    rules: Rules | None = None,
    recipe: Recipe | None = None,
    limits: Limits | None = None,
    dry_run: bool = False,
    wait: float = 0.0,
    seed: int = 13,
    by: str | None = None,
    command: str = "",
    announce: Callable[[Task, Plan], None] | None = None,
) -> HealReport:
    """Learns from the corrections since the last heal; the result is used only where it makes nothing worse.

    They are screened, a share of them is held out, the others train the version in use further, together with original
    training rows; the candidate is calibrated, certified and compared with the version in use as a whole graph (see
    :mod:`healdag.healing.gate`). One that is refused stays beside it, with ``heal_report.json``, and its corrections
    count again in the next heal. One that passed when the heal was killed is put into use by the next one, before
    anything else. What the version in use has learned is written in its own report: after a rollback its
    corrections are there to be learned again, but not before there are new ones.

    Args:
        task: Its name.
        feedback: The store with the corrections, or its path or URL. It has to keep texts: ``feedback: {text: store}``.
        models: Folder of models; by default the one that decides which version is in use.
        source: Folder with the data sets that the model was trained on. Not needed where that was a file of yours.
        golden: Labelled texts to compare versions on. By default half of the validation rows that the certificate does
            not need; nothing is fitted on them from the first heal on. Never the test split.
        text_column: Of ``golden``; guessed by default.
        label_column: Of ``golden``; guessed by default.
        separator: Between the labels of one field of ``golden``.
        new_golden: Takes other golden rows than before; otherwise these are refused.
        at_least: New corrections below which nothing happens.
        again: Also where there is no correction that the last heal has not tried.
        held_out: Share of the corrections that the candidate is measured on, above 0, below 1.
        rules: Limits of the screening.
        recipe: How the candidate is trained.
        limits: What it has to keep.
        dry_run: Only says which corrections would be used; nothing is trained or written.
        wait: Seconds to wait for another heal of this task.
        seed: Of the samples and the training.
        by: Who promotes, for the history; the user who is logged in by default.
        command: The command line that was typed, for training_info.json.
        announce: Is told what will be trained before it starts.

    Returns:
        What was found and done.

    Raises:
        UsageError: no such task, its training data or the texts of the corrections are not at hand, the golden set has
            changed, or HEALDAG_CONFIG makes another graph.
        ConfigError: the feedback store cannot be opened.
        LockedError: another heal did not end in time.
        ArtifactError: the version in use is damaged.
        MissingExtraError: cleanlab (extra ``heal``) or what trains a model (extra ``train``) is not installed.
    """
    check_environment()
    if not 0 < held_out < 1:
        raise UsageError(
            f"held_out={held_out!r} is a share of the corrections: above 0 and below 1, such as {HELD_OUT}"
        )
    root = Path(models) if models is not None else root_of(task)
    place = root / task
    if Path(task).name != task or current_version(place) is None:
        raise UsageError(f"no task {task!r} in use in {str(root)!r} ({CURRENT} is missing); see 'healdag models'")
    data = {"data": golden, "text_column": text_column, "label_column": label_column, "separator": separator}
    asked = Asked(
        place=place,
        source=Path(source) if source is not None else None,
        golden={**data, "data": Path(golden) if golden is not None else None},
        new_golden=new_golden,
        at_least=at_least,
        again=again,
        held_out=held_out,
        rules=rules or Rules(),
        recipe=recipe or Recipe(),
        seed=seed,
    )
    store, ours = opened(feedback)
    try:
        if dry_run:
            left = interrupted(place, dry_run=True)
            notes = (f"{_left_words(left)}; a heal puts it into use first",) if left is not None else ()
            found = _report(prepare(asked, store), "dry_run")
            return found.model_copy(update={"notes": (*found.notes, *notes)})
        with healing(place, wait=wait):
            return _Run(asked, limits or Limits(), by, command, announce)(store)
    finally:
        if ours:
            store.close()


def opened(feedback: FeedbackStore | str | Path) -> tuple[FeedbackStore, bool]:
    """The store, and whether it was opened here and is to be closed.

    Raises:
        UsageError: there is no such file.
    """
    if isinstance(feedback, FeedbackStore):
        return feedback, False
    if "://" not in str(feedback) and not Path(feedback).expanduser().is_file():
        raise UsageError(
            f"no feedback store at {str(feedback)!r}; create_classifier(feedback=...) and 'feedback' in config.yaml "
            "make one"
        )
    return FeedbackStore.open(feedback), True


def without_memory(folder: Path) -> Classifier:
    """The graph around a version as its models make it: no correction is remembered, nobody is asked."""
    return create_classifier(str(folder.absolute()), human_review=False, engine="torch", feedback=":memory:")


def waiting(store: FeedbackStore, place: Path) -> int:
    """How many corrections of ``models/<task>`` no heal has tried yet.

    Raises:
        StoreError: the feedback store cannot be read.
    """
    return len(store.standing(place.name, after=tried(read_state(place), store)))


@dataclass(frozen=True)
class _Run:
    """A heal, while no other one of the task runs."""

    asked: Asked
    limits: Limits
    by: str | None
    command: str
    announce: Callable[[Task, Plan], None] | None

    def __call__(self, store: FeedbackStore) -> HealReport:
        start, models = time.monotonic(), self.asked.place.parent
        if (left := interrupted(self.asked.place)) is not None:
            return self._complete(left)
        ready = prepare(self.asked, store)
        if ready.outcome is not None or ready.task is None:
            if ready.outcome == "nothing_left":  # to be tried again with more of them, not every minute
                self._remember(ready)
            return _report(ready, ready.outcome or "nothing_left")
        found = ready.ground.found
        log.info("%s", screening_words(len(ready.ground.fresh), ready.screening.dropped))
        candidate = train_candidate(
            *(found, ready.task, self.asked.source, models, ready.rows, self.asked.recipe),
            command=self.command,
            announce=self.announce,
        )
        fresh = [one.example() for one in ready.parts.held_out]
        graphs = (without_memory(found.folder), without_memory(candidate))
        with reference(found, ready.task, self.asked.source, models) as folder:
            fair = without_memory(folder) if folder != found.folder else None
            checks = judge(*graphs, ready.golden_rows, fresh, self.limits, reference=fair)
        if fair is not None:
            ready.screening.notes.append(
                f"{found.folder.name} was fitted on golden rows; on them it is measured as fitted on the others"
            )
        failed = [check for check in checks if check.required and not check.passed]
        seconds = round(time.monotonic() - start, 1)
        outcome: Outcome = "refused" if failed else "promoted"
        report = _report(ready, outcome, candidate=candidate.name, checks=checks, seconds=seconds)
        write_report(candidate, report)
        if failed:
            admit(candidate, models)
            self._remember(ready)
            return report
        self._remember(ready, promoting=candidate.name)  # first: what is killed from here on is completed by the next
        report = self._promote(admit(candidate, models), report)
        self._remember(ready)
        return report

    def _complete(self, report: HealReport) -> HealReport:
        """Puts the version of an interrupted heal into use."""
        log.warning("%s", _left_words(report))
        try:
            report = self._promote(self.asked.place / str(report.candidate), report)
        except ArtifactError:  # damaged since: the next heal is to make another one
            _not_promoting(self.asked.place, tried=False)
            raise
        _not_promoting(self.asked.place)
        return report.model_copy(update={"notes": (*report.notes, _left_words(report))})

    def _promote(self, folder: Path, report: HealReport) -> HealReport:
        why = "; ".join(check.words for check in report.checks if check.name in ("golden", "fresh"))
        try:
            promote(self.asked.place.parent, report.task, folder.name, by=self.by, why=f"heal: {why}", timeout=60)
        except UsageError as error:  # another, newer version came into use meanwhile
            log.warning("%s", error)
            report = report.model_copy(update={"outcome": "refused", "notes": (*report.notes, str(error))})
            write_report(folder, report)
        return report

    def _remember(self, ready: Prepared, promoting: str = "") -> None:
        last = ready.ground.last
        tried = last.id if last is not None else ""
        write_state(self.asked.place, State(tried=tried, promoting=promoting, golden=ready.golden))


def interrupted(place: Path, *, dry_run: bool = False) -> HealReport | None:
    """The report of a heal that was killed when its version had passed the gate and was not in use yet.

    Where there is nothing to complete, the mark that such a heal left is taken away: its version is in use by now, or
    another one is. Where its version never came among the others, its corrections count as not tried.

    Args:
        place: ``models/<task>``.
        dry_run: Only looks.

    Raises:
        ArtifactError: what heals have left cannot be read.
    """
    state = read_state(place)
    if not state.promoting:
        return None
    folder, current = place / state.promoting, current_version(place)
    report = read_report(folder) if (folder / MANIFEST).is_file() else None
    if report is not None and current == report.incumbent:
        return report
    if not dry_run:
        _not_promoting(place, tried=report is not None)
    return None


def _not_promoting(place: Path, *, tried: bool = True) -> None:
    state = read_state(place)
    write_state(place, State(tried=state.tried if tried else "", golden=state.golden))


def _left_words(report: HealReport) -> str:
    return (
        f"{report.task} {report.candidate} passed the gate of the heal of {report.time}, which was interrupted before "
        "it was in use"
    )


def _report(
    ready: Prepared,
    outcome: Outcome,
    *,
    candidate: str | None = None,
    checks: Sequence[Check] = (),
    seconds: float = 0.0,
) -> HealReport:
    """What was found and done."""
    ground, screening, parts, before = ready.ground, ready.screening, ready.parts, ready.ground.before
    outcome = ready.outcome or outcome
    counts = {
        "given": len(ground.fresh),
        "kept": len(screening.kept),
        "learned": len(parts.learned),
        "held_out": len(parts.held_out),
        "earlier": ready.earlier,
        "replay": ready.replay,
    }
    words = [*ready.words]
    if ready.task is not None:
        words = [screening_words(counts["given"], screening.dropped), *words, *_used(counts, outcome)]
    words += [
        check.words + ("" if check.passed else ": NOT KEPT" if check.required else ": slower") for check in checks
    ]
    if candidate is not None:
        words.append(_verdict(ground.found.name, ground.found.folder.name, candidate, outcome))
    return HealReport(
        task=ground.found.name,
        outcome=outcome,
        incumbent=ground.found.folder.name,
        candidate=candidate,
        time=now(),
        seconds=seconds,
        words=tuple(words),
        checks=tuple(checks),
        counts=counts,
        dropped=tuple(screening.dropped),
        reviewers=tuple(screening.reviewers),
        notes=tuple(screening.notes),
        golden=ready.golden,
        events=tuple(event.id for event in ground.standing),
        learned=_keys(before.learned if before is not None else (), parts.learned),
        held_out=_keys(before.held_out if before is not None else (), parts.held_out),
        last_seq=ground.last.seq if ground.last is not None else 0,
    )


def _keys(before: Sequence[str], ones: Sequence[Correction]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*before, *(one.key for one in ones)]))


def _used(counts: dict[str, int], outcome: Outcome) -> list[str]:
    if not counts["replay"]:
        return []
    verb = "would be learned" if outcome == "dry_run" else "learned"
    earlier = f", {counts['earlier']:,} earlier ones again" if counts["earlier"] else ""
    return [
        f"{counts['learned']:,} corrections {verb}{earlier}, beside {counts['replay']:,} original training rows; "
        f"{counts['held_out']:,} held out to measure on"
    ]


def _verdict(task: str, incumbent: str, candidate: str, outcome: Outcome) -> str:
    if outcome == "promoted":
        return f"{task} {candidate} is in use; back to {incumbent}: healdag models rollback {task}"
    return (
        f"{task} {candidate} is not put into use; {incumbent} stays. What would change: healdag flips {task} "
        f"--from {incumbent} --to {candidate}; to promote it all the same: healdag models promote {task} {candidate}"
    )
