"""healdag beside what people would use instead, on the same adapter and the same texts, in one run.

    python benchmarks/peers.py --source DATA [--rows N] [--rounds 5] [--most 100000] [--only PART]

DATA is a folder with goemotions_8/{train,test}.jsonl.gz (and, where the models are not exported to ONNX yet, the
validation rows that int8 is measured on). The peers: Hugging Face's pipeline over the merged model, a plain torch loop,
sentence embeddings with logistic regression, TF-IDF. Ours: each engine, as a whole graph and without sarcasm and
backups, by ``classify_many``, text by text, and the bare model.

- bulk: the texts are dealt out to the rounds; in each round every way answers the same texts, and every round begins
  with another way. So all of them answer all texts once: their macro-F1 is of the same answers as their speed.
- single: milliseconds of one text.
- growth: 1 to 10,000 texts in every round, then a stream of ``--most`` beside runs of a tenth of it, in turns.
- length: texts of 8 to 2,048 tokens. The pipeline cuts off what its model cannot read; we read everything.
- gpu: texts per second, and the share of its bf16 ceiling; where there is one.

Ratios are taken within a round, and their median is given. The ceiling is what matrix products of the encoder's shapes
reach on this machine in fp32; work on padding does not count. ``--only`` writes no result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from _ceiling import Shape, ceiling, mean_operations, square_ceiling
from _timing import in_turns, machine, milliseconds, over_rounds, ratios, rotated, say, seconds
from _ways import (
    Plain,
    Subject,
    Way,
    by_embedding,
    by_graph,
    by_pipeline,
    by_predictor,
    by_torch_loop,
    engines,
    exports,
    graph_of,
    model_of,
    one_by_one,
    pipeline_of,
)

from healdag import Classifier
from healdag.artifacts import read_policy
from healdag.predictors import Spec, load_predictor
from healdag.training.datasets import json_lines
from healdag.training.evaluation.metrics import accuracy, macro_f1

RESULT = Path(__file__).parent / "results" / "peers.json"
TASK, DATA = "emotion", "goemotions_8"
HEAD_ROWS = 4000
"""Training rows of the regression on sentence embeddings."""
SINGLES, WARM = 50, 64
SIZES = (1, 10, 100, 1_000, 10_000)
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
TOKENS = 4096
"""In all texts of a length, 32 texts at most."""
ONE_PASS = ("hf", "torch loop", "embedding", "bare", "alone")
"""Ways that run the encoder once for each text, by how their names begin."""
GPU_TEXTS = 8192


@dataclass(frozen=True)
class Given:
    """What is measured with.

    Attributes:
        graphs: Whole graphs by engine, the fastest first.
        refused: Why an engine is not there.
    """

    subject: Subject
    plain: Plain
    graphs: dict[str, Classifier]
    refused: dict[str, str]
    texts: list[str]
    truth: list[int]
    train: tuple[list[str], list[str]]
    rounds: int
    most: int

    @property
    def fastest(self) -> str:
        """The engine that ``classify_many`` is compared with."""
        return next(iter(self.graphs))

    @property
    def shape(self) -> Shape:
        """Of the encoder."""
        return Shape.of(self.plain.model.config)

    def lengths(self) -> list[int]:
        """Tokens of each text, special tokens included."""
        return [len(ids) for ids in self.plain.tokenizer(self.texts, truncation=True)["input_ids"]]


def peers_of(given: Given) -> dict[str, Way]:
    """What people would use instead."""
    subject, plain = given.subject, given.plain
    pipe = pipeline_of(plain)
    backup = subject.folder / "backups" / "tfidf"
    return {
        **{f"hf {size}": by_pipeline(subject, pipe, size) for size in (1, 8, 32)},
        "hf 32 sorted": by_pipeline(subject, pipe, 32, by_length=True),
        "torch loop": by_torch_loop(plain),
        "embedding": by_embedding(subject, *given.train),
        **(
            {"tfidf": by_predictor(load_predictor("tfidf", Spec(subject.manifest.labels, backup)))}
            if backup.is_dir()
            else {}
        ),
    }


def ours(given: Given) -> dict[str, Way]:
    """The library, by engine and by what is switched on."""
    subject, fastest = given.subject, given.fastest
    ways = {f"whole {engine}": by_graph(subject, graph) for engine, graph in given.graphs.items()}
    ways |= {f"alone {engine}": by_graph(subject, graph_of(subject, engine, "alone")) for engine in given.graphs}
    return {
        **ways,
        f"sarcasm {fastest}": by_graph(subject, graph_of(subject, fastest, "sarcasm")),
        **(
            {f"cheap {fastest}": by_graph(subject, graph_of(subject, fastest, "cheap"))}
            if read_policy(subject.folder).first is not None
            else {}
        ),
        f"bare {fastest}": by_predictor(model_of(subject, fastest)),
        f"classify {fastest}": one_by_one(subject, given.graphs[fastest]),
        f"invoke {fastest}": one_by_one(subject, given.graphs[fastest], invoke=True),
    }


def bulk(given: Given) -> dict[str, Any]:
    ways = {**peers_of(given), **ours(given)}
    for way in ways.values():
        way(given.texts[:WARM])
    rates, said, ceilings = race(ways, given.texts, given.rounds, lambda: ceiling(given.shape))
    operations = mean_operations(given.shape, given.lengths())
    truth, k = np.array(given.truth), len(given.subject.manifest.labels)
    found: dict[str, Any] = {}
    for name, each in rates.items():
        found[name] = {
            "texts_per_second": round(statistics.median(each), 1),
            "accuracy": round(accuracy(truth, said[name]), 4),
            "macro_f1": round(macro_f1(truth, said[name], k), 4),
        }
        if name.startswith(ONE_PASS):
            found[name]["share_of_ceiling"] = ratios([rate * operations for rate in each], ceilings)
    return {
        "texts": len(given.texts),
        "rounds": given.rounds,
        "mean_tokens": round(statistics.fmean(given.lengths()), 1),
        "million_operations_per_text": round(operations / 1e6, 1),
        "gflops_ceiling_fp32": over_rounds([one / 1e9 for one in ceilings]),
        "embedding_fitted_on": len(given.train[0]),
        "ways": found,
        "ratios": compared(rates, given.fastest),
    }


def race(
    ways: dict[str, Way], texts: list[str], rounds: int, beside: Callable[[], float]
) -> tuple[dict[str, list[float]], dict[str, Any], list[float]]:
    """Texts per second of each way in each round, its answers to all texts, and what was measured beside each round."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    said = {name: np.full(len(texts), -1) for name in ways}
    others = []
    for turn in range(rounds):
        part = texts[turn::rounds]
        others.append(beside())
        for name in rotated(list(ways), turn):
            start = time.perf_counter()
            answers = ways[name](part)
            rates[name].append(len(part) / (time.perf_counter() - start))
            said[name][turn::rounds] = answers
        say(f"bulk: round {turn + 1} of {rounds}")
    return rates, said, others


def compared(rates: dict[str, list[float]], fastest: str) -> dict[str, dict[str, float]]:
    """The ratios that matter, of the fastest engine."""
    whole, alone = f"whole {fastest}", f"alone {fastest}"
    pairs = [
        *((own, peer) for own in (whole, alone) for peer in ("hf 32", "hf 1", "hf 32 sorted", "torch loop")),
        (whole, f"bare {fastest}"),
        (alone, f"bare {fastest}"),
        (alone, f"sarcasm {fastest}"),
        (whole, f"invoke {fastest}"),
    ]
    cheap = f"cheap {fastest}"
    if cheap in rates:
        pairs += [(cheap, whole), (cheap, "hf 32")]
    return {f"{own} over {other}": ratios(rates[own], rates[other]) for own, other in pairs}


def single(given: Given) -> dict[str, Any]:
    texts = list(islice(cycle(given.texts), SINGLES))
    fastest = given.fastest
    ways = {
        "hf": by_pipeline(given.subject, pipeline_of(given.plain), 1),
        "torch loop": by_torch_loop(given.plain, 1),
        **{f"whole {engine}": one_by_one(given.subject, graph) for engine, graph in given.graphs.items()},
        f"alone {fastest}": one_by_one(given.subject, graph_of(given.subject, fastest, "alone")),
        f"bare {fastest}": by_predictor(model_of(given.subject, fastest)),
    }
    turns = {name: partial(_each, way, texts) for name, way in ways.items()}
    in_turns(turns, 1)  # warm
    found = in_turns(turns, given.rounds)
    medians = {name: [statistics.median(times) for times in each] for name, each in found.items()}
    return {
        "texts": len(texts),
        "rounds": given.rounds,
        "ways": {name: milliseconds([one for each in turn for one in each]) for name, turn in found.items()},
        "ratios": {
            f"hf over {name}": ratios(medians["hf"], medians[name]) for name in (f"whole {fastest}", f"alone {fastest}")
        },
    }


def _each(way: Way, texts: list[str]) -> list[float]:
    return [_seconds_of(way, [text]) for text in texts]


def growth(given: Given) -> dict[str, Any]:
    graph = given.graphs[given.fastest]
    sizes = [size for size in SIZES if size <= given.most]
    made = {size: list(islice(varied(given.texts), size)) for size in sizes}
    graph.classify_many(given.texts[:WARM])
    ways = {
        str(size): partial(lambda some: seconds(lambda: graph.classify_many(some)) / len(some), some)
        for size, some in made.items()
    }
    found = in_turns(ways, given.rounds)
    say("growth: the stream")
    return {
        "engine": given.fastest,
        "rounds": given.rounds,
        "milliseconds_per_text": {size: round(statistics.median(each) * 1e3, 3) for size, each in found.items()},
        "stream": streamed(graph, given.texts, given.most),
    }


def streamed(graph: Classifier, texts: list[str], size: int) -> dict[str, Any]:
    """One stream of ``size`` texts beside ten runs of a tenth, a tenth of each in turns; memory after each tenth."""
    tenth = max(1, size // 10)
    stream = graph.classify_iter(islice(varied(texts), 10 * tenth))
    own, runs, memory = [], [], []
    parts = varied(texts)
    for _ in range(10):
        own.append(seconds(lambda: list(islice(stream, tenth))))
        part = list(islice(parts, tenth))
        runs.append(seconds(lambda part=part: graph.classify_many(part)))
        memory.append(resident_mib())
    return {
        "texts": 10 * tenth,
        "texts_per_second": round(10 * tenth / sum(own), 1),
        "over_ten_runs": round(sum(own) / sum(runs), 3),
        "resident_mib_after_first_tenth": memory[0],
        "resident_mib_after_last_tenth": memory[-1],
    }


def varied(texts: Sequence[str]) -> Iterator[str]:
    """The texts over and over, from the second time on with a number behind them: no text comes twice."""
    yield from texts
    for again in cycle(range(1, 10**9)):
        yield from (f"{text} {again}" for text in texts)


def resident_mib() -> float | None:
    """Memory of this process; None where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 2**10, 1)


def length(given: Given) -> dict[str, Any]:
    alone = graph_of(given.subject, given.fastest, "alone")
    ways = {
        "hf 32": by_pipeline(given.subject, pipeline_of(given.plain), 32),
        f"whole {given.fastest}": by_graph(given.subject, given.graphs[given.fastest]),
        f"alone {given.fastest}": by_graph(given.subject, alone),
    }
    result: dict[str, Any] = {"reads_at_most": {"hf 32": int(given.plain.tokenizer.model_max_length)}, "tokens": {}}
    for tokens in LENGTHS:
        texts = of_length(given.texts, tokens, min(32, TOKENS // tokens), given.plain.tokenizer)
        found = in_turns({name: partial(_seconds_of, way, texts) for name, way in ways.items()}, given.rounds)
        result["tokens"][str(tokens)] = {
            "texts": len(texts),
            "milliseconds_per_text": {
                name: round(statistics.median(each) / len(texts) * 1e3, 3) for name, each in found.items()
            },
        }
        say(f"length: {tokens} tokens")
    return result


def _seconds_of(way: Way, texts: list[str]) -> float:
    return seconds(lambda: way(texts))


def of_length(texts: Sequence[str], tokens: int, count: int, tokenizer: Any) -> list[str]:
    """Texts of so many tokens, special tokens included, cut out of the given ones strung together."""
    words = cycle(word for text in texts for word in text.split())
    found = []
    while len(found) < count:
        long = " ".join(islice(words, 2 * tokens))
        ends = tokenizer(long, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        if len(ends) >= tokens - 2:
            found.append(long[: ends[tokens - 3][1]])
    return found


def gpu(given: Given) -> dict[str, Any] | None:
    """On CUDA: the torch engine, the pipeline, and bf16's ceiling, of the encoder's shapes and of square products."""
    import torch

    if not torch.cuda.is_available():
        return None
    subject, texts = given.subject, list(islice(varied(given.texts), GPU_TEXTS))
    pipe = pipeline_of(given.plain, "cuda")
    ways = {
        **{f"hf {size}": by_pipeline(subject, pipe, size) for size in (32, 256)},
        "whole torch": by_graph(subject, graph_of(subject, "torch", device="cuda")),
        "alone torch": by_graph(subject, graph_of(subject, "torch", "alone", device="cuda")),
        "bare torch": by_predictor(model_of(subject, "torch", "cuda")),
    }
    for way in ways.values():
        way(texts[:WARM])
    rates, _, ceilings = race(ways, texts, given.rounds, lambda: ceiling(given.shape, device="cuda", dtype="bfloat16"))
    operations = mean_operations(given.shape, given.lengths())
    return {
        "device": torch.cuda.get_device_name(),
        "texts": len(texts),
        "tflops_ceiling_bf16": over_rounds([one / 1e12 for one in ceilings]),
        "tflops_square_bf16": round(square_ceiling("cuda", "bfloat16") / 1e12, 1),
        "ways": {
            name: {
                "texts_per_second": round(statistics.median(each), 1),
                **(
                    {"share_of_ceiling": ratios([rate * operations for rate in each], ceilings)}
                    if name.startswith(ONE_PASS)
                    else {}
                ),
            }
            for name, each in rates.items()
        },
        "ratios": {"whole torch over hf 32": ratios(rates["whole torch"], rates["hf 32"])},
    }


PARTS: dict[str, Callable[[Given], Any]] = {
    "bulk": bulk,
    "single": single,
    "growth": growth,
    "length": length,
    "gpu": gpu,
}


def read(source: Path, split: str, rows: int | None = None) -> tuple[list[str], list[str]]:
    """Texts and labels; of fewer rows such as lie evenly in the file."""
    found = list(json_lines(source / DATA / f"{split}.jsonl.gz"))
    if rows is not None and rows < len(found):
        found = [found[i * len(found) // rows] for i in range(rows)]
    return [row["text"] for row in found], [row["label"] for row in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--rows", type=int, help="so many of the test rows; nothing is written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=100_000, help="texts of the stream")
    parser.add_argument("--only", choices=tuple(PARTS), help="one of the parts; nothing is written")
    options = parser.parse_args()
    if options.rounds < 1 or (options.rows is not None and options.rows < options.rounds):
        parser.error(f"each round needs a text: --rows {options.rows}, --rounds {options.rounds}")
    result = measure(options)
    if options.only is None and options.rows is None:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    subject = Subject.of(TASK)
    texts, labels = read(options.source, "test", options.rows)
    missing = exports(subject, options.source)
    graphs, refused = engines(subject, missing)
    with tempfile.TemporaryDirectory() as folder:
        given = Given(
            subject,
            Plain.write(subject, Path(folder)),
            graphs,
            refused,
            texts,
            [subject.column(label) for label in labels],
            read(options.source, "train", HEAD_ROWS),
            options.rounds,
            options.most,
        )
        say(f"engines: {', '.join(graphs)}; refused: {refused or 'none'}")
        return {
            "command": "python benchmarks/peers.py --source DATA",
            "machine": {**machine(), "torch_threads": torch.get_num_threads()},
            "model": f"{subject.manifest.task}/{subject.manifest.version}",
            "data": f"{DATA} test",
            "engines": {name: graph.nodes.engine for name, graph in graphs.items()},
            "refused": refused,
            **{name: PARTS[name](given) for name in ([options.only] if options.only else PARTS)},
        }


if __name__ == "__main__":
    main()
