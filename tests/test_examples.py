"""Every example runs from any folder and says what it is for; so does every Python block of the README."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import yaml

from healdag.config import Settings, load_settings
from healdag.graph import factory
from healdag.predictors import Predictor, Spec, load_predictor

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SAYS = {
    "agent_tool": [
        r'tool: \{"final_label": "\w+", "confidence": 0\.\d+, "source"',
        r"ai: classify_emotion\('The hotel",
    ],
    "batch": [r"36 texts", r"answered by: \{.*'emoji': [1-9]", r"doubted for: \{.*'unreadable': 2"],
    "custom_node": [r"finalize wrote results", r"triage wrote queues", r"(urgent|normal|to check): Stop calling me"],
    "custom_predictor": [r"anger \(0\.98\), by \w+: I was charged twice", r"house_rules: could not answer"],
    "llm_backup": [r"anger \(0\.97\), by \w+, because of ", r"llm: anger \(taken\)"],
    "parent_graph": [r"as a node: \{'number': 1, .*'final_label': '\w+'", r"as a subgraph: \{'number': 2, .*'source'"],
    "quickstart": [
        r"joy \(0\.\d\d\), by model: I'm so happy",
        r"by emoji, no doubts",
        r"correction: sadness, from memory",
    ],
    "review_queue": [
        r"model: Thank you so much, it works! -> \w+",
        r"pending: .* -> None",
        r"asked: .* \(\w+ 0\.\d\d, .*; .*low_confidence",
        r"answered by a human: sadness",
        r"next time: memory",
    ],
    "studio": [r"preprocess --> memory", r"finalize --> __end__"],
}


@pytest.fixture(scope="module", autouse=True)
def load_once() -> Iterator[None]:
    """Each of the shipped models is loaded once for all examples; they do not change."""
    loaded: dict[Any, Predictor] = {}

    def load(kind: str, spec: Spec) -> Predictor:
        if spec.folder is None:
            return load_predictor(kind, spec)
        key = (kind, spec.folder, spec.options.get("name"))
        if key not in loaded:
            loaded[key] = load_predictor(kind, spec)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "load_predictor", load)
        yield


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.usefixtures("classifier")
def test_example(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if path.stem not in SAYS:
        pytest.fail(f"add to SAYS what {path.name} prints")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    output = capsys.readouterr().out
    assert [pattern for pattern in SAYS[path.stem] if not re.search(pattern, output)] == [], output


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_says_what_it_is(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    docstring = re.match(r'"""(.+?)"""\n\n', source, re.DOTALL)
    assert docstring is not None
    assert len(docstring[1].splitlines()) <= 3


def blocks() -> list[Any]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [pytest.param(hit[1], id=f"line-{text[: hit.start()].count(chr(10)) + 2}") for hit in found]


@pytest.mark.parametrize("code", blocks())
@pytest.mark.usefixtures("classifier")
def test_readme(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_texts() -> None:
    texts = (EXAMPLES / "texts.txt").read_text(encoding="utf-8").splitlines()
    assert len(texts) == len(set(texts)) == 36
    assert all(text.strip() == text != "" for text in texts)
    assert max(len(text.split()) for text in texts) > 140


def test_config_shows_every_key_with_its_default(tmp_path: Path) -> None:
    path = EXAMPLES / "config.yaml"
    assert load_settings(path) == Settings()
    # Some are comments, because setting them would override the task's own.
    everything = re.sub(r"^  # (\w+: )", r"  \1", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "config.yaml").write_text(everything, encoding="utf-8")
    assert load_settings(tmp_path / "config.yaml") == Settings()
    for name, field in Settings.model_fields.items():
        assert list(yaml.safe_load(everything)[name]) == list(field.annotation.model_fields)  # type: ignore[union-attr]


def test_langgraph_json_leads_to_the_graph(classifier: Any) -> None:
    content = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
    assert content["dependencies"] == ["."]
    path, _, name = content["graphs"]["healdag"].partition(":")
    spec = util.spec_from_file_location("studio_of_the_server", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    graph = getattr(module, name)({"configurable": {}})  # the server calls it with a config, for every run
    assert graph is getattr(module, name)()
    assert graph.invoke({"text": "I'm so happy today!"})["final_label"] == "joy"
    # The server shows these as forms.
    assert graph.get_input_jsonschema()["properties"].keys() == {"text", "texts"}
    assert graph.get_output_jsonschema()["properties"].keys() >= {"final_label", "confidence", "source"}
