"""What serving costs beside the models: many texts, one text, many callers at once.

    python benchmarks/serving.py [--only bulk|single|callers] [--rounds 5]

- bulk: predictors that answer at once; ``classify_many`` and ``classify_iter`` over 1,000, 10,000 and 100,000 texts,
  and ten runs of 10,000 beside one of 100,000, in processor time, all of it being in one thread; peak memory of each
  in a process of its own.
- single: the graph's own cost of one text, with sarcasm and backups and without, with batching and without; the time
  on the clock, and the processor's, which other work on the machine disturbs less.
- callers: the shipped emotion model, called by 1, 4 and 32 threads or coroutines, with batching and without; and by
  ``classify_many``, which is the most that batching can reach.

Every round takes the ways in another order; figures are medians over the rounds. ``--only`` writes no result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from _timing import in_turns, machine, milliseconds, processor_seconds, seconds
from decision_log import make_texts

from healdag import create_classifier
from healdag.graph import Classifier
from healdag.predictors.emoji import lexicon_labels
from healdag.predictors.fake import FakePredictor

RESULT = Path(__file__).parent / "results" / "serving.json"
SIZES = (1_000, 10_000, 100_000)
CALLERS = (1, 4, 32)
CALLS = 128  # of each way in a round
SINGLES = 100
LABELS = lexicon_labels()


class Instant(FakePredictor):
    """Answers at once and keeps nothing."""

    def predict_proba(self, texts: Sequence[str]) -> Any:
        """Fixed answers."""
        rows = super().predict_proba(texts)
        self.calls.clear()
        return rows


def instant(*, everything: bool = False, batching: bool = True) -> Classifier:
    """A classifier of instant predictors; ``everything``: a sarcasm detector, and a backup that every text needs."""
    if not everything:
        return create_classifier(primary=Instant(LABELS, default={"joy": 0.9}), enable_backup=False, batching=batching)
    return create_classifier(
        primary=Instant(LABELS, default={"joy": 0.4}),
        sarcasm=Instant(("sarcastic", "not_sarcastic"), default={"sarcastic": 0.1}),
        backups=[Instant(LABELS, default={"joy": 0.8}, name="backup")],
        batching=batching,
    )


def exhaust(classifier: Classifier, texts: list[str], size: int) -> int:
    return sum(1 for _ in classifier.classify_iter(islice(cycle(texts), size)))


def bulk(rounds: int) -> dict[str, Any]:
    classifier, texts = instant(), make_texts(SIZES[1])
    classifier.classify_many(texts)  # warm
    ways: dict[str, Callable[[], Any]] = {}
    for size in SIZES:
        given = (texts * (size // len(texts) + 1))[:size]
        ways[f"many {size}"] = lambda given=given: processor_seconds(lambda: classifier.classify_many(given))
        ways[f"iter {size}"] = lambda size=size: processor_seconds(lambda: exhaust(classifier, texts, size))
    ways["ten times many 10000"] = lambda: sum(
        processor_seconds(lambda: classifier.classify_many(texts)) for _ in range(10)
    )
    found = in_turns(ways, rounds)
    largest = f"many {SIZES[-1]}"
    ratios = [one / ten for one, ten in zip(found[largest], found["ten times many 10000"], strict=True)]
    return {
        "rounds": rounds,
        "microseconds_per_text": {
            f"{way} {size}": round(statistics.median(found[f"{way} {size}"]) / size * 1e6, 1)
            for way in ("many", "iter")
            for size in SIZES
        },
        "100000_over_ten_times_10000": round(statistics.median(ratios), 3),
        "peak_mib": {f"{way} {size}": peak(way, size) for way in ("many", "iter") for size in SIZES},
    }


def peak(way: str, size: int) -> float:
    """MiB that a process of its own held at most."""
    command = [sys.executable, __file__, "--peak", way, str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(way: str, size: int) -> None:
    classifier, texts = instant(), make_texts(SIZES[0])
    if way == "iter":
        exhaust(classifier, texts, size)
    else:
        classifier.classify_many(list(islice(cycle(texts), size)))
    # Not getrusage: after a fork and exec it still knows the parent's peak.
    status = Path("/proc/self/status")
    if not status.exists():
        print("nan")
        return
    (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    print(round(int(line.split()[1]) / 2**10, 1))


def single(rounds: int) -> dict[str, Any]:
    text = "I can't believe it, this made my whole week, thank you!"
    loop = asyncio.new_event_loop()
    ways: dict[str, Callable[[], list[tuple[float, float]]]] = {}
    for parts in ("alone", "with sarcasm and a backup"):
        for batching in (True, False):
            classifier = instant(everything=parts != "alone", batching=batching)
            name = f"{parts}, batching {'on' if batching else 'off'}"
            # A default argument keeps this turn's classifier.
            ways[f"classify {name}"] = lambda own=classifier: calls(lambda: own.classify(text))
            ways[f"aclassify {name}"] = lambda own=classifier: calls(
                lambda: loop.run_until_complete(own.aclassify(text))
            )
    in_turns(ways, 1)  # warm
    found = in_turns(ways, rounds)
    loop.close()
    result: dict[str, Any] = {}
    for name, turns in found.items():
        both = [pair for turn in turns for pair in turn]
        processor = statistics.median(used for _, used in both)
        result[name] = {**milliseconds([wall for wall, _ in both]), "p50_processor_ms": round(processor * 1e3, 3)}
    return result


def calls(function: Callable[[], Any]) -> list[tuple[float, float]]:
    """Seconds on the clock and of the processor, of each of many calls."""
    found = []
    for _ in range(SINGLES):
        used, start = time.process_time(), time.perf_counter()
        function()
        found.append((time.perf_counter() - start, time.process_time() - used))
    return found


def by_threads(classifier: Classifier, texts: list[str], callers: int) -> tuple[float, list[float]]:
    """Seconds in all, and of each call."""
    with ThreadPoolExecutor(callers) as pool:
        start = time.perf_counter()
        times = list(pool.map(lambda text: seconds(lambda: classifier.classify(text)), texts))
        return time.perf_counter() - start, times


def by_coroutines(classifier: Classifier, texts: list[str], callers: int) -> tuple[float, list[float]]:
    """The same."""
    times: list[float] = []
    waiting = iter(texts)

    async def caller() -> None:
        for text in waiting:
            start = time.perf_counter()
            await classifier.aclassify(text)
            times.append(time.perf_counter() - start)

    async def everyone() -> float:
        start = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return time.perf_counter() - start

    return asyncio.run(everyone()), times


def callers(rounds: int) -> dict[str, Any]:
    texts = make_texts(CALLS)
    classifiers = {"on": create_classifier(), "off": create_classifier(batching=False)}
    ways: dict[str, Callable[[], tuple[float, list[float]]]] = {}
    for batching, classifier in classifiers.items():
        classifier.classify_many(texts)  # warm
        for kind, function in (("threads", by_threads), ("coroutines", by_coroutines)):
            for count in CALLERS:
                ways[f"{count} {kind}, batching {batching}"] = (
                    lambda function=function, classifier=classifier, count=count: function(classifier, texts, count)
                )
    ways["classify_many"] = lambda: (seconds(lambda: classifiers["on"].classify_many(texts)), [])
    found = in_turns(ways, rounds)
    result: dict[str, Any] = {"rounds": rounds, "calls": CALLS}
    for name, turns in found.items():
        times = [one for _, each in turns for one in each]
        rate = statistics.median(len(texts) / whole for whole, _ in turns)
        result[name] = {"texts_per_second": round(rate, 1), **(milliseconds(times) if times else {})}
    for kind in ("threads", "coroutines"):
        first, last = (found[f"{count} {kind}, batching on"] for count in (CALLERS[0], CALLERS[-1]))
        ratios = [alone / together for (alone, _), (together, _) in zip(first, last, strict=True)]
        result[f"32_over_1_{kind}"] = round(statistics.median(ratios), 2)
    return result


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {"bulk": bulk, "single": single, "callers": callers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PARTS), help="One of the parts; nothing is written.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print_peak(options.peak[0], int(options.peak[1]))
        return
    result: dict[str, Any] = {
        "command": "python benchmarks/serving.py",
        "machine": machine(),
    }
    for name in [options.only] if options.only else PARTS:
        result[name] = PARTS[name](options.rounds)
    if options.only is None:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
