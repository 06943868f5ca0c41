"""Says in words and numbers what the graph does with an answer, and what that rests on."""

from __future__ import annotations

from ..nodes import Rung, Trust
from .build import Nodes


def explain(nodes: Nodes, task: str) -> str:
    """One line per rule: when an answer is doubted, what each backup may do and did on held-out rows, the budget.

    Args:
        task: Task and version.
    """
    check = nodes.check
    lines = [f"{task}: an answer of the primary with a probability below {check.threshold:g} is doubted."]
    if nodes.sarcasm.detector is not None:
        lines.append(f"So is one to a text that is sarcastic with probability {check.sarcasm_threshold:g} or more.")
        if (screen := nodes.sarcasm.screen) is not None:
            lines.append(
                f"The detector is asked about texts that the primary's own pass leaves open: {screen.asked:.0%} of "
                f"{screen.texts:,} held-out ones, among them {1 - screen.missed:.0%} of those that it flags."
            )
    lines.append("So is one to a text that is mostly unreadable to the model, or that the primary failed on.")
    if nodes.first is not None:
        lines.insert(
            1,
            f"{nodes.first.predictor.name!r} is asked first; what it says with a probability of "
            f"{nodes.first.threshold:.2f} or more stands, and no other model reads the text.",
        )
    if not nodes.backup.ladder:
        lines.append("There are no backups: a doubted answer stands, with its reasons.")
    lines += [_of_rung(rung) for rung in nodes.backup.ladder]
    lines += [*_of_trust(nodes.trust), _of_memory(nodes), *nodes.notes]
    return "\n".join([*lines, nodes.engine] if nodes.engine else lines)


def _of_rung(rung: Rung) -> str:
    ways = {
        "always": "replaces every doubted answer, since its evidence includes the others'",
        "surer": "replaces a doubted answer where it is surer of its own",
        "never": "is off by itself: it replaces an answer only where the primary failed, and is heard by later backups",
    }
    line = f"Backup {rung.name!r} {ways[rung.rule]}"
    if rung.learned is None:
        circuit = f" {rung.circuit.in_words()}" if rung.circuit is not None else ""
        return f"{line}; it was never measured on held-out rows.{circuit}"
    fixed, broke, n = rung.learned.fixed, rung.learned.broke, rung.learned.n
    gain = 100 * (fixed - broke) / n
    return (
        f"{line}. On {n:,} held-out rows it would make {fixed} wrong answers right and {broke} right ones wrong: "
        f"{gain:+.2f} points of accuracy."
    )


def _of_memory(nodes: Nodes) -> str:
    recall = nodes.classify.recall
    lead = f"Texts that people have corrected: {len(nodes.memory.corrections):,}. Each is answered as they said"
    if recall is None:
        return f"{lead}; near twins are not: the model has no measure for them, or a promise or setting rules them out."
    return f"{lead}, and so are near twins, from a cosine similarity of {recall.least:g} on."


def _of_trust(trust: Trust) -> list[str]:
    if trust.model is None or not trust.model.features:
        lines = ["The confidence of an answer is its own calibrated probability."]
        if trust.model is not None:
            lines[0] += f" On {trust.model.n:,} held-out rows nothing else told right from wrong answers better."
    else:
        lines = [
            f"The confidence of an answer is fitted on the graph's answers to {trust.model.n:,} held-out rows, from "
            f"{len(trust.model.features)} things that the graph knows about it."
        ]
    if trust.least is None:
        lines.append("There is no error budget: every answer is given.")
    for label, threshold in (trust.least or {}).items():
        whose = f"An answer {label!r}" if label else "An answer"
        lines.append(f"{whose} is given from a confidence of {threshold:.3f} on; that keeps the certified budget.")
    return lines
