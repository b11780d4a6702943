"""The model card is filled from a file of scores, and the script explains itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cards import model_card

SCRIPT = Path(model_card.__file__)
SCORE = {
    "pairs": 8,
    "success": 0.5,
    "success_masked": 0.75,
    "success_rms": 0.25,
    "psnr_inside": 21.26,
    "by_type": {"sepia": 0.5},
    "by_type_masked": {"sepia": 1.0},
    "detail": {"sepia": {"psnr_inside": 20.0}},
    "intervals": {
        "success": [0.4, 0.6],
        "success_masked": [0.7, 0.8],
        "success_rms": [0.2, 0.3],
        "by_type": {"sepia": [0.1, 0.9]},
        "by_type_masked": {"sepia": [0.9, 1.0]},
    },
    "real_psnr": {"walk.mp4": {"sepia": 30.0, "night": 20.0}},
}


def run_script(*words):
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)


def test_help_shows_the_command():
    result = run_script("--help")
    assert result.returncode == 0 and "python tools/cards/model_card.py score.json" in result.stdout


def test_the_figures_replace_what_is_between_the_markers(tmp_path):
    card, score = tmp_path / "README.md", tmp_path / "score.json"
    card.write_text(f"head\n{model_card.BEGIN}\nold\n{model_card.END}\ntail\n")
    score.write_text(json.dumps(SCORE))
    result = run_script(score, "--card", card)
    assert result.returncode == 0, result.stderr
    text = card.read_text()
    assert text.startswith(f"head\n{model_card.BEGIN}\n8 pairs") and text.endswith(
        f"\n{model_card.END}\ntail\n"
    )
    assert "| sepia | 50 % [10, 90] | 100 % [90, 100] | 20.0 |" in text and "old" not in text
    assert "mean 25.0 dB (sepia 30.0, night 20.0)" in text


@pytest.mark.parametrize("content", ["{", "{}", None])
def test_a_bad_file_of_scores_is_named_and_changes_nothing(tmp_path, content):
    card, score = tmp_path / "README.md", tmp_path / "score.json"
    card.write_text(f"{model_card.BEGIN}\nold\n{model_card.END}\n")
    if content is not None:
        score.write_text(content)
    result = run_script(score, "--card", card)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1 and str(score) in result.stderr
    assert "old" in card.read_text()
