"""The package as others get it: light to import, typed, complete as a wheel, layered."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import util
from pathlib import Path

import pytest

import healdag

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "peft", "langgraph", "langchain_core", "sklearn", "numpy", "pydantic", "yaml")


def run(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light(tmp_path: Path) -> None:
    code = f"import sys, healdag; print([name for name in {HEAVY} if name in sys.modules])"
    assert run(code, tmp_path).strip() == "[]"


def test_the_graph_does_not_load_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from healdag import create_classifier; from healdag.predictors.fake import FakePredictor\n"
        "print(create_classifier(primary=FakePredictor(('a', 'b'), default='a')).classify('text').final_label)\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'sklearn') if name in sys.modules])"
    )
    assert run(code, tmp_path).split("\n")[:2] == ["a", "[]"]


def test_public_names() -> None:
    assert set(healdag.__all__) <= set(dir(healdag))
    for name in healdag.__all__:
        assert getattr(healdag, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        healdag.nonsense  # noqa: B018


def test_importing_src_from_the_root_works() -> None:
    code = "from src.graph import create_classifier; print(create_classifier.__module__)"
    assert run(code, ROOT).strip() == "src.graph.factory"


def test_typed() -> None:
    assert (ROOT / "src" / "py.typed").is_file()


def packages() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names: list[str] = project["tool"]["setuptools"]["packages"]
    return names


def test_every_package_is_listed() -> None:
    found = {path.parent.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("__init__.py")}
    names = {".".join(["healdag", *folder.parts]) for folder in found}
    assert names | {"healdag.models", "healdag.tasks"} == set(packages())


def expected_files() -> set[str]:
    """What the wheel must hold, its metadata aside: the tree's own files under their installed names."""
    source = {
        Path("healdag") / path.relative_to(ROOT / "src")
        for pattern in ("**/*.py", "py.typed", "data/*.json", "data/foreign/*", "data/stress/*")
        for path in (ROOT / "src").glob(pattern)
    }
    models = {Path("healdag") / path.relative_to(ROOT) for path in (ROOT / "models").rglob("*") if path.is_file()}
    tasks = {Path("healdag") / path.relative_to(ROOT) for path in (ROOT / "tasks").glob("*.toml")}
    return {path.as_posix() for path in source | models | tasks if "__pycache__" not in path.parts}


@pytest.mark.skipif(util.find_spec("build") is None, reason="pip install build")
@pytest.mark.skipif(util.find_spec("setuptools") is None, reason="pip install setuptools")
def test_the_wheel_holds_the_tree(tmp_path: Path) -> None:
    expected = expected_files()
    tree = tmp_path / "tree"
    tree.mkdir()
    # A copy: setuptools leaves a build folder where it works, and takes what it finds in an old one.
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tree)
    for name in ("src", "models", "tasks"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("healdag-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == expected
    assert any(name.endswith("/LICENSE") for name in metadata)
    assert any(name.endswith("/entry_points.txt") for name in metadata)
    assert wheel.stat().st_size < 60e6  # adapters, not base models


def test_layers_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    if not linter.is_file():
        pytest.skip("pip install import-linter")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_the_readmes_tables_are_those_of_the_results() -> None:
    check = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0, "run: python benchmarks/tables.py"
