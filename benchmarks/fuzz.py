"""Damaged files of every format for ten minutes: `python -m benchmarks.fuzz [--minutes 10] [--start N] [--more DIR]`.

Prints trials, the share that was refused, and every crash, hang, wrong row number, message that cannot be used or file
written elsewhere, with the number that makes the same file again; exits with 1 if there is one.
"""

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

from orchestration.exports import confined
from tests.unit.exports import mutations

HANGS_SECONDS = 60
"""A damaged file of a few kilobytes that takes longer to read, on a machine however busy."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--start", type=int, default=0, help="number of the first trial")
    parser.add_argument("--trials", type=int, help="so many instead of so long")
    parser.add_argument("--more", type=Path, help="a folder with further files to damage, such as SAS data sets")
    options = parser.parse_args()
    seeds = mutations.seeds(options.more)
    if missing := mutations.READ - mutations.formats(seeds):
        print(f"no file to damage of: {', '.join(sorted(missing))}")
    trials: collections.Counter = collections.Counter()
    slowest: dict[str, float] = {}
    faults: list[str] = []
    refused = 0
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="sher2-fuzz-") as name, mutations.watched(Path(name)) as elsewhere:
        for number, seed, content in mutations.trials(seeds, options.start):
            if trials.total() == options.trials or time.monotonic() > until:
                break
            began = time.monotonic()
            is_judged = number % mutations.JUDGED_EVERY == 0
            outcome = mutations.attempt(content, f"lab/{seed.name}", Path(name), is_judged)
            seconds = time.monotonic() - began
            refused += outcome.is_refused
            fault = outcome.fault or (f"took {seconds:.0f} s" if seconds > HANGS_SECONDS and not is_judged else None)
            if fault:
                faults.append(f"trial {number}, {seed.name} ({seed.format}): {fault}")
                print(faults[-1], flush=True)
            slowest[seed.format] = max(slowest.get(seed.format, 0), seconds)
            trials[seed.format] += 1
        confined.close()
    for kind, count in sorted(trials.items()):
        print(f"  {kind:<24}{count:>8,} trials, the slowest {slowest[kind]:.2f} s")
    print(f"{trials.total():,} trials of {len(seeds)} files from number {options.start}, {refused:,} refused")
    print(f"crashes, hangs, wrong rows or messages {len(faults)}; files written elsewhere {len(elsewhere)}")
    for path in sorted(set(elsewhere))[:20]:
        print(path)
    sys.exit(1 if faults or elsewhere else 0)


if __name__ == "__main__":
    main()
