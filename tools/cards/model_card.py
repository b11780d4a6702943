"""Fill the figures of the model card from the JSON of `tools/checks/score_embedded.py`, so that no number is typed by hand.

    python tools/checks/score_embedded.py --pairs 256 --json ... | tail -n 1 > score.json
    python tools/cards/model_card.py score.json

Replaces everything between the two marker lines of v2v/assets/embedded/README.md, and prints nothing.
"""

import argparse
import json
import sys
from pathlib import Path

CARD = Path(__file__).parents[2] / "v2v" / "assets" / "embedded" / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main() -> None:
    """Parse the command line and rewrite the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("score", type=Path, metavar="SCORE.json", help="last line of score_embedded --json")
    parser.add_argument("--card", type=Path, default=CARD, help="the file to rewrite")
    args = parser.parse_args()
    try:
        figures = format_figures(json.loads(args.score.read_text(encoding="utf-8")))
        args.card.write_text(
            replace_figures(args.card.read_text(encoding="utf-8"), figures), encoding="utf-8"
        )
    except (OSError, ValueError, KeyError) as error:
        sys.exit(
            f"model_card: error: {args.score}: expected the last line of score_embedded --json and a card with the "
            f"lines {BEGIN} and {END}, got {type(error).__name__}: {error}"
        )


def replace_figures(card: str, figures: str) -> str:
    """Return the card with new text between its marker lines.

    Raises:
      ValueError: The card has not each marker line once.
    """
    head, old_figures = card.split(BEGIN)
    _, tail = old_figures.split(END)
    return f"{head}{BEGIN}\n{figures}\n{END}{tail}"


def format_figures(score: dict) -> str:
    """Return the Markdown of the figures: a table by edit, then what else was measured."""
    intervals = score["intervals"]

    def percent(key: str, name: str | None = None) -> str:
        value, interval = score[key], intervals[key]
        if name is not None:
            value, interval = value[name], interval[name]
        return f"{100 * value:.0f} % [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"

    lines = [
        f"{score['pairs']} pairs with exact truth, seeds never trained on; success and its 95 % interval.",
        "",
        "| edit | by the sentence alone | with a correct mask | PSNR inside, dB |",
        "|---|---|---|---|",
        f"| **all** | **{percent('success')}** | **{percent('success_masked')}** | {score['psnr_inside']:.1f} |",
    ]
    for name, detail in score["detail"].items():
        row = [
            name,
            percent("by_type", name),
            percent("by_type_masked", name),
            f"{detail['psnr_inside']:.1f}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", f"Stricter, a quarter of the root mean square error: {percent('success_rms')}."]
    if "success_reference" in score:
        lines[-1] += (
            f" With the optional reference picture in place of a mask: {percent('success_reference')}."
        )
    if "flicker_ratio" in score:
        low, high = intervals["flicker_ratio"]
        lines += [
            "",
            f"Flicker against the same model run frame by frame: {score['flicker_ratio']:.2f} [{low:.2f}, {high:.2f}].",
        ]
    for clip, psnr in score["real_psnr"].items():
        mean = sum(psnr.values()) / len(psnr)
        each = ", ".join(f"{name} {value:.1f}" for name, value in sorted(psnr.items(), key=lambda kv: -kv[1]))
        lines += [
            "",
            f"Photometric edits on a real clip ({clip}), PSNR against the exact transformation: mean {mean:.1f} dB ({each}).",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
