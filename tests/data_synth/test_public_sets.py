"""The commands of the README for public sets, on tiny copies of their layouts: one set each, and all of them together."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.data_synth.test_published import film, picture
from v2v.cli import main

README = Path(__file__).parents[2] / "data_synth" / "README.md"
SECTION = README.read_text().partition("## Public sets")[2].partition("\n## ")[0]
COLORS = {1: "red", 2: "blue"}
COMMANDS = [shlex.split(line) for line in re.findall(r"^v2v synth .*$", SECTION, re.M)]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Copies of all layouts, two pairs each."""
    root = tmp_path_factory.mktemp("public")
    rows = {name: [] for name in ("ditto", "senorita", "insvie", "openve", "refvie", "gpt")}
    for i in (1, 2):
        shade = 20 * i
        for folder in (
            "ditto/videos/source", "senorita/obj_swap_videos", "insvie/videos", "openve/videos/original", "refvie/videos/source",
        ):  # fmt: skip
            film(
                root / folder / f"{i}_org.mp4" if "senorita" in folder else root / folder / f"{i}.mp4",
                shade,
                9,
            )
        for folder in (
            "ditto/videos/local", "senorita/obj_swap_videos", "insvie/edited", "openve/videos/edited", "refvie/videos/edited",
        ):  # fmt: skip
            film(root / folder / f"{i}.mp4", 200 - shade, 9)
        rows["ditto"].append(
            {
                "source_path": f"source/{i}.mp4",
                "edited_path": f"local/{i}.mp4",
                "instruction": f"make the road {COLORS[i]}",
            }
        )
        rows["senorita"].append(
            {"source_video_path": f"./obj_swap_videos/{i}_org.mp4", "target_video_path": f"./obj_swap_videos/{i}.mp4", "instruction": f"swap the road for a {COLORS[i]} one"}
        )  # fmt: skip
        rows["insvie"].append(f"{i}.mp4,a road,paint the road {COLORS[i]},a road,edited")
        rows["openve"].append(f"edited/{i}.mp4,original/{i}.mp4,add a {COLORS[i]} car")
        picture(root / "refvie" / f"ref{i}.png", shade)
        rows["refvie"].append(
            f"videos/source/{i}.mp4,videos/edited/{i}.mp4,ref{i}.png,paint it {COLORS[i]} like the picture"
        )
        for side, level in (("input", shade), ("output", 200 - shade)):
            picture(root / "gpt-image-edit/gpt-edit/hqedit/edit" / side / f"{i}.png", level)
        rows["gpt"].append(
            {"image": [f"input/{i}.png", f"output/{i}.png"], "conversations": [{"from": "human", "value": f"<image>\nmake the road {COLORS[i]}"}, {"from": "gpt", "value": "<image>"}]}
        )  # fmt: skip
    (root / "ditto/training_metadata").mkdir()
    (root / "ditto/training_metadata/local.json").write_text(json.dumps(rows["ditto"]))
    (root / "senorita/updated_data_obj_swap_videos.json").write_text(json.dumps(rows["senorita"]))
    (root / "insvie/train.csv").write_text(
        "video,caption,instruct,edit,folder\n" + "\n".join(rows["insvie"]) + "\n"
    )
    (root / "openve/local_add.csv").write_text(
        "video,original_video,prompt\n" + "\n".join(rows["openve"]) + "\n"
    )
    (root / "refvie/refvie.csv").write_text(
        "src_video,tgt_video,ref_image,prompt\n" + "\n".join(rows["refvie"]) + "\n"
    )
    annotation = root / "gpt-image-edit/hqedit.json"
    annotation.write_text(json.dumps(rows["gpt"]))
    base = root / "gpt-image-edit/gpt-edit/hqedit/edit"
    (root / "gpt-image-edit/data.txt").write_text(f"{base},{annotation},false\n")
    return root


def localize(words, root, out):
    """Return a command of the README for the tiny copies: their folders, sizes and numbers."""
    words = [word.replace("=public/", f"={root}/") for word in words]
    small = {"--out": str(out), "--frames": "5", "--height": "32", "--width": "48"}
    for name, value in small.items():
        words[words.index(name) + 1] = value
    pairs = sum("=" in word and "/" in word for word in words)
    words[words.index("--pairs") + 1] = str(2 * pairs)
    return words[1:]


def test_there_is_a_command_for_each_set_and_one_for_all():
    imports = [sorted(re.findall(r"--import ([\w-]+)=", " ".join(words))) for words in COMMANDS]
    names = ["ditto", "gpt-image-edit", "insvie", "openve", "refvie", "senorita"]
    assert sorted(names[0] for names in imports if len(names) == 1) == names and names in imports


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: Path(words[words.index("--out") + 1]).name)
def test_the_commands_of_the_readme_run(words, sets, tmp_path, capsys):
    command = localize(words, sets, tmp_path / "out")
    assert main.main([*command, "--json"]) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["pairs"] == int(command[command.index("--pairs") + 1]), np.asarray(list(report))
