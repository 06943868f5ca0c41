"""The ``healdag`` command: ``classify``, ``chat``, ``models`` and ``train``.

torch and langgraph are imported inside the commands, so that ``healdag --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import HealdagError, UsageError
from .augment import augment
from .calibrate import calibrate
from .certify import certify
from .chat import chat
from .classify import classify
from .compare import compare
from .drift import drift
from .ensemble import ensemble
from .evaluate import evaluate
from .export import export
from .feedback import feedback
from .flips import flips
from .heal import heal
from .models import models
from .prepare import prepare
from .report import write_report
from .review import review
from .stats import stats
from .stress import stress
from .summarize import train_summarizer
from .terminal import report, silence_stdout
from .train import demo_train, train

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPT, EXIT_PIPE = 1, 2, 130, 141
EXIT_CODES = (
    "Exit codes: 0 all went well; 1 a failure while running, or some rows of a file could not be classified; "
    "2 a mistake in the command, a setting or a file's form; 130 stopped with Ctrl-C; 141 the reader of the output "
    "went away (as with '| head')."
)
# click's UsageError, whether typer uses click or, as newer ones do, a copy of its own.
_CommandLineError: Any = typer.BadParameter.__bases__[0]


class Group(TyperGroup):
    """Turns what a command raises into one line on stderr and an exit code; only bugs show a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps the command as typed in ``ctx.obj``, for the record of a training."""
        ctx.obj = ["healdag", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was asked for."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # here, where a closed pipe can still be handled, not at interpreter exit
        except BrokenPipeError:
            silence_stdout()
            raise typer.Exit(EXIT_PIPE) from None
        except KeyboardInterrupt:
            report("interrupted", prefix="")
            raise typer.Exit(EXIT_INTERRUPT) from None
        except UsageError as error:
            report(str(error))
            raise typer.Exit(EXIT_USAGE) from None
        except HealdagError as error:
            report(str(error))
            raise typer.Exit(EXIT_FAILURE) from None
        except OSError as error:  # a full disk, a file that vanished
            report(": ".join(str(part) for part in (error.strerror or error, error.filename) if part))
            raise typer.Exit(EXIT_FAILURE) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        """Parses and runs; a mistake in the command line is one line too."""
        standalone = extra.get("standalone_mode", True)
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
        except _CommandLineError as error:
            if not standalone:
                raise
            path = error.ctx.command_path if error.ctx is not None else "healdag"
            report(f"{error.format_message().rstrip('.')}; see '{path} --help'")
            code = EXIT_USAGE
        return sys.exit(code) if standalone else code


app = typer.Typer(
    cls=Group,
    name="healdag",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich would take 'healdag[train]' for mark-up and cut long options
    pretty_exceptions_enable=False,  # its panels show local variables: texts that may be private
    epilog=EXIT_CODES,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"healdag {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Classifies texts with a LangGraph state graph that heals its own mistakes."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(EXIT_USAGE)


app.command(epilog=EXIT_CODES)(classify)
app.command()(chat)
app.command(epilog=EXIT_CODES)(review)
app.add_typer(models)
app.add_typer(feedback)
app.command(epilog=EXIT_CODES)(prepare)
app.command(epilog=EXIT_CODES)(augment)
app.command(epilog=EXIT_CODES)(train)
app.command("demo-train")(demo_train)
app.command(epilog=EXIT_CODES)(evaluate)
app.command(epilog=EXIT_CODES)(calibrate)
app.command(epilog=EXIT_CODES)(certify)
app.command(epilog=EXIT_CODES)(heal)
app.command(epilog=EXIT_CODES)(flips)
app.command(epilog=EXIT_CODES)(export)
app.command("report", epilog=EXIT_CODES)(write_report)
app.command(epilog=EXIT_CODES)(compare)
app.command(epilog=EXIT_CODES)(ensemble)
app.command(epilog=EXIT_CODES)(stats)
app.command(epilog=EXIT_CODES)(drift)
app.command(epilog=EXIT_CODES)(stress)
app.command("train-summarizer", epilog=EXIT_CODES)(train_summarizer)

__all__ = ["app"]
