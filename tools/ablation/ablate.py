"""The paper's ablations in small, on one base: trains every variant with every seed, scores it on exact truth, prints the tables.

    python tools/ablation/ablate.py --workdir runs/gpu --out runs/gpu/results [--groups rank masks] [--seeds 0 1 2] [--scored 210] [FIELDS]

FIELDS are those of `v2v train`, such as --sets DIR.
The base and its latents are those of experiments/embedded_gpu.py in the same workdir, made if they aren't there. A finished
(variant, seed) is a JSON file and isn't done again; a killed one resumes. The metric is ours (share of pairs edited correctly), the
paper's a judge's 0 to 9; so it is orders that are compared. One of the paper's rows has no run here: channel concatenation is what "added"
computes (v2v/models/transformer.py).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.ablation.runs import BEST, DATA, GROUPS, scored
from v2v.evaluation import intervals
from v2v.evaluation.sweep import published_tables


def main(args) -> None:
    for group in args.groups:
        for name in GROUPS[group][2]:
            for seed in args.seeds:
                scored(args, name, seed)
    for group in args.groups:
        print("\n".join(table(group, args.out / "ablation", args.seeds)), flush=True)


def table(group: str, folder: Path, seeds: list[int]) -> list[str]:
    """Lines of a Markdown table: ours with 95 % intervals over pairs (each the mean of its seeds), the paper's, and whether orders agree."""
    source, column, names = GROUPS[group]
    told = (
        {r["method"]: r["values"][column] for r in published_tables.read_table(source)["rows"]}
        if source
        else DATA
    )
    metric = "masked" if group == "masks" else "sentence"
    found = {n: [folder / f"{n}-{s}.json" for s in seeds] for n in names}
    runs = {n: [json.loads(f.read_text()) for f in files if f.exists()] for n, files in found.items()}
    lines = [f"| {group} ({metric}) | success, % | against ours | by seed | paper |", "|---|---|---|---|---|"]
    scores = {n: np.mean([r[metric] for r in rs], 0) for n, rs in runs.items() if rs}
    first = scores.get(next(iter(names)) if group != "data" else f"data_{BEST}")
    for name, paper in names.items():
        ours = other = seen = "not measured yet"
        if name in scores:
            ours = show(intervals.mean(scores[name]))
            apart = first is not None and first is not scores[name]
            other = show(intervals.difference(scores[name], first)) if apart else ""
            seen = ", ".join(f"{100 * np.mean(r[metric]):.0f}" for r in runs[name])
        lines.append(f"| {paper if paper != BEST else 'all'} | {ours} | {other} | {seen} | {told[paper]} |")
    means = [s.mean() for s in scores.values()]
    if len(scores) == len(names) and len(set(means)) < len(means):
        lines.append("\nTwo means are equal, so there is no order to compare with the paper's.")
    elif len(scores) == len(names):
        ranks = sorted(names, key=lambda n: -scores[n].mean()), sorted(names, key=lambda n: -told[names[n]])
        lines.append(
            f"\nThe paper's order {'holds' if ranks[0] == ranks[1] else 'does not hold'} (by our means)."
        )
    return [*lines, ""]


def show(interval) -> str:
    mean, low, high = (100 * x for x in interval)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--groups", nargs="+", default=[*GROUPS], choices=[*GROUPS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scored", type=int, default=210, help="pairs, spread over the edit types")
    parser.add_argument(
        "--experiment", default="embedded_gpu", help="of experiments/, whose base is edited with"
    )
    parser.add_argument("--steps", type=int, default=4_000, help="of each edit stage")
    given, fields = parser.parse_known_args()
    given.fields = fields
    main(given)
