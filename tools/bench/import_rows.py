"""Measure what a worker of `v2v synth` takes to open the metadata of published sets and tables of people's own: memory and time by rows.

    python tools/bench/import_rows.py [--rows 10000 100000 1000000]

Metadata of so many rows is written in the layout of a set (no clips), and the recipe is built in a process of its own as in every worker; then rows at the
beginning, in the middle and at the end are read. Printed are bytes of the file, the most memory of that process beyond one with a single row, and
processor seconds.
"""

import argparse
import csv
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from data_synth.recipes import registry
from data_synth.recipes.sources import Sources

SENTENCE = (
    "Turn the small brown dog in the middle of the lawn into a red fox that looks into the camera, number {}"
)


def write_json(folder: Path, rows: int) -> Path:
    """Write a JSON list as Ditto-1M has it."""
    path = folder / "training_metadata" / "style.json"
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        file.write("[")
        for i in range(rows):
            item = {
                "source_path": f"source/{i}.mp4",
                "edited_path": f"style/{i}.mp4",
                "instruction": SENTENCE.format(i),
            }
            file.write(("," if i else "") + "\n" + json.dumps(item))
        file.write("\n]\n")
    return path


def write_csv(folder: Path, rows: int) -> Path:
    """Write a CSV file as OpenVE-3M has it."""
    path = folder / "local_change.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "original_video", "prompt"))
        writer.writerows((f"edited/{i}.mp4", f"original/{i}.mp4", SENTENCE.format(i)) for i in range(rows))
    return path


def write_table(folder: Path, rows: int) -> Path:
    """Write a table of people's own pairs."""
    path = folder / "my.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "target", "instruction"))
        writer.writerows((f"original/{i}.mp4", f"edited/{i}.mp4", SENTENCE.format(i)) for i in range(rows))
    return path


LAYOUTS: dict[str, Callable[[Path, int], Path]] = {
    "ditto": write_json,
    "openve": write_csv,
    "pairs": write_table,
}


def measure(name: str, path: str, end: Connection) -> None:
    """Build a recipe, read three of its rows, and send the most memory in bytes, processor seconds and the number of rows."""
    begin = time.process_time()
    recipe = registry.build_recipe(name, Sources(sets=((name, path),)))
    rows = recipe.rows or 0
    for row in (0, rows // 2, rows - 1):
        recipe(row, 5, 32, 32)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    end.send((memory, time.process_time() - begin, rows))


def main() -> None:
    """Parse the command line and print a line for each layout and number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in args.only:
        base = 0
        for rows in (1, *args.rows):
            with tempfile.TemporaryDirectory() as folder:
                path = LAYOUTS[name](Path(folder), rows)
                here, there = context.Pipe()
                process = context.Process(
                    target=measure, args=(name, str(path if name == "pairs" else folder), there)
                )
                process.start()
                memory, seconds, found = here.recv()
                process.join()
                size = path.stat().st_size
            base = base or memory
            if rows > 1:
                print(
                    f"{name}: {found:,} rows, {size / 1e6:.0f} MB: {(memory - base) / 2**20:.1f} MiB more than one row takes, "
                    f"{seconds:.1f} s of processor time ({1e6 * seconds / found:.1f} us a row)",
                    flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
