"""The speed benchmarks: that they count right and compare like with like. How fast anything is decides nothing here."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from healdag.artifacts import read_manifest

ROOT = Path(__file__).parents[1]
LABELS = ("joy", "anger", "neutral")
TEXTS = ["so happy", "this text expresses anger !", "sad", "joy joy joy", "this is sad . very sad", "what ?", "anger"]


pytestmark = pytest.mark.usefixtures("scripts")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, make_lora: Any, make_tfidf: Any) -> Any:
    folder = make_lora(tmp_path_factory.mktemp("mood") / "1", tiny_base, LABELS)
    make_tfidf(folder / "backups" / "tfidf", dict(zip(("happy day", "rage", "table"), LABELS, strict=True)))
    return import_module("_ways").Subject(str(folder), folder, read_manifest(folder))


@pytest.fixture(scope="module")
def plain(subject: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return import_module("_ways").Plain.write(subject, tmp_path_factory.mktemp("plain"))


class TestTiming:
    def test_every_round_begins_with_another_way(self) -> None:
        order: list[str] = []
        ways = {name: (lambda name=name: order.append(name) or len(order)) for name in "abc"}
        found = import_module("_timing").in_turns(ways, 4)
        assert "".join(order) == "abcbcacababc"
        assert found["a"] == [1, 6, 8, 10]

    def test_ratios_are_taken_within_a_round(self) -> None:
        timing = import_module("_timing")
        assert timing.ratios([1.0, 20.0, 9.0], [1.0, 10.0, 3.0]) == {"median": 2.0, "least": 1.0, "most": 3.0}
        assert timing.milliseconds([0.001 * n for n in range(1, 101)]) == {"p50_ms": 51.0, "p99_ms": 100.0}

    def test_the_machine_is_described(self) -> None:
        found = import_module("_timing").machine()
        assert found["processor"]
        assert found["cores"] >= 1
        assert {"torch", "numpy", "langgraph"} <= set(found["packages"])


class TestCeiling:
    def test_operations_of_minilm(self) -> None:
        shape = import_module("_ceiling").Shape(layers=6, width=384, inner=1536)
        assert shape.operations(1) == 2 * 10_616_832 + 6 * 4 * 384
        assert shape.operations(100) == 100 * 2 * 10_616_832 + 6 * 4 * 384 * 100**2
        assert import_module("_ceiling").mean_operations(shape, [1, 1]) == shape.operations(1)

    def test_the_shape_is_the_models(self, plain: Any) -> None:
        ceiling = import_module("_ceiling")
        shape = ceiling.Shape.of(plain.model.config)
        assert shape == ceiling.Shape(layers=1, width=16, inner=32)
        assert 0 < ceiling.ceiling(shape, budget=0.0) < math.inf


class TestWays:
    def test_all_ways_run_the_same_model(self, subject: Any, plain: Any) -> None:
        ways = import_module("_ways")
        pipe = ways.pipeline_of(plain)
        expected = ways.by_torch_loop(plain, 2)(TEXTS)
        assert len(set(expected)) > 1
        alone = ways.graph_of(subject, "torch", "alone")
        for name, way in {
            "one by one": ways.by_pipeline(subject, pipe, 1),
            "batches": ways.by_pipeline(subject, pipe, 3),
            "sorted": ways.by_pipeline(subject, pipe, 3, by_length=True),
            "bare": ways.by_predictor(ways.model_of(subject, "torch")),
            "graph": ways.by_graph(subject, alone),
            "classify": ways.one_by_one(subject, alone),
            "invoke": ways.one_by_one(subject, alone, invoke=True),
        }.items():
            assert way(TEXTS) == expected, name

    def test_a_head_on_embeddings(self, subject: Any) -> None:
        texts, labels = ["happy", "anger", "text"] * 4, list(LABELS) * 4
        way = import_module("_ways").by_embedding(subject, texts, labels)
        assert way(["happy", "anger", "text"]) == [0, 1, 2]

    def test_an_engine_that_is_missing_is_named(self, subject: Any) -> None:
        graphs, refused = import_module("_ways").engines(subject, "onnxruntime is not installed")
        assert list(graphs) == ["torch"]
        assert refused == {"onnx": "onnxruntime is not installed"}

    def test_no_answer_is_no_label(self, subject: Any) -> None:
        assert [subject.column(label) for label in ("neutral", None)] == [2, -1]


class TestPeers:
    def test_every_way_answers_every_text_once(self) -> None:
        texts = [str(i) for i in range(11)]
        asked: dict[str, list[str]] = {"a": [], "b": []}

        def way(name: str) -> Any:
            return lambda part: asked[name].extend(part) or [int(text) for text in part]

        rates, said, beside = import_module("peers").race({n: way(n) for n in asked}, texts, 3, lambda: 1.0)
        for name in asked:
            assert sorted(asked[name], key=int) == texts
            assert said[name].tolist() == list(range(11))
            assert len(rates[name]) == len(beside) == 3

    def test_no_text_comes_twice(self) -> None:
        varied = import_module("peers").varied(["a", "b"])
        found = [next(varied) for _ in range(50)]
        assert found[:3] == ["a", "b", "a 1"]
        assert len(set(found)) == 50

    def test_texts_of_a_length(self, plain: Any) -> None:
        for tokens in (8, 37):
            found = import_module("peers").of_length(TEXTS, tokens, 3, plain.tokenizer)
            assert [len(plain.tokenizer(text)["input_ids"]) for text in found] == [tokens] * 3
            assert len(set(found)) > 1

    def test_from_measuring_to_the_readmes_table(
        self, subject: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        peers, tables = import_module("peers"), import_module("tables")
        labels = [LABELS[i % 3] for i in range(len(TEXTS))]
        (tmp_path / "goemotions_8").mkdir()
        for split in ("train", "test"):
            with gzip.open(tmp_path / "goemotions_8" / f"{split}.jsonl.gz", "wt", encoding="utf-8") as stream:
                rows = zip(TEXTS, labels, strict=True)
                stream.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        monkeypatch.setattr(peers, "Subject", SimpleNamespace(of=lambda task: subject))
        monkeypatch.setattr(peers, "exports", lambda *_: "onnxruntime is not installed")
        monkeypatch.setattr(peers, "ceiling", lambda *_, **__: 1e9)
        monkeypatch.setattr(peers, "SINGLES", 3)
        monkeypatch.setattr(peers, "LENGTHS", (8, 100))
        monkeypatch.setattr(peers, "RESULT", tmp_path / "peers.json")
        command = ["peers.py", "--source", str(tmp_path), "--rounds", "2", "--most", "20"]
        monkeypatch.setattr(sys, "argv", command)
        peers.main()
        found = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
        assert json.loads(capsys.readouterr().out) == found
        ways = found["bulk"]["ways"]
        same = {ways[name]["macro_f1"] for name in ("hf 1", "hf 32 sorted", "torch loop", "bare torch", "alone torch")}
        assert len(same) == 1
        assert found["bulk"]["texts"] == len(TEXTS)
        assert "share_of_ceiling" in ways["hf 32"]
        assert "share_of_ceiling" not in ways["whole torch"]  # it runs other models too
        assert found["growth"]["stream"]["texts"] == 20
        assert set(found["growth"]["milliseconds_per_text"]) == {"1", "10"}
        assert found["length"]["tokens"]["100"]["texts"] == 32
        assert found["refused"] == {"onnx": "onnxruntime is not installed"}
        assert found["machine"]["processor"]
        monkeypatch.setattr(tables, "RESULTS", tmp_path)
        table = tables.peers().splitlines()
        assert table[0].startswith("| |")
        assert sum(line.startswith("| healdag, torch: ") for line in table) == 6
        assert len({line.count("|") for line in table if line.startswith("|")}) == 1
        assert "times as many texts as the" in table[-1]
        # A shorter run, or a part, is no result.
        (tmp_path / "peers.json").unlink()
        monkeypatch.setattr(sys, "argv", [*command, "--rows", "5", "--only", "length"])
        peers.main()
        assert not (tmp_path / "peers.json").exists()

    def test_too_few_rows(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["peers.py", "--source", ".", "--rows", "3"])
        with pytest.raises(SystemExit) as caught:
            import_module("peers").main()
        assert caught.value.code == 2
        assert "each round needs a text: --rows 3, --rounds 5" in capsys.readouterr().err


class TestServing:
    def test_the_readmes_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        serving, tables = import_module("serving"), import_module("tables")
        real = serving.create_classifier

        def made(*, batching: bool = True, **given: Any) -> Any:
            """Instead of the shipped model one that answers at once."""
            return real(batching=batching, **given) if given else serving.instant(batching=batching)

        monkeypatch.setattr(serving, "create_classifier", made)
        monkeypatch.setattr(serving, "SINGLES", 2)
        monkeypatch.setattr(serving, "CALLS", 40)
        found = {"single": serving.single(1), "callers": serving.callers(1)}
        found["bulk"] = {"100000_over_ten_times_10000": 1.0, "peak_mib": {"iter 1000": 1.0, "iter 100000": 1.0}}
        monkeypatch.setattr(tables, "load", lambda _: found)
        table = tables.serving().splitlines()
        assert [line.split("|")[1].strip() for line in table[2:8]] == [
            f"{count} {kind}" for kind in ("threads", "coroutines") for count in (1, 4, 32)
        ]
        assert "take 1.00 times as long" in table[-1]


class TestStartup:
    def test_a_process_is_measured(self) -> None:
        startup = import_module("startup")
        held = startup.run([sys.executable, "-c", "held = bytearray(300 * 2**20); sum(range(10**6))"])
        empty = startup.run([sys.executable, "-c", "pass"])
        assert held.mib > 300
        assert held.processor > empty.processor > 0
        assert set(startup.medians([held, empty])) == {"seconds", "processor_seconds", "mib"}

    def test_a_command_that_fails_says_why(self) -> None:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            import_module("startup").run([sys.executable, "-c", "raise SystemExit('no such engine')"])
        assert "no such engine" in caught.value.stderr

    def test_an_engine_that_is_not_there_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        startup, tables = import_module("startup"), import_module("tables")
        nothing = [sys.executable, "-c", "pass"]
        broken = [sys.executable, "-c", "raise SystemExit('error: onnxruntime is missing')"]
        names = {"python": nothing, "import": nothing, "first answer, torch": nothing, "first answer, onnx": broken}
        monkeypatch.setattr(startup, "commands", lambda: names)
        monkeypatch.setattr(startup, "imported", lambda engine: [engine])
        found = startup.measure(2)
        assert found["refused"] == {"first answer, onnx": "error: onnxruntime is missing"}
        assert found["imported"] == {"torch": ["torch"]}
        monkeypatch.setattr(tables, "load", lambda _: found)
        assert [line.split("|")[1].strip() for line in tables.startup().splitlines()[2:]] == list(found["ways"])

    def test_the_commands_are_those_of_the_command_line(self) -> None:
        from typer.testing import CliRunner

        from healdag.cli import app

        offered = CliRunner().invoke(app, ["classify", "--help"]).output
        for name, command in import_module("startup").commands().items():
            if name.startswith("first answer"):
                assert command[-2] in offered
                assert command[-1] in offered


def test_make_bench_says_what_it_needs(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for data in ("", f"DATA={tmp_path}"):
        command = ["make", "-C", str(ROOT), "bench", *([data] if data else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "make bench DATA=folder" in done.stderr
        assert "python" not in done.stdout
