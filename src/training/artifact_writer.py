"""Writes artefact folders: beside the final place first, then renamed, so that nothing half-written is ever found."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..artifacts import MANIFEST, Manifest, SummarizerManifest, make_current, sha256


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder to write into, which takes the place of ``folder`` when the block ends without an error."""
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


def write_json(path: Path, content: Any) -> None:
    """Writes JSON as people read it: indented, UTF-8, a final newline."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_manifest(folder: Path, manifest: Manifest | SummarizerManifest, covered: list[str]) -> None:
    """Writes the manifest with the SHA-256 of each file in ``covered``."""
    files = {name: sha256(folder / name) for name in covered}
    full = manifest.model_copy(update={"files": files})
    (folder / MANIFEST).write_text(full.model_dump_json(indent=2) + "\n", encoding="utf-8")


def set_current(models: Path, task: str, version: str) -> bool:
    """Puts a version that was made just now into use, unless a newer one is: :func:`healdag.artifacts.make_current`.

    Returns:
        Whether it is in use.
    """
    return make_current(models, task, version)
