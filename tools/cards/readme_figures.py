"""Fills README's performance table from the JSON files of tools/on_accelerator.sh, so that no number is typed by hand.

    python tools/cards/readme_figures.py --results runs/accelerator/results [--readme README.md]      rewrites what is between the markers
    python tools/cards/readme_figures.py --results runs/accelerator/results --show                    only prints it

Files: speed.json, score-full.json, score-one_way.json, ablation/*.json. What is absent is said to be: "not measured yet". Every table
names date, device and command. Runs marked tiny show that the tools run and are never filled in.
"""

import argparse
import json
import sys
from pathlib import Path

BEGIN, END = "<!-- accelerator figures -->", "<!-- end of accelerator figures -->"
NOTHING = "not measured yet"
CASES = {
    "full": "sampling pass, source and target tokens", "cached": "sampling pass, conditions cached",
    "prefill": "keys and values of the conditions, once a clip", "encode": "VAE encode", "decode": "VAE decode",
    "train": "LoRA training step, one clip", "torch_eager": "diffusers, sampling pass, eager",
    "torch_compiled": "diffusers, sampling pass, compiled", "torch_encode": "diffusers, VAE encode",
    "torch_decode": "diffusers, VAE decode", "matmul": "matrix product 8192³, JAX", "torch_matmul": "matrix product 8192³, torch",
}  # fmt: skip
VARIANTS = {"full": "every token sees all (`full`)", "one_way": "conditions computed once (`one_way`)"}


def main(args) -> None:
    text = figures(args.results)
    if args.show:
        print(text)
        return
    readme = args.readme.read_text(encoding="utf-8")
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        sys.exit(
            f"readme_figures: error: {args.readme}: expected the lines {BEGIN} and {END} once each, in this order; add them"
        )
    before, rest = readme.split(BEGIN)
    args.readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def figures(results: Path) -> str:
    """The Markdown between the markers."""
    from tools.ablation.ablate import table
    from tools.ablation.runs import GROUPS

    seeds = sorted({int(f.stem.rsplit("-", 1)[1]) for f in (results / "ablation").glob("*-*.json")})
    measured = [line for group in GROUPS for line in table(group, results / "ablation", seeds)]
    origin = next(
        (source(json.loads(f.read_text())) for f in sorted((results / "ablation").glob("*.json"))), None
    )
    ablations = [*measured, origin] if origin else [f"The paper's ablations in small: {NOTHING}."]
    return "\n".join([*speed(read(results / "speed.json")), "", *scores(results), "", *ablations]).rstrip()


def speed(report: dict | None) -> list[str]:
    from tools.bench.accelerator import add_matmul_share

    head = [
        "| Wan2.2-TI2V-5B, 81 frames, random weights | size | ms | TFLOP/s | of matmul | peak GB |",
        "|---|---|---|---|---|---|",
    ]
    if report is None or report["tiny"]:
        return [*head, f"| {NOTHING} | | | | | |"]
    lines = []
    for row in sorted(add_matmul_share(report["rows"]), key=lambda r: (r["size"], [*CASES].index(r["case"]))):
        cells = [f"failed: {row['error'][:60]}" if "error" in row else f"{1000 * row['seconds']:,.0f}"]
        cells += [
            number(row.get("tflops")),
            f"{row['of_matmul']:.0%}" if "of_matmul" in row else "",
            number(row.get("peak_gb")),
        ]
        lines.append(f"| {CASES[row['case']]} | {row['size']} | {' | '.join(cells)} |")
    found = {(r["case"], r["size"]): r["seconds"] for r in report["rows"] if "seconds" in r}
    for size in dict.fromkeys(size for _, size in found):
        lines += compared(found, size)
    return [*head, *lines, "", source(report)]


def compared(found: dict, size: str) -> list[str]:
    """Rows that follow from others: against diffusers compiled, and the seconds of an edit."""
    full, cached, theirs = (found.get((name, size)) for name in ("full", "cached", "torch_compiled"))
    lines = []
    if full and theirs:
        lines.append(f"| speed against diffusers compiled | {size} | ×{theirs / full:.2f} | | | |")
    ends = [found.get((name, size)) for name in ("encode", "decode")]
    for name, one, once in (("all tokens", full, 0), ("cached", cached, found.get(("prefill", size)))):
        if one and once is not None and all(ends):
            whole = 100 * one + 2 * once + 2 * ends[0] + ends[1]  # source and mask are encoded
            lines.append(
                f"| an edit, 50 steps with guidance, {name} (a sum) | {size} | {1000 * whole:,.0f} | | | |"
            )
    return lines


def scores(results: Path) -> list[str]:
    lines = [
        "| packaged model at 17×128×128, 95 % intervals | by the sentence | with a mask | worst type |",
        "|---|---|---|---|",
    ]
    origins = []
    for name, label in VARIANTS.items():
        s = read(results / f"score-{name}.json")
        if s is None:
            lines.append(f"| {label} | {NOTHING} | | |")
            continue
        worst = min(s["by_type"], key=s["by_type"].get)
        cells = [
            f"{100 * s[k]:.0f} % [{100 * s['intervals'][k][0]:.0f}, {100 * s['intervals'][k][1]:.0f}]"
            for k in ("success", "success_masked")
        ]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} | {worst}, {100 * s['by_type'][worst]:.0f} % |")
        origins.append(source(s))
    return [*lines, *([""] if origins else []), *origins]


def source(report: dict) -> str:
    return f"Measured {report['date']} on {report['device']}: `{report['command']}`"


def number(value) -> str:
    return "" if value is None else f"{value:.3g}"


def read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--show", action="store_true")
    main(parser.parse_args())
