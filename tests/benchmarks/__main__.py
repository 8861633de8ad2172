"""Run the benchmarks: `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from .figures import MEASUREMENTS
from .measure import FULL, GROUPS, QUICK, SLOW, Bench
from .processes import Server
from .report import as_json, as_markdown, machine
from .venvs import PEERS, Unavailable, Venvs, versions


def main() -> int:
    options = _options()
    venvs = Venvs(options.cache, options.checkout)
    if options.fresh:
        venvs.forget()
    scale = QUICK if options.quick else FULL
    if options.rounds:
        scale = replace(scale, rounds=options.rounds, fresh=options.rounds)
    pythons, unavailable = {}, {}
    peers = [name for name in PEERS if not (options.quick and name in SLOW)]
    for name in ("ours", "floor", *peers):
        try:
            pythons[name] = venvs.python(name)
        except Unavailable as error:
            unavailable[name] = str(error)
    if "ours" in unavailable:
        print(f"llm-g4f itself cannot be installed: {unavailable['ours']}", file=sys.stderr)
        return 2
    chosen = [
        measurement
        for measurement in MEASUREMENTS
        if not options.only or {measurement.key, measurement.group} & set(options.only)
    ]
    with (
        tempfile.TemporaryDirectory(dir=options.cache, prefix="run-") as folder,
        Server(Path(folder)) as server,
    ):
        bench = Bench(server.url, pythons, Path(folder), options.checkout, scale)
        for measurement in chosen:
            if any(target.peer in PEERS for target in measurement.targets):
                for name, reason in unavailable.items():
                    bench.figures.miss(measurement.key, name, reason)
        for group in dict.fromkeys(measurement.group for measurement in chosen):
            start = time.monotonic()
            GROUPS[group](bench)
            print(f"{group}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    system = machine()
    installed = {name: versions(python) for name, python in pythons.items()}
    installed["llm"] = installed["ours"]
    print(as_markdown(bench.figures, system, installed))
    if options.json:
        text = json.dumps(as_json(bench.figures, system, installed), indent=1)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    return 1 if bench.figures.missing else 0


def _options() -> argparse.Namespace:
    names = sorted({measurement.key for measurement in MEASUREMENTS} | set(GROUPS))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "llm-g4f-bench")
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=names, metavar="ROW", help=f"one of {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, help="number of rounds")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few minutes instead of half an hour; without litellm and any-llm",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument(
        "--checkout",
        type=Path,
        default=Path(__file__).parents[2],
        help="source tree of the llm-g4f to measure (default: this one)",
    )
    parser.add_argument("--cache", type=Path, default=cache, help="folder of the environments")
    parser.add_argument("--fresh", action="store_true", help="create the environments again")
    options = parser.parse_args()
    options.checkout = options.checkout.resolve()
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    sys.exit(main())
