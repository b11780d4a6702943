"""pairs → latents on disk, once. data_synth, sets.py → **cache** → transforms.py

Encoding online costs most of a step (the paper spends about two thirds of it there), and a frozen VAE gives the same latents
every time, a frozen text encoder the same embeddings. One record a pair, in array_record shards of `SHARD` pairs; a shard is
written beside and renamed, so an interrupted run goes on where it stopped, and several processes share the work shard by shard.
A folder holds clips of one size from one set; reference pictures of other sizes are brought to it as the editor does. Beside each
shard lies a JSON list of what its records are, which the loader chooses by. `meta.json` names the VAE (a hash of its weights): latents of another VAE are refused.

A model may be told only *when* an edit happens, by a mask of whole frames. Short clips have few such masks: `time_masks.npy` holds
all of them, [T+1, T+1, t, y, x, c]. Beyond `FEW` frames it holds the mask of the whole clip, [1, 1, t, y, x, c], and each record
its own where it needs another.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.video.inputs import shrink
from v2v.video.mask import pooled

SHARD = 1024
UNKNOWN = "unknown"  # recipe of records cached before recipes were kept
FEW = 16  # frames up to which the masks of all spans are kept in one table


def write(
    folder: str | Path,
    chosen: Sequence[int],
    read: Callable[[int], Pair],
    encode: Callable[[np.ndarray], np.ndarray],
    vae_hash: str,
    batch: int = 32,
    progress: Callable[[int], None] = lambda n: None,
    *,
    embed: Callable[[list[str]], list[np.ndarray]] | None = None,
    shard: int = SHARD,
    part: tuple[int, int] = (0, 1),
) -> None:
    """Encode the pairs `chosen` into `folder`, in that order; shards that hold just these pairs already are left as they are.

    Args:
      chosen: numbers of pairs. read: number → Pair, clips of one size. encode: uint8 [b, T, H, W, 3] → latents [b, t, y, x, c].
      vae_hash: from `tree_hash`.
      embed: sentences → embeddings [m, w] each, without padding; None leaves the text to the training step.
      shard: pairs a shard.
      part: (i, n): this process is the i-th of n that share the work over one folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if part[0] == 0:
        check_meta(folder, vae_hash, create=True)
        if not (folder / "time_masks.npy").exists():
            first = read(chosen[0])
            np.save(folder / "time_masks.npy", _time_masks(first.source.shape, encode, batch))
        for stale in sorted(folder.glob("latents-*.array_record"))[-(-len(chosen) // shard) :]:
            stale.unlink()  # of pairs no longer chosen
    for start in range(part[0] * shard, len(chosen), part[1] * shard):
        name = folder / f"latents-{start:07d}.array_record"
        wanted = [int(i) for i in chosen[start : start + shard]]
        if not _holds(name, wanted):
            partial = name.with_suffix(".partial")
            writer = ArrayRecordWriter(str(partial), "group_size:1")
            made = []
            for begin in range(0, len(wanted), batch):
                here = wanted[begin : begin + batch]
                pairs = [read(i) for i in here]
                made += [_fact(i, pair) for i, pair in zip(here, pairs, strict=True)]
                for record in _encode(pairs, encode, batch, embed):
                    writer.write(record)
            writer.close()
            name.with_suffix(".json").write_text(json.dumps(made))
            partial.rename(name)
        progress(len(wanted))


def unpack(record: bytes, *names: str) -> dict[str, np.ndarray]:
    """One record, or what is named of it: float16 latents `source`, `target`, `mask` (empty when the edit covers the frame), `reference` (or empty),
    `area` [t, y, x], `active` (start, end), and `text`, a JSON string of captions, instructions and the edit's name. Long clips
    have `when` (or empty), the mask of their active frames; caches with text have `embeds` [sum of lengths, w] of the instructions
    and, last, of the empty sentence, and `embed_lengths`."""
    with np.load(io.BytesIO(record), allow_pickle=False) as f:
        return {key: f[key] for key in names or f.files}


def shards(folder: str | Path, vae_hash: str | None = None) -> list[str]:
    """Paths of the finished shards. Raises InputError when there are none or another VAE made them."""
    found = sorted(map(str, Path(folder).glob("latents-*.array_record")))
    if not found:
        raise InputError(
            f"{folder}: expected cached latents, found none; run the experiment's cache stage first"
        )
    if vae_hash is not None:
        check_meta(Path(folder), vae_hash)
    return found


def facts(paths: list[str]) -> list[dict]:
    """{"pair", "edit", "recipe", "reference"} of every record, without reading the records where the shard's JSON lies beside it.
    `pair` is its number in the set; caches made before sets were chosen from hold every pair in order and may lack it."""
    out: list[dict] = []
    for path in map(Path, paths):
        beside = path.with_suffix(".json")
        found = json.loads(beside.read_text()) if beside.is_file() else _read_facts(path)
        out += [{"recipe": UNKNOWN} | fact for fact in found]
    return out


def _fact(i: int, pair: Pair) -> dict:
    return {"pair": i, "edit": pair.edit, "recipe": pair.recipe, "reference": pair.reference is not None}


def _read_facts(path: Path) -> list[dict]:
    reader, out = ArrayRecordReader(str(path)), []
    for i in range(reader.num_records()):  # one at a time: a shard may be many GB
        with np.load(io.BytesIO(reader.read([i])[0]), allow_pickle=False) as f:
            text = json.loads(str(f["text"]))
            out.append({key: text[key] for key in ("edit", "recipe") if key in text})
            out[-1]["reference"] = bool(f["reference"].size)
    reader.close()
    return out


def _holds(path: Path, wanted: list[int]) -> bool:
    """Whether a shard is there and of these pairs: sets grow, and other sizes choose other clips."""
    found = facts([str(path)]) if path.exists() else []
    same = all(fact.get("pair", i) == i for fact, i in zip(found, wanted, strict=False))
    return path.exists() and same and len(found) == len(wanted)


def check_meta(folder: Path, vae_hash: str, create: bool = False) -> None:
    path = folder / "meta.json"
    if create and not path.exists():
        path.write_text(json.dumps({"vae": vae_hash}))
    made_by = json.loads(path.read_text())["vae"]
    if made_by != vae_hash:
        raise InputError(
            f"{folder}: latents were made by VAE {made_by}, this run uses {vae_hash}; cache them into another folder"
        )


def tree_hash(params) -> str:
    """Twelve hex digits that change with any weight."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda kv: str(kv[0])):
        digest.update(str(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:12]


def _encode(pairs: list[Pair], encode: Callable, batch: int, embed: Callable | None) -> Iterable[bytes]:
    def run(clips: list[np.ndarray]) -> list[np.ndarray]:
        stack = np.stack(clips + [clips[-1]] * (batch - len(clips)))  # one shape, one compile
        return list(np.asarray(encode(stack), np.float16)[: len(clips)])

    source, target = run([p.source for p in pairs]), run([p.target for p in pairs])
    local = [i for i, p in enumerate(pairs) if not _covers_frame(p)]
    masks = dict(zip(local, run([_rgb(pairs[i].mask) for i in local]), strict=True)) if local else {}
    with_ref = [i for i, p in enumerate(pairs) if p.reference is not None]
    pictures = [shrink(pairs[i].reference, *pairs[i].source.shape[1:3])[None] for i in with_ref]
    refs = dict(zip(with_ref, run(pictures), strict=True)) if with_ref else {}
    parted = [i for i, p in enumerate(pairs) if len(p.source) > FEW and p.active != (0, len(p.source))]
    when = dict(zip(parted, run([_span(pairs[i]) for i in parted]), strict=True)) if parted else {}
    for i, pair in enumerate(pairs):
        grid = source[i].shape[:3]
        empty = np.zeros((0,), np.float16)
        text = {
            "source_caption": pair.source_caption, "target_caption": pair.target_caption,
            "instructions": pair.instructions, "edit": pair.edit, "recipe": pair.recipe, "seed": pair.seed,
        }  # fmt: skip
        more = {"when": when.get(i, empty)} if len(pair.source) > FEW else {}
        if embed is not None:
            rows = embed([*pair.instructions, ""])
            more["embeds"] = np.concatenate(rows).astype(np.float16)
            more["embed_lengths"] = np.asarray([len(row) for row in rows], np.int32)
        buffer = io.BytesIO()
        np.savez(
            buffer, source=source[i], target=target[i], mask=masks.get(i, empty), reference=refs.get(i, empty),
            area=pooled(pair.mask / np.float32(255), grid).astype(np.float16), active=np.asarray(pair.active, np.int16), text=np.asarray(json.dumps(text)),
            **more,
        )  # fmt: skip
        yield buffer.getvalue()


def _covers_frame(pair: Pair) -> bool:
    """True when, while active, the mask is the whole frame: then it is one of the time masks."""
    start, end = pair.active
    return bool((pair.mask[start:end] == 255).all())


def _time_masks(shape: tuple[int, ...], encode: Callable, batch: int) -> np.ndarray:
    """Latents of every mask that covers whole frames from `start` to `end`, float16 [T+1, T+1, t, y, x, c]; of long clips only
    the mask of the whole clip, [1, 1, t, y, x, c]."""
    T, H, W, _ = shape
    if T > FEW:
        return np.asarray(encode(np.full((batch, T, H, W, 3), 255, np.uint8))[:1], np.float16)[None]
    spans = [(s, e) for s in range(T) for e in range(s + 1, T + 1)]
    clips = np.zeros((len(spans), T, H, W, 3), np.uint8)
    for i, (s, e) in enumerate(spans):
        clips[i, s:e] = 255
    pad = (-len(spans)) % batch
    clips = np.concatenate([clips, clips[:1].repeat(pad, 0)])
    z = np.concatenate([np.asarray(encode(clips[i : i + batch])) for i in range(0, len(clips), batch)])
    table = np.zeros((T + 1, T + 1, *z.shape[1:]), np.float16)
    for (s, e), latents in zip(spans, z, strict=False):
        table[s, e] = latents
    return table


def _span(pair: Pair) -> np.ndarray:
    """White frames while the edit is on, uint8 [T, H, W, 3]."""
    clip = np.zeros_like(pair.source)
    clip[slice(*pair.active)] = 255
    return clip


def _rgb(mask: np.ndarray) -> np.ndarray:
    return np.repeat(mask[..., None], 3, -1)
