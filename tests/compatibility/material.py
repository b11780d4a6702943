"""What the old files are made of: the same small models, pairs and requests for `make_files.py` and for the tests."""

import dataclasses
import hashlib
import json
import tarfile
from pathlib import Path

import flax
import jax
import numpy as np

from data_synth.generate import PairOptions, make_pair
from v2v import Pair
from v2v.checkpoints import adapters, native
from v2v.config import DataConfig, LogConfig, LoRAConfig, ModelConfig, OptimConfig, debug
from v2v.data import buckets, loader
from v2v.data import latent_cache as latents
from v2v.data import pair as pair_lib
from v2v.models import initialization
from v2v.models.text_encoder import build_word_tokenizer
from v2v.train import loop, objectives, optimizer, train_step
from v2v.train.state import TrainState

FILES = Path(__file__).parent / "files"
WORDS = ["make", "it", "warmer", "sepia", "red"]

# Pairs -----------------------------------------------------------------------------------------------------------------------

SIZE = {"T": 5, "H": 32, "W": 48}
ALWAYS = {"transition": 1.0, "operators": ("cut", "blend", "dissolve", "wipe")}
FAMILIES = {
    "default mix": ({}, range(16)),
    "local": ({"edits": ("local",)}, range(16)),
    "photometric": ({"edits": ("photometric",)}, range(16)),
    "halves": ({"edits": ("halves",)}, range(8)),
    "control": ({"edits": ("control",)}, range(24)),
    "lifted": ({"edits": ("lift",)}, range(8)),
    "picture": ({"edits": ("image",), "T": 1}, range(6)),
    "removal": ({"edits": ("removal",)}, range(6)),
    "insertion": ({"edits": ("insertion",)}, range(6)),
    "replacement": ({"edits": ("replacement",)}, range(6)),
    "transition": ({"edits": ("photometric", "local"), **ALWAYS}, range(16)),
    "scoring seeds": ({}, range(3_000_000_000, 3_000_000_006)),
}
ROOMS = ({"edits": ("physics",)}, range(2))

SYNTH = "--pairs 6 --seed 5 --recipes local,photometric,halves,control,removal --frames 2 --height 16 --width 24".split()
FOOTAGE = "--pairs 1 --recipes to-canny --clips clips --frames 2 --height 32 --width 48".split()
WANTED = [(2, 16, 24), (1, 16, 16)]  # sizes of a survey
STOPPED = {"pairs": 33, "seed": 3, "edits": ("photometric",), "frames": 1, "height": 16, "width": 16}


def made(family: tuple[dict, range]) -> dict:
    """Seed → what it gives: the hash of its record, or the reason why there is none."""
    options, seeds = family
    out = {}
    for seed in seeds:
        pair = make_pair(seed, PairOptions(**SIZE | options))
        out[str(seed)] = described(pair) if isinstance(pair, Pair) else {"reason": pair.reason}
    return out


def described(pair: Pair) -> dict:
    """The hash of the record's bytes; and, for machines that round otherwise, what it says and its mean levels."""
    record = pair_lib.encode_pair(pair)
    texts = {name: value for name, value in record.items() if isinstance(value, str | int)}
    texts.pop("provenance")  # has measured numbers
    arrays = [a for a in (pair.source, pair.target, pair.mask, pair.reference) if a is not None]
    return {"sha256": sha(record), "texts": sha(texts), "means": [round(float(a.mean()), 3) for a in arrays]}


def versions() -> dict:
    """Where bytes of pictures may differ from: the libraries that compute and pack them, and what NumPy uses of the processor."""
    from importlib import metadata

    names = ("array_record", "numpy", "opencv-python-headless", "tensorflow-datasets")
    processor = np.show_config(mode="dicts")["SIMD Extensions"]
    used = sorted({*processor["baseline"], *processor.get("found", ())})
    return {name: metadata.version(name) for name in names} | {"processor": used}


def simulator() -> str | None:
    """MuJoCo's version."""
    from importlib import metadata, util

    return metadata.version("mujoco") if util.find_spec("mujoco") else None


# A model, its adapters, its training ------------------------------------------------------------------------------------------


def model() -> ModelConfig:
    """`debug`, smaller still."""
    big = debug()
    return dataclasses.replace(
        big,
        dit=dataclasses.replace(big.dit, width=16, ffn_width=24, text_width=8, text_len=8, freq_dim=16),
        vae=dataclasses.replace(big.vae, base_dim=2, decoder_base_dim=2, num_res_blocks=0),
        text=dataclasses.replace(big.text, vocab=32, width=8, ffn_width=16, text_len=8),
        lora=LoRAConfig(rank=2, alpha=3.0),
        flow=dataclasses.replace(big.flow, steps=2),
    )


def tokenizer(cfg: ModelConfig):
    return build_word_tokenizer(WORDS, cfg.text.text_len, cfg.text.vocab)


ADAMW = OptimConfig(peak_lr=1e-3, warmup_steps=1, ema=0.9)
MUON = OptimConfig(kind="muon", peak_lr=1e-3, warmup_steps=1, ema=0.9)
SAVED, LATER = 3, 6  # steps of the saved run, and of the one that goes on


def fresh(cfg: ModelConfig, base: dict, how: OptimConfig) -> TrainState:
    return TrainState.create(
        initialization.init_adapter(jax.random.key(1), cfg, base["dit"]), optimizer.build_optimizer(how)
    )


def train(workdir: Path, cached: Path, weights: Path, how: OptimConfig, steps: int) -> TrainState:
    """Trains an adapter on the cached latents up to `steps`, or goes on to them; log.jsonl has every step."""
    cfg = native.load_config(weights / "config.json")
    base = native.load_parameters(weights / "base.safetensors")
    one = train_step.train_step(objectives.edit(cfg, 3.0), optimizer.build_optimizer(how), how.ema)
    return loop.fit(
        workdir,
        fresh(cfg, base, how),
        lambda state, rows: one(state, rows, base),
        iter(batches(cached, cfg)),
        loop.Schedule(steps, SAVED, LogConfig(every=1)),
    )


# Cached latents ---------------------------------------------------------------------------------------------------------------

CACHED, SHARD, LONG = 9, 6, 17
VAE_HASH = "0123456789ab"


def pair(i: int, frames: int = 5) -> Pair:
    """Of every kind that the cache tells apart: with a reference or without, all of the frame or part of it, always or at times."""
    rng = np.random.default_rng(i)
    mask = np.full((frames, 32, 32), 255 if i % 2 else 0, np.uint8)
    mask[:, :12] = 255
    return Pair(
        source=np.repeat(np.repeat(rng.integers(0, 256, (frames, 4, 4, 3), np.uint8), 8, 1), 8, 2),
        target=np.repeat(np.repeat(rng.integers(0, 256, (frames, 4, 4, 3), np.uint8), 8, 1), 8, 2),
        mask=mask,
        reference=rng.integers(0, 256, (20, 24, 3), np.uint8) if i % 3 == 0 else None,
        instructions=("make it red", "red")[: 1 + i % 2],
        source_caption="it",
        target_caption="red it",
        edit="palette" if i % 6 == 0 else "recolour",
        recipe="photometric" if i % 2 else "local",
        seed=100 + i,
        provenance={},
        active=(0, frames) if i % 4 else (2, frames),
    )


def encode(clips: np.ndarray) -> np.ndarray:
    """Latents of the model's shape, without a VAE: exact anywhere."""
    few = clips[:, ::4, ::8, ::8].astype(np.float32) / 128 - 1
    return np.concatenate([few, few[..., :2] / 2, few / 4], -1)


def embed(sentences: list[str]) -> list[np.ndarray]:
    return [np.full((1 + len(s.split()), 3), len(s), np.float16) for s in sentences]


def write_cache(folder: Path, read=pair) -> None:
    """Nine short clips; and in a folder of their own two long ones with embedded sentences."""
    latents.write_latents(
        folder / "short",
        range(0, 2 * CACHED, 2),
        read,
        latents.LatentEncoder(encode, VAE_HASH, batch=4),
        shard=SHARD,
    )
    latents.write_latents(
        folder / "long",
        range(2, 4),
        lambda i: read(i, LONG),
        latents.LatentEncoder(encode, VAE_HASH, embed, 2),
        shard=SHARD,
    )


def batches(cached: Path, cfg: ModelConfig) -> loader.Stream:
    found = buckets.CachedClips(latents.list_shards(cached / "short", VAE_HASH))
    bucket = buckets.Bucket(2, np.load(cached / "short" / "time_masks.npy"), (found,))
    return loader.edit_batches([bucket], tokenizer(cfg), 7, DataConfig(reference=0.0))


# Adapters ---------------------------------------------------------------------------------------------------------------------


def adapter(cfg: ModelConfig, base: dict) -> adapters.Adapter:
    """Random numbers that bfloat16 holds, in every place of an adapter."""
    shapes = jax.eval_shape(lambda dit: initialization.init_adapter(jax.random.key(1), cfg, dit), base["dit"])
    flat, rng = {}, np.random.default_rng(5)
    for name, shape in sorted(flax.traverse_util.flatten_dict(shapes, sep="/").items()):
        flat[name] = (rng.integers(-64, 65, shape.shape) / 256).astype(np.float32)
    tree = flax.traverse_util.unflatten_dict(flat, sep="/")
    return adapters.Adapter(tree["lora"], cfg.lora.scale, embed=tree["embed"], condition=cfg.condition)


def large() -> dict:
    """Matrices of a size that is kept as int8, a layer each and alone."""
    steps = np.linspace(-1, 1, 64, dtype=np.float32)
    one = steps[:, None] * steps[None]
    return {
        "blocks": {"q": {"kernel": np.stack([one, 3 * one]), "bias": steps}},
        "head": {"kernel": one + steps},
    }


def adapter_leaves(found: adapters.Adapter) -> dict:
    """Everything an adapter does to a model."""
    flat = flax.traverse_util.flatten_dict({"lora": found.lora, "embed": found.embed or {}}, sep="/")
    scaled = {k: v * np.float32(found.scale) if k.endswith("/b") else v for k, v in flat.items()}
    condition = found.condition and native.config_values(found.condition)
    return {"leaves": leaves(scaled), "condition": condition}


# Lists of edits ---------------------------------------------------------------------------------------------------------------

GREY = {"video": "a.mp4", "instruction": "make it grey"}
LISTS = {
    "fake": [
        GREY,
        {**GREY, "video": "b.mp4", "mask": "4,4,20,20", "seed": 3, "output": "n.mp4", "detail": "model"},
        {**GREY, "mask": "white.png", "soft": 0.5, "start": 0.04, "end": 0.2, "strength": 0.5},
        {**GREY, "instruction": "make it of the reference", "reference": "b.mp4@0.1", "guide": "prompt+reference"},
    ],
    "tiny": [
        {"video": "a.mp4", "instruction": "make it sepia", "steps": 1, "lora": ["lora/original-bfloat16.safetensors"]},
        {"video": "b.mp4", "instruction": "make it red", "steps": 1, "seed": 2, "lora": [["lora/own.safetensors", 0.25]]},
    ],
}  # fmt: skip
FAKE = ("--model", "model")  # for the keys alone: the stand-in edits
TINY = ("--model", "model", "--lora", "lora/diffusers-float32.safetensors=0.5", "--solver", "heun")


# Files ------------------------------------------------------------------------------------------------------------------------


def compact(value, depth: int = 3, indent: str = "") -> str:
    """JSON of a table, an entry a line down to `depth`."""
    if not depth or not isinstance(value, dict):
        return json.dumps(value)
    inner = indent + " "
    rows = [
        f"{inner}{json.dumps(str(name))}: {compact(part, depth - 1, inner)}" for name, part in value.items()
    ]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


def expected() -> dict:
    return json.loads((FILES / "expected.json").read_text())


def unpack(name: str, folder: Path) -> Path:
    """The old folder `name`, in `folder`."""
    with tarfile.open(FILES / f"{name}.tar.xz") as file:
        file.extractall(folder / name, filter="data")
    return folder / name


def pack(folder: Path, to: Path) -> None:
    """All files of a folder, in order; of nobody, and of one date."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime, info.mode = 1_700_000_000, 0o644
        return info

    with tarfile.open(to, "w:xz", preset=9) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.add(path, str(path.relative_to(folder)), filter=plain)


def sha(value) -> str:
    """Of bytes, an array with its type and shape, or a table of those and of texts and numbers."""
    if isinstance(value, dict):
        value = "".join(f"{name}={sha(part)};" for name, part in sorted(value.items()))
    if isinstance(value, str | int):
        value = str(value).encode()
    if not isinstance(value, bytes):
        array = np.ascontiguousarray(value)
        value = f"{array.dtype} {array.shape}".encode() + array.tobytes()
    return hashlib.sha256(value).hexdigest()[:16]


def leaves(tree) -> dict[str, str]:
    """Path → hash of every array of a tree."""
    flat, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): sha(leaf) for path, leaf in flat}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """File → (when it was written, what is in it)."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def log_of(workdir: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


def record_hashes(shard: str) -> list[dict[str, str]]:
    """Of every record of a shard of latents, the hashes of its arrays."""
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(shard)
    out = [
        {
            name: sha(str(array) if name == "text" else array)
            for name, array in latents.unpack_record(record).items()
        }
        for record in reader.read_all()
    ]
    reader.close()
    return out
