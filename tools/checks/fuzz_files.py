"""Files that `fuzz.py` mutates, small and written anew, and what is changed in them."""

import json
import random
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from v2v import config as configs
from v2v.checkpoints import adapters, lora_files, name_mapping, safetensors_file, wan
from v2v.video import video as codec

# Frames, height and width of clips.
SIZE = (8, 48, 64)
# Values at which readers of binary formats tend to stumble.
WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, float("nan"), float("inf"), 10**400, 1 << 63, "", " ", "\ud83d", "\0", "x" * 300, "../" * 50,
    "nan", "1e999", "(", [], {}, [[]], [None], {"": None}, {"\ud83d": 1}, [1, "2"], "é", "\ufeff",
)  # fmt: skip


# Mutations


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return data with one to four changes of the kinds that bad disks, cut downloads and bad writers make."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            break
        # Headers are more telling than what follows.
        near_start = rng.random() < 0.5
        at = rng.randrange(min(len(out), 400) if near_start else len(out))
        n = min(rng.choice((1, 2, 4, 8, 64, 1024)), len(out) - at)
        match rng.randrange(7):
            case 0:
                out[at : at + n] = rng.randbytes(n)
            case 1:
                del out[at : at + n]
            case 2:
                out[at:at] = out[at : at + n] * rng.choice((1, 3))
            case 3:
                out[at : at + n] = bytes(n)
            case 4:
                width = rng.choice((1, 2, 4))
                word = rng.choice(WORDS) % (1 << 8 * width)
                out[at : at + width] = word.to_bytes(width, rng.choice(("little", "big")))
            case 5:
                out[at] ^= 1 << rng.randrange(8)
            case 6:
                del out[at if rng.random() < 0.3 else len(out) - n :]
    return bytes(out)


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with a value, a key or an entry in it changed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(VALUES)
    out = dict(value) if isinstance(value, dict) else list(value)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    action = rng.random()
    if action < 0.15:
        del out[key]
    elif action < 0.25 and isinstance(out, dict):
        out[rng.choice(["", "\ud83d", "x" * 300, "extra"])] = out.pop(key)
    elif action < 0.3 and isinstance(out, list):
        out.append(out[key])
    else:
        out[key] = mutate_value(out[key], rng)
    return out


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    """Return a text file with values, lines, cells or its encoding changed; now and then with its bytes changed."""
    chance = rng.random()
    if chance < 0.2:
        return mutate_bytes(data, rng)
    text = data.decode()
    if chance < 0.3:
        return text.encode(
            rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp500")), "replace"
        )
    if chance < 0.33:
        return (rng.choice("[{") * 100_000).encode()
    if chance < 0.75:
        changed = _mutate_json(text, rng)
        if changed is not None:
            return changed
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 2:
            cells = lines[at].split(",")
            cells[rng.randrange(len(cells))] = rng.choice(
                ("", '"', "\0", "é", "x" * 200_000, "-1", "1e999", "\u2028", "\r")
            )
            lines[at] = ",".join(cells)
        case 3:
            lines = [line.replace(",", rng.choice(";\t|")) for line in lines]
    return "".join(lines).encode()


def _mutate_json(text: str, rng: random.Random) -> bytes | None:
    """Return JSON, or a line of JSON lines, with a value changed; None for a text that is neither."""
    try:
        return json.dumps(mutate_value(json.loads(text), rng)).encode()
    except ValueError:
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        try:
            lines[at] = json.dumps(mutate_value(json.loads(lines[at]), rng))
        except ValueError:
            return None
        return "\n".join(lines).encode()


def mutate_tensors(data: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with its header's values or its bytes changed."""
    if rng.random() < 0.4:
        return mutate_bytes(data, rng)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    nested = [key for key, value in metadata.items() if value.startswith("{")]
    if nested and rng.random() < 0.6:
        key = rng.choice(nested)
        metadata[key] = json.dumps(mutate_value(json.loads(metadata[key]), rng))
    elif rng.random() < 0.3:
        header["__metadata__"] = mutate_value(metadata, rng)
    else:
        name = rng.choice([name for name in header if name != "__metadata__"])
        header[name] = mutate_value(header[name], rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


# Files


def example_frames() -> np.ndarray:
    """Return a small clip in which a bright square moves, uint8 [T, H, W, 3]."""
    t, h, w = SIZE
    frames = np.zeros((t, h, w, 3), np.uint8)
    frames[:] = (np.arange(w) * 3)[None, None, :, None]
    for k in range(t):
        frames[k, 8:24, 4 * k : 4 * k + 16] = (230, 40 * k % 256, 90)
    return frames


def write_clip(path: Path, video: str, audio: str = "", pixels: str = "yuv420p") -> None:
    """Write the example clip with these codecs, and a tone where there is one for sound."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(video, rate=12)
        stream.height, stream.width, stream.pix_fmt = *SIZE[1:], pixels
        stream.thread_count = 1
        sound = out.add_stream(audio, rate=48000) if audio else None
        for frame in example_frames():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)))
        out.mux(stream.encode(None))
        if sound is not None:
            wave = (8000 * np.sin(np.arange(32000) / 30)).astype(np.int16)[None]
            for start in range(0, 32000, 960):
                tone = av.AudioFrame.from_ndarray(wave[:, start : start + 960].copy(), "s16", "mono")
                tone.rate, tone.pts = 48000, start
                resampled = av.AudioResampler(sound.format, sound.layout, 48000).resample(tone)
                for part in resampled:
                    out.mux(sound.encode(part))
            out.mux(sound.encode(None))


def write_videos(folder: Path) -> None:
    """Write clips in the usual containers."""
    write_clip(folder / "a.mp4", "libx264", "aac")
    write_clip(folder / "b.mkv", "mpeg4", "pcm_s16le")
    write_clip(folder / "c.ts", "libx264", "aac")
    write_clip(folder / "d.mov", "mjpeg", "pcm_s16le", "yuvj420p")
    write_clip(folder / "e.avi", "mpeg4", "pcm_s16le")
    write_clip(folder / "f.webm", "libvpx", "libopus")
    write_clip(folder / "g.gif", "gif", pixels="rgb8")


def write_pictures(folder: Path) -> None:
    """Write pictures in the usual formats, one animated."""
    frame = example_frames()[3][..., ::-1]
    for ending in ("png", "jpg", "webp", "bmp", "tiff"):
        cv2.imwrite(str(folder / f"a.{ending}"), frame)
    write_clip(folder / "b.apng", "apng", pixels="rgb24")
    (folder / "b.apng").rename(folder / "b.png")


def write_masks(folder: Path) -> None:
    """Write a mask as a picture and as a clip."""
    mask = np.zeros((*SIZE[1:], 3), np.uint8)
    mask[8:30, 10:40] = 255
    cv2.imwrite(str(folder / "m.png"), mask)
    cv2.imwrite(str(folder / "m.jpg"), mask)
    frames = np.repeat(mask[None], SIZE[0], 0)
    codec.write_video(codec.Video.from_array(frames, 12), folder / "m.mp4")


def write_tensors(folder: Path) -> None:
    """Write adapters of the smallest model: for other tools in both styles, their embeddings, and as training leaves one."""
    model = configs.debug()
    shapes = wan.parameter_shapes("dit", model)
    for layout, prefix in (("original", "diffusion_model."), ("diffusers", "transformer.")):
        tensors = {}
        for name, (path, layer) in name_mapping.map_linear_modules(model.dit.layers, layout).items():
            if layer is None:
                continue
            d_in, d_out = shapes[f"{path}/kernel"][-2:]
            tensors[f"{prefix}{name}.lora_A.weight"] = np.ones((2, d_in), np.float32)
            tensors[f"{prefix}{name}.lora_B.weight"] = np.ones((d_out, 2), np.float32)
        settings = {
            "transformer.r": 2,
            "transformer.lora_alpha": 4,
            "transformer.alpha_pattern": {"attn1.to_q": 1.5},
        }
        metadata = {lora_files.METADATA_KEY: json.dumps(settings)} if layout == "diffusers" else None
        safetensors_file.write_safetensors(folder / f"{layout}.safetensors", tensors, metadata)
    tree = {"lora/blocks/self_attn/q/a": (model.dit.layers, model.dit.width, 2),
            "lora/blocks/self_attn/q/b": (model.dit.layers, 2, model.dit.width)}  # fmt: skip
    safetensors_file.write_safetensors(
        folder / "native.safetensors",
        {name: np.ones(shape, np.float32) for name, shape in tree.items()},
        adapters.condition_metadata(configs.ConditionConfig()),
    )


def _write_texts(folder: Path, texts: dict[str, str]) -> None:
    for place, text in texts.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


def _json_lines(*rows: dict) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


def write_manifests(folder: Path) -> None:
    """Write manifests of v2v edit."""
    rows = (
        {"video": "a.mp4", "instruction": "make it sepia", "mask": "m.png", "seed": 3, "output": "b.mp4"},
        {"video": "a.mp4", "instruction": "add snow", "start": 0.5, "end": 1, "strength": 0.5, "lora": [["x.safetensors", 0.5]]},
        {"video": "sample", "instruction": "make it night", "mask": [1, 2, 8, 8], "steps": 2, "size": "64x64x9"},
    )  # fmt: skip
    _write_texts(folder, {"a.jsonl": _json_lines(*rows)})


def write_listings(folder: Path) -> None:
    """Write listings of published sets and benchmarks, and tables of pairs, each in its layout."""
    rows = [{"source_path": "a.mp4", "edited_path": "b.mp4", "instruction": "make it blue"}] * 2
    senorita = [
        {"source_video_path": "./v/a.mp4", "target_video_path": "./v/b.mp4", "prompt": "make it blue"}
    ] * 2
    turns = [{"from": "human", "value": "<image>make it blue"}, {"from": "gpt", "value": "<image>"}]
    pictures = [{"image": ["a.png", "b.png"], "conversations": turns}]
    pairs = {"source": "a.mp4", "target": "b.mp4", "instruction": "make it blue", "start": 0.5, "weight": 2, "split": "train"}  # fmt: skip
    texts = {
        "openve/x.csv": "video,original_video,prompt\nb.mp4,a.mp4,make it blue\n" * 2,
        "insvie/x.csv": "v,c,i,e,f\na.mp4,a,make it blue,b,v\nb.mp4,b,make it red,c,v\n",
        "refvie/x.csv": "prompt,src_video,tgt_video,ref_image\nmake it blue,a.mp4,b.mp4,c.png\n",
        "ditto/training_metadata/x.json": json.dumps(rows),
        "ditto/csvs_for_DiffSynth/x.csv": "video,prompt,vace_video\nb.mp4,make it blue,a.mp4\n",
        "senorita/updated_data_x.json": json.dumps(senorita),
        "gpt-image-edit/data.txt": "b,y.json,true\n",
        "gpt-image-edit/training_json/omniedit_gpt.json": json.dumps(pictures),
        "editverse/test.json": json.dumps({"7": {"<text>": "make <video1> blue", "<video1>": "a.mp4", "type": "color"}}),
        "openve-bench/benchmark_videos.csv": "original_video,prompt,edited_type\na.mp4,make it blue,color\n",
        "ivebench/list.json": json.dumps([{"id": 3, "src_video_name": "a.mp4", "category": "c", "edit_prompt": "blue"}]),
        "imgedit/basic_edit.json": json.dumps({"1": {"id": "a/1.jpg", "prompt": "make it blue", "edit_type": "c"}}),
        "pairs/x.csv": "source,target,instruction,start,weight\na.mp4,b.mp4,make it blue,0.5,2\n",
        "pairs/x.jsonl": _json_lines(pairs, pairs | {"instruction": ["make it blue", "blue"]}),
        "pairs/x.json": json.dumps([pairs]),
    }  # fmt: skip
    _write_texts(folder, texts)


def write_captions(folder: Path) -> None:
    """Write timed captions, and TOML files that describe a writer, an expert and a composition."""
    event = {"video": "a.mp4", "start": 1.0, "end": 4.0, "caption": "a man jumps"}
    table = {
        "v_a": {"duration": 30.0, "timestamps": [[10, 14], [2, 5]], "sentences": ["a man jumps", "he lands"]}
    }
    step = '[[step]]\nexpert = "e.toml"\nclip = "source"\nmakes = "x"\n'
    texts = {
        "events/a.jsonl": _json_lines(event, event),
        "events/a.json": json.dumps(table),
        "writer/w.toml": 'url = "http://localhost:1/v1"\nmodel = "m"\nbatch = 4\nseconds = 2.5\n',
        "expert/e.toml": 'name = "e"\nversion = "1"\nlicense = "MIT"\nrole = "edit"\nkind = "command"\ncommand = ["true"]\nprompts = ["blue"]\n',
        "composition/c.toml": f'name = "c"\nrole = "composition"\nlicense = "MIT"\nprompts = ["blue"]\n{step}',
    }  # fmt: skip
    _write_texts(folder, texts)
