"""Asks the backups, in order, about the doubtful rows alone; each replaces an answer only by its rule."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..artifacts import BackupPolicy, Rule
from ..predictors import Answers, Predictor, Row, ask, check_rows, is_multi_label
from ..predictors.ensemble import Ensemble
from ..predictors.restricted import narrowed, whole
from .circuit import Circuit
from .decider import Decider
from .records import AnswerDict, BackupDict


@dataclass(frozen=True)
class Rung:
    """A backup and when its answer replaces the one that stands.

    Attributes:
        name: Its name in ``attempts``, different from every other's.
        predictor: Who is asked.
        rule: 'always' (its evidence includes the others'), 'surer' (its calibrated confidence is higher) or 'never'
            (it serves the rungs after it). Where nothing stands because the primary failed, any answer is taken.
        timeout: Seconds for a batch; None waits as long as it takes.
        skips_unreadable: Whether it reads no more than the primary, as backups of the same artefact do: what the
            primary cannot read is not asked of it, so that the answer stays at the base rates.
        learned: What it fixed and broke on held-out rows; None where it was not measured.
        circuit: Leaves it out while it keeps failing; None asks it every time.
    """

    name: str
    predictor: Predictor
    rule: Rule = "surer"
    timeout: float | None = None
    skips_unreadable: bool = False
    learned: BackupPolicy | None = None
    circuit: Circuit | None = None


@dataclass(frozen=True)
class Backup:
    """Writes backup.

    Attributes:
        ladder: The backups, in order.
        decider: What an answer is, and how sure.
        threshold: A row whose new answer reaches it is not passed on to later rungs.
    """

    ladder: tuple[Rung, ...]
    decider: Decider
    threshold: float

    def __call__(self, state: Any) -> dict[str, Any]:
        """A backup that is down, slow or wrong in form leaves what stands, with its error in the attempts."""
        flagged = [i for i, reasons in enumerate(state["reasons"]) if reasons]
        outcome: dict[int, BackupDict] = {i: {"probabilities": None, "by": None, "attempts": []} for i in flagged}
        stands = {i: self.standing_confidence(state, i) for i in flagged}
        # An ensemble weighs what its members said over all labels; what it says itself is restricted afterwards.
        first = state.get("whole") or [answer["probabilities"] for answer in state["primary"]]
        said: dict[str, dict[int, Row | None]] = {
            "model": {i: first[i] for i in flagged},
            "sarcasm": {i: None if state["sarcasm"][i] is None else [state["sarcasm"][i]] for i in flagged},
        }
        waiting = flagged
        for rung in self.ladder:
            asked = [i for i in waiting if not (rung.skips_unreadable and "unreadable" in state["reasons"][i])]
            asked = self._worth_asking(rung, asked, stands, said)
            if not asked:
                continue
            texts = [state["clean"][i] for i in asked]
            if rung.circuit is None:
                answers = _ask_rung(rung, asked, texts, said)
            else:
                answers = rung.circuit.ask(len(texts), partial(_ask_rung, rung, asked, texts, said))
            said[rung.name] = dict(zip(asked, answers.rows, strict=True))
            own = narrowed(rung.predictor, answers)
            for i, row, error in zip(asked, own.rows, own.errors, strict=True):
                outcome[i]["attempts"].append(_attempt(rung.name, row, answers.ms, error))
                if row is not None and self.replaces(rung.rule, row, stands[i]):
                    stands[i] = self.decider.sureness(row)
                    outcome[i]["probabilities"], outcome[i]["by"] = row, rung.name
            waiting = [i for i in waiting if not self._settled(outcome[i])]
        return {"backup": [outcome.get(i) for i in range(len(state["clean"]))]}

    def _worth_asking(
        self,
        rung: Rung,
        rows: list[int],
        stands: dict[int, float | None],
        said: dict[str, dict[int, Row | None]],
    ) -> list[int]:
        """Without rows for which a backup that replaces nothing itself says nothing that a later one would use."""
        listeners = [
            model
            for later in self.ladder[self.ladder.index(rung) + 1 :]
            if isinstance(model := whole(later.predictor), Ensemble) and rung.name in model.needs
        ]
        if rung.rule != "never" or not listeners:
            return rows
        sarcasm = [said["sarcasm"].get(i) for i in rows]
        heard = [any(each) for each in zip(*(model.matters(rung.name, sarcasm) for model in listeners), strict=True)]
        return [i for i, is_heard in zip(rows, heard, strict=True) if is_heard or stands[i] is None]

    def _settled(self, outcome: BackupDict) -> bool:
        row = outcome["probabilities"]
        return row is not None and self.decider.sureness(row) >= self.threshold

    def standing_confidence(self, state: Any, i: int) -> float | None:
        """How likely the primary is right. Where irony is suspected, only if the text is not ironic after all."""
        row = state["primary"][i]["probabilities"]
        if row is None:
            return None
        ironic = state["sarcasm"][i] if "sarcasm" in state["reasons"][i] else 0.0
        return (1 - float(ironic)) * self.decider.sureness(row)

    def replaces(self, rule: Rule, row: Row, standing: float | None) -> bool:
        """Whether a backup's answer takes the place of one that stands with this confidence."""
        if standing is None or rule == "always":
            return True
        return rule == "surer" and self.decider.sureness(row) > standing


def _attempt(by: str, row: Row | None, ms: float, error: str | None) -> AnswerDict:
    return {"by": by, "probabilities": row, "ms": ms, "error": error}


def _ask_rung(rung: Rung, rows: Sequence[int], texts: Sequence[str], said: dict[str, dict[int, Row | None]]) -> Answers:
    """An ensemble is given what its members have said already; every other backup reads the texts. All labels."""
    predictor = whole(rung.predictor)
    if isinstance(predictor, Ensemble):
        start = time.perf_counter()
        given = {
            name: [said[name].get(i) for i in rows] if name in said else ask(predictor.members[name], texts).rows
            for name in predictor.needs
        }
        try:
            values = predictor.combine(given)
        except Exception as error:
            return Answers.failed(len(rows), f"{type(error).__name__}: {error}")
        ms = (time.perf_counter() - start) * 1000 / len(rows)
        return check_rows(values, len(rows), len(predictor.labels), ms, multi_label=is_multi_label(predictor))
    return ask(predictor, texts) if rung.timeout is None else _ask_within(predictor, texts, rung.timeout)


def _ask_within(predictor: Predictor, texts: Sequence[str], seconds: float) -> Answers:
    """Asks in a daemon thread and stops waiting after ``seconds``; a hung backup cannot hold the graph or the exit."""
    answered: list[Answers] = []
    thread = threading.Thread(target=lambda: answered.append(ask(predictor, texts)), daemon=True)
    thread.start()
    thread.join(seconds)
    if answered:
        return answered[0]
    return Answers.failed(len(texts), f"TimeoutError: no answer within {seconds:g} s", seconds * 1000 / len(texts))
