"""``python -m healdag``: the command line."""

from .cli import app

app()
