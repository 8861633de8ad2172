"""`python -m tests.load`: hold many streams while a part of them fails and a part is cancelled, on each
event loop; then the same from several processes with one user directory.

Prints a table for each. The exit code is 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from tests.load import processes, streams
from tests.load.streams import Load
from tests.support.loops import LOOPS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=Load.seconds)
    parser.add_argument("--streams", type=int, default=Load.streams, help="calls at once")
    parser.add_argument("--faults", type=float, default=Load.faults, help="part of the answers")
    parser.add_argument("--cancelled", type=float, default=Load.cancelled, help="part of the calls")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="only this one")
    parser.add_argument("--processes", type=int, default=8, help="0: none")
    given = parser.parse_args()
    load = Load(given.streams, given.seconds, given.faults, given.cancelled)
    complaints: list[str] = []
    for loop in given.loop or LOOPS:
        result = streams.run(load, loop)
        print(f"{loop}\n{result}\n", flush=True)
        complaints += result.complaints()
    if given.processes:
        each = max(1, given.streams // given.processes // 4)
        shared = processes.run(replace(load, streams=each, pause=0.05), given.processes)
        print(shared)
        complaints += shared.complaints()
    for complaint in complaints:
        print(f"WRONG: {complaint}", file=sys.stderr)
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
