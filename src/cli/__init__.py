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
from .chat import chat
from .classify import classify
from .models import models
from .terminal import report, silence_stdout
from .train import train

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPT, EXIT_PIPE = 1, 2, 130, 141
EXIT_CODES = (
    "Exit codes: 0 all went well; 1 a failure while running, or some rows of a file could not be classified; "
    "2 a mistake in the command, a setting or a file's form; 130 stopped with Ctrl-C; 141 the reader of the output "
    "went away (as with '| head')."
)
# Typer has carried its own copy of click since 0.2x; this is the right class in either case.
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
        except (HealdagError, OSError) as error:
            report(str(error))
            raise typer.Exit(EXIT_FAILURE) from None

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Parses and runs; a mistake in the command line is one line too."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            sys.exit(super().main(*args, standalone_mode=False, **extra))
        except _CommandLineError as error:
            message = error.format_message()
            if message:  # empty where the help was shown because nothing was asked
                path = error.ctx.command_path if error.ctx is not None else "healdag"
                report(f"{message.rstrip('.')}; see '{path} --help'")
            sys.exit(EXIT_USAGE)


app = typer.Typer(
    cls=Group,
    name="healdag",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its panels show local variables: texts that may be private
    epilog=EXIT_CODES,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"healdag {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Classifies texts with a LangGraph state graph that heals its own mistakes."""


app.command(epilog=EXIT_CODES)(classify)
app.command()(chat)
app.command()(models)
app.command(epilog=EXIT_CODES)(train)

__all__ = ["app"]
