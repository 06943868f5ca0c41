"""The data card: README.md of a prepared data set, with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ..tasks import Task

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def data_card(task: Task, report: Mapping[str, Any]) -> str:
    """Markdown with sources, licences, counts, hashes and what was dropped.

    Args:
        report: What report.json holds.
    """
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(task, report), sort_keys=False, allow_unicode=True)}---",
        f"# {task.name}: prepared data\n\n{task.description}. Made with `healdag prepare`, seed {report['seed']}: "
        "texts cleaned as in serving (HTML, URLs, control characters, elongations, emoji as words), then freed of "
        "duplicates and near-duplicates (Jaccard index of character 5-grams of 0.9 or more) within and across "
        "splits; a held-out row wins over a training row.",
        f"## Licences\n\n{task.licence}" + ("\n\nResearch only." if task.research_only else ""),
        "## Sources\n\n" + _sources(task, report),
        "## Rows\n\n" + _counts({"label": report["kept"], "": {s: {"all": n} for s, n in report["rows"].items()}}),
        *_short(report),
        "## Edge cases\n\n" + _counts({"edge": report["edges"]}),
        "## Dropped\n\n" + _counts({"reason": report["dropped"]}),
        "## SHA-256\n\nOver texts and labels, in order.\n\n"
        + "\n".join(f"- {split}: `{digest}`" for split, digest in report["sha256"].items()),
        "## Fields\n\n"
        f"- `text`\n- `{'labels' if task.multi_label else 'label'}`\n- `edge`: the edge cases that the text is one of\n"
        "- `sarcastic`: where the source says so\n- `origin`: the set that the row comes from",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(task: Task, report: Mapping[str, Any]) -> dict[str, Any]:
    total = sum(report["rows"].values())
    size = next((name for limit, name in _SIZES if total < limit), "n>1M")
    return {
        "language": ["en"],
        "license": "other",
        "license_name": "see-licences",
        "pretty_name": f"healdag {task.name}",
        "task_categories": ["text-classification"],
        "task_ids": ["multi-label-classification" if task.multi_label else "multi-class-classification"],
        "size_categories": [size],
        "tags": ["healdag", task.name],
    }


def _sources(task: Task, report: Mapping[str, Any]) -> str:
    fill = task.balance.fill if task.balance is not None else ()
    licences = {r.set: r.licence for r in (*task.train, *task.validation, *task.test, *fill)}
    names = sorted({name for counts in report["origins"].values() for name in counts})
    rows = [
        f"| {name} | {licences.get(name) or 'see above'} | "
        + " | ".join(f"{report['origins'][split].get(name, 0):,}" for split in report["origins"])
        + " |"
        for name in names
    ]
    return _table(["set", "licence", *report["origins"]], rows)


def _counts(groups: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """One row for each name, one column for each split."""
    rows = []
    splits = list(next(iter(groups.values())))
    for by_split in groups.values():
        names = sorted({name for counts in by_split.values() for name, count in counts.items() if count})
        rows += [
            f"| {name or '(none)'} | " + " | ".join(f"{by_split[split].get(name, 0):,}" for split in splits) + " |"
            for name in names
        ]
    return _table([next(iter(groups)), *splits], rows) if rows else "None."


def _short(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- {split}: {label} has {count:,}"
        for split, labels in report["short"].items()
        for label, count in labels.items()
    ]
    if not lines:
        return []
    return ["## Fewer than asked for\n\nNo row is repeated to fill these up.\n\n" + "\n".join(lines)]


def _table(head: list[str], rows: list[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows])
