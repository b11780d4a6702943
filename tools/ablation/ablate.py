"""Repeat the paper's ablations in small, on one base: train every variant with every seed, score it on exact truth, print the tables.

    python tools/ablation/ablate.py --workdir runs/gpu --out runs/gpu/results [--groups rank masks] [--seeds 0 1 2] [--scored 210] [FIELDS]

FIELDS are those of `v2v train`, such as --sets DIR. Writes OUT/ablation/NAME-SEED.json and prints Markdown.

The base and its latents are those of experiments/embedded_gpu.py in the same workdir, and are made where they are missing. A finished
(variant, seed) is a JSON file and is not repeated; a killed one resumes. The metric here is the share of pairs edited correctly, the
paper's a judge's 0 to 9; so orders are compared. One of the paper's rows has no run here: "added" computes channel concatenation
(v2v/models/transformer.py).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.ablation.runs import BEST, DATA, GROUPS, run_variant
from v2v.evaluation import intervals
from v2v.evaluation.sweep import published_tables


def main(args: argparse.Namespace) -> None:
    """Run what is missing of the groups and print their tables."""
    for group in args.groups:
        for name in GROUPS[group][2]:
            for seed in args.seeds:
                run_variant(args, name, seed)
    for group in args.groups:
        print("\n".join(format_group(group, args.out / "ablation", args.seeds)), flush=True)


def format_group(group: str, folder: Path, seeds: list[int]) -> list[str]:
    """Return a Markdown table of a group: results with 95 % intervals over pairs, the paper's, and whether the orders agree.

    Args:
      group: One of GROUPS.
      folder: Folder of the results NAME-SEED.json.
      seeds: Seeds; a pair's score is the mean of its seeds.
    """
    source, column, names = GROUPS[group]
    paper_scores = (
        {r["method"]: r["values"][column] for r in published_tables.read_table(source)["rows"]}
        if source
        else DATA
    )
    metric = "masked" if group == "masks" else "sentence"
    paths = {n: [folder / f"{n}-{s}.json" for s in seeds] for n in names}
    runs = {n: [json.loads(f.read_text()) for f in files if f.exists()] for n, files in paths.items()}
    lines = [f"| {group} ({metric}) | success, % | against ours | by seed | paper |", "|---|---|---|---|---|"]
    scores = {n: np.mean([r[metric] for r in rs], 0) for n, rs in runs.items() if rs}
    best_scores = scores.get(next(iter(names)) if group != "data" else f"data_{BEST}")
    for name, paper in names.items():
        success = difference = by_seed = "not measured yet"
        if name in scores:
            success = format_interval(intervals.mean(scores[name]))
            differs = best_scores is not None and best_scores is not scores[name]
            difference = format_interval(intervals.difference(scores[name], best_scores)) if differs else ""
            by_seed = ", ".join(f"{100 * np.mean(r[metric]):.0f}" for r in runs[name])
        label = paper if paper != BEST else "all"
        lines.append(f"| {label} | {success} | {difference} | {by_seed} | {paper_scores[paper]} |")
    means = [s.mean() for s in scores.values()]
    if len(scores) == len(names) and len(set(means)) < len(means):
        lines.append("\nTwo means are equal, so there is no order to compare with the paper's.")
    elif len(scores) == len(names):
        order = sorted(names, key=lambda n: -scores[n].mean())
        paper_order = sorted(names, key=lambda n: -paper_scores[names[n]])
        lines.append(
            f"\nThe paper's order {'holds' if order == paper_order else 'does not hold'} (by our means)."
        )
    return [*lines, ""]


def format_interval(interval: tuple[float, float, float]) -> str:
    """Return mean and interval in percent."""
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
    options, fields = parser.parse_known_args()
    options.fields = fields
    main(options)
