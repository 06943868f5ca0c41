"""What watches a training: progress with the time that is left, and alarms."""

from __future__ import annotations

import logging
import math
from typing import Any

from transformers import TrainerCallback

from ...errors import HealdagError

log = logging.getLogger("healdag")


class DivergedError(HealdagError):
    """The loss is no number any more."""


class Progress(TrainerCallback):  # type: ignore[misc]
    """A progress bar on stderr; where that is no terminal, a log line every tenth of the way."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._said = 0
        self._loss: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Shows the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        if not console.is_terminal:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._bar = Bar(*columns, *times, console=console)
        self._task = self._bar.add_task("training", total=state.max_steps, completed=state.global_step)
        self._bar.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Notes the loss."""
        self._loss = (logs or {}).get("loss", self._loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Moves on."""
        if self._bar is not None:
            text = f"epoch {state.epoch:.1f}  loss {self._shown()}"
            self._bar.update(self._task, completed=state.global_step, description=text)
            return
        tenth = 10 * state.global_step // max(state.max_steps, 1)
        if tenth > self._said:
            self._said = tenth
            log.info(
                "step %d of %d, epoch %.2f, loss %s", state.global_step, state.max_steps, state.epoch, self._shown()
            )

    def _shown(self) -> str:
        return "not known yet" if self._loss is None else f"{self._loss:.4f}"

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Says how good the model is."""
        shown = {key.removeprefix("eval_"): round(value, 4) for key, value in (metrics or {}).items()}
        log.info("validation at epoch %.2f: %s", state.epoch or 0.0, shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


class Alarms(TrainerCallback):  # type: ignore[misc]
    """Says when a training goes wrong, and keeps what it said.

    Attributes:
        said: The warnings so far, each once.

    Args:
        falling: Whether the loss has to fall: not where a trained model goes on, with rows that it mostly knows.
    """

    def __init__(self, *, falling: bool = True) -> None:
        self.said: list[str] = []
        self._falling = falling

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Stops at a loss that is no number; warns where it has not fallen after a third of the way."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss} at step {state.global_step}: the training has diverged. Take a lower "
                f"training.learning_rate (now {args.learning_rate:g}) or a longer warm-up; "
                "precision fp32 rules out overflow"
            )
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        if self._falling and len(losses) >= 6 and state.global_step > state.max_steps / 3:
            first, last = sum(losses[:2]) / 2, sum(losses[-2:]) / 2
            if last > 0.98 * first:
                self._warn(
                    f"the loss does not fall: {first:.3f} at the start, {last:.3f} at step {state.global_step}. "
                    "Check the labels, or try another learning rate"
                )

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Warns where the validation loss has risen twice in a row while the training loss fell."""
        held_out = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        rises = len(held_out) >= 3 and held_out[-1] > held_out[-2] > held_out[-3]
        if rises and len(losses) >= 2 and losses[-1] < losses[0]:
            self._warn(
                f"validation and training diverge: the validation loss rose to {held_out[-1]:.3f} while the training "
                f"loss fell to {losses[-1]:.3f}. Fewer epochs, more dropout, or patience would help"
            )

    def _warn(self, text: str) -> None:
        kind = text.split(":")[0]
        if not any(said.startswith(kind) for said in self.said):
            self.said.append(text)
            log.warning("%s", text)
