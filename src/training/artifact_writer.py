"""Writes what an artefact folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..artifacts import MANIFEST, Manifest, SummarizerManifest, make_current, sha256


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
