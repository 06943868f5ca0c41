"""``healdag train-summarizer``: from pairs of text and summary to a summarizer, with which the graph shortens texts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..config import load_settings
from .options import ConfigOption
from .terminal import console, plain
from .train import ResumeOption, need_training_extra, stops_said, training_messages

DEFAULT_MAX_LENGTH = 512


def train_summarizer(
    ctx: typer.Context,
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="Pairs of text and summary: CSV, TSV or JSON lines.")
    ],
    base: Annotated[
        str, typer.Option("--base", metavar="DIR", help="Seq2seq model to adapt: a folder, or a Hub name (t5-small).")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to leave the summarizer in.")],
    profile: Annotated[
        str, typer.Option("--profile", help="How long to train: fast, balanced, quality or fullscale.")
    ] = "balanced",
    validation: Annotated[
        Path | None,
        typer.Option("--validation", metavar="FILE", help="Pairs to measure on. Default: a tenth of --data."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", metavar="FILE", help="More pairs to measure on, which choose nothing.")
    ] = None,
    document_column: Annotated[str, typer.Option("--document-column", help="Column with the text.")] = "document",
    summary_column: Annotated[str, typer.Option("--summary-column", help="Column with its summary.")] = "summary",
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length",
            min=32,
            max=8192,
            help=f"Tokens of a text read at once. Default: lora.max_length of --config, or {DEFAULT_MAX_LENGTH}.",
        ),
    ] = None,
    max_summary: Annotated[int, typer.Option("--max-summary", min=4, help="Most tokens of a summary.")] = 64,
    beams: Annotated[int, typer.Option("--beams", min=1, help="Beams of the search for a summary.")] = 1,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="Put before every text. Default: 'summarize: ' for T5, nothing for others."),
    ] = None,
    resume: ResumeOption = None,
    config: ConfigOption = None,
) -> None:
    """Train a LoRA adapter on a seq2seq model that shortens texts; ROUGE goes into metrics.csv.

    Served by create_classifier(condenser=DIR), or dag.condenser in config.yaml: texts beyond the classifier's window
    are shortened before it reads them. Off by default. Needs the extra 'train': pip install 'healdag[train]'.
    """
    settings = load_settings(config)
    need_training_extra("accelerate", "rouge-score")
    from ..artifacts import resolve_base
    from ..training.summarization.pairs import read_pairs, split_pairs
    from ..training.summarization.summarization import summarizer_settings
    from ..training.summarization.summarization import train_summarizer as run

    columns = {"document_column": document_column, "summary_column": summary_column}
    lora, training = summarizer_settings(profile, settings)
    if max_length is not None or "max_length" not in settings.lora.model_fields_set:
        lora = lora.model_copy(update={"max_length": max_length or DEFAULT_MAX_LENGTH})
    if (Path(base).expanduser() / "config.json").is_file():
        base = str(Path(base).expanduser().resolve())  # found again from any working directory
    with training_messages(), stops_said(out, "what was there is as it was. Make room"):
        pairs = read_pairs(data, **columns)
        if validation is None:
            train, held_out = split_pairs(pairs, seed=training.seed)
        else:
            train, held_out = pairs, read_pairs(validation, **columns)
        folder = run(
            resolve_base(base),
            train,
            held_out,
            lora,
            training,
            out,
            test=read_pairs(test, **columns) if test is not None else (),
            base_name=base,
            prefix=prefix,
            max_target_length=max_summary,
            beams=beams,
            command=shlex.join(ctx.obj),
            resume=resume,
        )
    _show(folder)


def _show(folder: Path) -> None:
    """The figures that were left."""
    from ..artifacts import read_json
    from ..training.summarization.rouge import ROUGE_TYPES

    table = Table(box=None, pad_edge=False)
    for name in ("split", "n", "ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, row in read_json(folder / "metrics.json").items():
        table.add_row(split, f"{row['n']:,}", *(f"{row[kind]:.3f}" for kind in ROUGE_TYPES))
    console().print(plain(str(folder)), soft_wrap=True)
    console().print(table)
