"""Names of an artefact's files, reading them with their hashes, and replacing a folder as a whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import ArtifactError

MANIFEST = "manifest.json"
POLICY = "policy.json"
CONFIDENCE = "confidence.json"
CERTIFICATE = "certificate.json"
PROFILE = "profile.json"
CURRENT = "current"
WEIGHTS = "model.safetensors"


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder to write into, which takes the place of ``folder`` when the block ends without an error.

    Whoever reads meanwhile finds the old one or the new one, or for a moment none; never a half-written one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    fresh.chmod(0o755)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        folder.rename(old / folder.name)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)


def verify_sha256(path: Path, expected: str) -> None:
    """Raises ArtifactError unless the file exists and has this SHA-256."""
    if not path.is_file():
        raise ArtifactError(f"{str(path)!r} is missing; restore the artefact folder or train it again")
    actual = sha256(path)
    if actual != expected:
        raise ArtifactError(
            f"{str(path)!r} is not the file that was trained: SHA-256 {actual}, expected {expected}; "
            "restore it or train again"
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Content of a JSON file of an artefact; ArtifactError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {str(path)!r}: {error}") from None


_Form = TypeVar("_Form", bound=BaseModel)


def read_form(path: Path, form: type[_Form], name: str, advice: str = "") -> _Form | None:
    """Content of a JSON file of an artefact in its form; None where there is no such file.

    Args:
        name: What it is called in the error.
        advice: What to do then.

    Raises:
        ArtifactError: the file is not valid.
    """
    if not path.is_file():
        return None
    try:
        return form.model_validate(read_json(path))
    except ValidationError as error:
        why = f"{str(error).splitlines()[0]}; {advice}" if advice else str(error)
        raise ArtifactError(f"{str(path)!r} is not a valid {name}: {why}") from None
