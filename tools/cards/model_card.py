"""Fills the figures of v2v/assets/embedded/README.md from score_embedded's JSON, so that no number is typed by hand.

    python tools/checks/score_embedded.py --pairs 256 --json ... | tail -n 1 > score.json
    python tools/cards/model_card.py score.json

Everything between the two marker lines of the card is replaced.
"""

import json
import sys
from pathlib import Path

CARD = Path(__file__).parents[2] / "v2v" / "assets" / "embedded" / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main(score: str) -> None:
    s = json.loads(Path(score).read_text())
    ends = s["intervals"]

    def percent(key: str, name: str | None = None) -> str:
        value, span = (s[key], ends[key]) if name is None else (s[key][name], ends[key][name])
        return f"{100 * value:.0f} % [{100 * span[0]:.0f}, {100 * span[1]:.0f}]"

    lines = [
        f"{s['pairs']} pairs with exact truth, seeds never trained on; success and its 95 % interval.",
        "",
        "| edit | by the sentence alone | with a correct mask | PSNR inside, dB |",
        "|---|---|---|---|",
        f"| **all** | **{percent('success')}** | **{percent('success_masked')}** | {s['psnr_inside']:.1f} |",
    ]
    for name, detail in s["detail"].items():
        row = [
            name,
            percent("by_type", name),
            percent("by_type_masked", name),
            f"{detail['psnr_inside']:.1f}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", f"Stricter, a quarter of the root mean square error: {percent('success_rms')}."]
    if "success_reference" in s:
        lines[-1] += (
            f" With the optional reference picture in place of a mask: {percent('success_reference')}."
        )
    if "flicker_ratio" in s:
        low, high = ends["flicker_ratio"]
        lines += [
            "",
            f"Flicker against the same model run frame by frame: {s['flicker_ratio']:.2f} [{low:.2f}, {high:.2f}].",
        ]
    for clip, scores in s["real_psnr"].items():
        mean = sum(scores.values()) / len(scores)
        each = ", ".join(
            f"{name} {value:.1f}" for name, value in sorted(scores.items(), key=lambda kv: -kv[1])
        )
        lines += [
            "",
            f"Photometric edits on a real clip ({clip}), PSNR against the exact transformation: mean {mean:.1f} dB ({each}).",
        ]
    head, rest = CARD.read_text().split(BEGIN)
    CARD.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/cards/model_card.py SCORE.json")
    main(sys.argv[1])
