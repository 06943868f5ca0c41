"""What a start costs: ``import healdag``, and the first answer of the installed command with each engine.

    python benchmarks/startup.py [--rounds 5]

Each run is a process of its own; every round takes the ways in another order, and figures are medians over the rounds:
seconds on the clock, seconds of the processor (user and system; other work on the machine disturbs them less), and the
process's largest memory. ``python -c pass`` is there for comparison. The first run of each way warms the file cache,
exports what is not exported yet, and is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _timing import in_turns, machine, say

RESULT = Path(__file__).parent / "results" / "startup.json"
TEXT = "I'm so happy today!"
ENGINES = ("torch", "onnx")
HEAVY = ("torch", "transformers", "peft", "onnxruntime", "openvino", "sklearn", "scipy", "langgraph")
LOOK = """
import sys
from healdag import create_classifier
create_classifier(engine=sys.argv[1]).classify(sys.argv[2])
print(*(name for name in sys.argv[3:] if name in sys.modules))
"""


@dataclass(frozen=True)
class Run:
    """One process.

    Attributes:
        seconds: On the clock.
        processor: Seconds of the processor, user and system.
        mib: Its largest resident memory.
    """

    seconds: float
    processor: float
    mib: float


def run(command: list[str]) -> Run:
    """Runs a command in a folder without anything of ours; CalledProcessError with its stderr where it fails."""
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=empty, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            failed = subprocess.CalledProcessError(process.returncode, command, stderr=said)
            failed.add_note(said)
            raise failed
    kib = used.ru_maxrss / (1 if sys.platform != "darwin" else 1024)
    return Run(seconds, used.ru_utime + used.ru_stime, kib / 1024)


def commands() -> dict[str, list[str]]:
    """What is run, by name."""
    script = Path(sys.executable).parent / "healdag"
    command = [str(script)] if script.is_file() else [sys.executable, "-m", "healdag"]
    return {
        "python": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import healdag"],
        **{f"first answer, {engine}": [*command, "classify", TEXT, "--engine", engine] for engine in ENGINES},
    }


def medians(runs: list[Run]) -> dict[str, float]:
    """Of each figure."""
    return {
        "seconds": round(statistics.median(one.seconds for one in runs), 3),
        "processor_seconds": round(statistics.median(one.processor for one in runs), 3),
        "mib": round(statistics.median(one.mib for one in runs), 1),
    }


def imported(engine: str) -> list[str]:
    """Heavy packages that an answer has imported."""
    command = [sys.executable, "-c", LOOK, engine, TEXT, *HEAVY]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def measure(rounds: int) -> dict[str, Any]:
    """Everything; an engine that is not there is left out, with the reason."""
    given, refused = commands(), {}
    for name, command in list(given.items()):
        try:
            run(command)
        except subprocess.CalledProcessError as error:
            refused[name] = error.stderr.strip().splitlines()[-1]
            del given[name]
        say(f"warm: {name}")
    found = in_turns({name: partial(run, command) for name, command in given.items()}, rounds)
    ways = {name: medians(runs) for name, runs in found.items()}
    return {
        "rounds": rounds,
        "ways": ways,
        "import_seconds": round(ways["import"]["seconds"] - ways["python"]["seconds"], 3),
        "imported": {engine: imported(engine) for engine in ENGINES if f"first answer, {engine}" in given},
        "refused": refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: there has to be one")
    result = {"command": "python benchmarks/startup.py", "machine": machine(), **measure(options.rounds)}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
