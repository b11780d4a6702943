"""Fill the README's performance tables from the JSON files of `tools/on_accelerator.sh`, so that no number is typed by hand.

    python tools/cards/readme_figures.py --results runs/accelerator/results [--readme README.md]      rewrites what is between the markers
    python tools/cards/readme_figures.py --results runs/accelerator/results --show                    prints it instead

Reads speed.json, score-full.json, score-one_way.json and ablation/*.json. Absent figures appear as "not measured yet". Every table
names date, device and command. Runs marked tiny show that the tools run and are never filled in.
"""

import argparse
import json
import sys
from pathlib import Path

BEGIN, END = "<!-- accelerator figures -->", "<!-- end of accelerator figures -->"
MISSING = "not measured yet"
CASES = {
    "full": "sampling pass, source and target tokens", "cached": "sampling pass, conditions cached",
    "prefill": "keys and values of the conditions, once a clip", "encode": "VAE encode", "decode": "VAE decode",
    "train": "LoRA training step, one clip", "torch_eager": "diffusers, sampling pass, eager",
    "torch_compiled": "diffusers, sampling pass, compiled", "torch_encode": "diffusers, VAE encode",
    "torch_decode": "diffusers, VAE decode", "matmul": "matrix product 8192³, JAX", "torch_matmul": "matrix product 8192³, torch",
}  # fmt: skip
VARIANTS = {"full": "every token sees all (`full`)", "one_way": "conditions computed once (`one_way`)"}


def main(args: argparse.Namespace) -> None:
    """Rewrite the README, or print the tables."""
    text = format_tables(args.results)
    if args.show:
        print(text)
        return
    readme = args.readme.read_text(encoding="utf-8")
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        sys.exit(
            f"readme_figures: error: {args.readme}: expected the lines {BEGIN} and {END} once each, in this order; add them"
        )
    head, old_text = readme.split(BEGIN)
    args.readme.write_text(f"{head}{BEGIN}\n{text}\n{END}{old_text.split(END)[1]}", encoding="utf-8")


def format_tables(results: Path) -> str:
    """Return the Markdown between the markers."""
    from tools.ablation.ablate import format_group
    from tools.ablation.runs import GROUPS

    seeds = sorted({int(f.stem.rsplit("-", 1)[1]) for f in (results / "ablation").glob("*-*.json")})
    lines = [line for group in GROUPS for line in format_group(group, results / "ablation", seeds)]
    origin = next(
        (format_origin(json.loads(f.read_text())) for f in sorted((results / "ablation").glob("*.json"))),
        None,
    )
    ablations = [*lines, origin] if origin else [f"The paper's ablations in small: {MISSING}."]
    speed = format_speed(read_json(results / "speed.json"))
    return "\n".join([*speed, "", *format_scores(results), "", *ablations]).rstrip()


def format_speed(report: dict | None) -> list[str]:
    """Return the lines of the table of speed.json."""
    from tools.bench.accelerator import add_matmul_share

    head = [
        "| Wan2.2-TI2V-5B, 81 frames, random weights | size | ms | TFLOP/s | of matmul | peak GB |",
        "|---|---|---|---|---|---|",
    ]
    if report is None or report["tiny"]:
        return [*head, f"| {MISSING} | | | | | |"]
    lines = []
    for row in sorted(add_matmul_share(report["rows"]), key=lambda r: (r["size"], [*CASES].index(r["case"]))):
        cells = [f"failed: {row['error'][:60]}" if "error" in row else f"{1000 * row['seconds']:,.0f}"]
        cells += [
            format_number(row.get("tflops")),
            f"{row['of_matmul']:.0%}" if "of_matmul" in row else "",
            format_number(row.get("peak_gb")),
        ]
        lines.append(f"| {CASES[row['case']]} | {row['size']} | {' | '.join(cells)} |")
    seconds = {(r["case"], r["size"]): r["seconds"] for r in report["rows"] if "seconds" in r}
    for size in dict.fromkeys(size for _, size in seconds):
        lines += format_derived_rows(seconds, size)
    return [*head, *lines, "", format_origin(report)]


def format_derived_rows(seconds: dict[tuple[str, str], float], size: str) -> list[str]:
    """Return the rows that follow from others: speed against diffusers compiled, and the time of an edit.

    Args:
      seconds: Seconds by case and size.
      size: Size of the rows.
    """
    full, cached, compiled = (seconds.get((name, size)) for name in ("full", "cached", "torch_compiled"))
    encode, decode = (seconds.get((name, size)) for name in ("encode", "decode"))
    lines = []
    if full and compiled:
        lines.append(f"| speed against diffusers compiled | {size} | ×{compiled / full:.2f} | | | |")
    for name, step, prefill in (("all tokens", full, 0), ("cached", cached, seconds.get(("prefill", size)))):
        if step and prefill is not None and encode and decode:
            total = 100 * step + 2 * prefill + 2 * encode + decode  # source and mask are encoded
            lines.append(
                f"| an edit, 50 steps with guidance, {name} (a sum) | {size} | {1000 * total:,.0f} | | | |"
            )
    return lines


def format_scores(results: Path) -> list[str]:
    """Return the lines of the table of score-NAME.json."""
    lines = [
        "| packaged model at 17×128×128, 95 % intervals | by the sentence | with a mask | worst type |",
        "|---|---|---|---|",
    ]
    origins = []
    for name, label in VARIANTS.items():
        score = read_json(results / f"score-{name}.json")
        if score is None:
            lines.append(f"| {label} | {MISSING} | | |")
            continue
        by_type, intervals = score["by_type"], score["intervals"]
        worst = min(by_type, key=by_type.get)
        cells = [
            f"{100 * score[k]:.0f} % [{100 * intervals[k][0]:.0f}, {100 * intervals[k][1]:.0f}]"
            for k in ("success", "success_masked")
        ]
        lines.append(f"| {label} | {cells[0]} | {cells[1]} | {worst}, {100 * by_type[worst]:.0f} % |")
        origins.append(format_origin(score))
    return [*lines, *([""] if origins else []), *origins]


def format_origin(report: dict) -> str:
    """Return date, device and command of a file of results."""
    return f"Measured {report['date']} on {report['device']}: `{report['command']}`"


def format_number(value: float | None) -> str:
    """Return three digits, or nothing for None."""
    return "" if value is None else f"{value:.3g}"


def read_json(path: Path) -> dict | None:
    """Read a file of results; None where there is none."""
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
