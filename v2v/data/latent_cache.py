"""Latents of pairs on disk, encoded once.

pairs -> **latent_cache** -> transforms.py

Encoding during training takes most of a step (about two thirds in EasyV2V, arXiv 2512.16920), while a frozen autoencoder and a
frozen text encoder always give the same result. There is one record per pair, in array_record shards of `SHARD` pairs. A shard is
written under another name and renamed, so an interrupted run continues where it was (shard_writer.py), and several processes share the
work shard by shard. A folder holds clips of one size from one dataset; reference pictures of other sizes are resized to it. A JSON
file beside each shard lists the edit and recipe of its records, for the loader. `meta.json` holds a hash of the autoencoder's
weights; latents of another autoencoder are refused.

A mask may also cover whole frames and only say *when* an edit happens. Short clips have few such masks: `time_masks.npy` holds all
of them, [T+1, T+1, t, y, x, c]. For clips of more than `MAX_TABLE_FRAMES` frames it holds the mask of the whole clip only,
[1, 1, t, y, x, c], and each record stores its own, of which each span is encoded once.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar, cast

import jax
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from v2v.data.latent_folder import LatentFolder
from v2v.data.pair import Pair
from v2v.data.shard_writer import ShardWriter
from v2v.errors import InputError
from v2v.video.inputs import resize_frame
from v2v.video.mask import pool_mask

# Pairs in one shard.
SHARD = 1024
# Pairs that `prepare` is called for at a time.
PREPARED = 1024
# Arrays of a record that are compressed, and how much, as of zlib.
COMPRESSED = ("mask", "when")
COMPRESSION = 1
# Recipe of records written before recipes were stored.
UNKNOWN_RECIPE = "unknown"
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '(?P<type>[<>|=]?[bfiuU]\d+)', 'fortran_order': (?P<order>True|False), 'shape': \((?P<shape>[\d, ]*)\), \}\s*"
)
# Longest clip, in frames, for which the masks of all spans are stored in one table.
MAX_TABLE_FRAMES = 16

Key = TypeVar("Key")
# uint8 [b, T, H, W, 3] to latents [b, t, y, x, c], a NumPy or JAX array.
EncodeClips = Callable[[np.ndarray], Any]
# Sentences to one embedding [m, w] each, without padding.
EmbedSentences = Callable[[list[str]], list[np.ndarray]]
# A pair's number and its sentences to the same, where they depend on the pair.
EmbedPair = Callable[[int, list[str]], list[np.ndarray]]


@dataclass(frozen=True)
class LatentEncoder:
    """The frozen encoders that turn pairs into records.

    Attributes:
      encode: the autoencoder.
      vae_hash: identifies its weights: `tree_hash` of parameters in memory; published files, which may hold billions, have
        `train.encode_dataset.fingerprint_tensors`. Both are stored in folders of latents, so neither can replace the other.
      embed: the text encoder; None leaves the text to the training step.
      batch: clips that are encoded together.
      embed_pair: goes before `embed` where sentences alone don't tell their embeddings.
    """

    encode: EncodeClips
    vae_hash: str
    embed: EmbedSentences | None = None
    batch: int = 32
    embed_pair: EmbedPair | None = None


class SpanLatents:
    """Latents of masks that cover the frames [start, end) of long clips, which depend on nothing else; compressed, as they are alike everywhere.

    All spans of 81 frames at 480p take about a tenth of a GB.
    """

    def __init__(self):
        self._packed: dict[tuple[int, ...], bytes] = {}
        self._shape: tuple[int, ...] = ()

    def missing(self, spans: Iterable[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
        """Return the spans of clips of so many frames that aren't known yet, each once."""
        return [span for span in dict.fromkeys(spans) if (*span, frames) not in self._packed]

    def add(self, span: tuple[int, int], frames: int, latents: np.ndarray) -> None:
        """Add the latents of a span, float16 [t, y, x, c]."""
        self._shape = latents.shape
        self._packed[(*span, frames)] = zlib.compress(np.ascontiguousarray(latents).tobytes(), COMPRESSION)

    def get(self, span: tuple[int, int], frames: int) -> np.ndarray:
        """Return the latents of a span."""
        return np.frombuffer(zlib.decompress(self._packed[(*span, frames)]), np.float16).reshape(self._shape)


class LatentRecord(TypedDict):
    """Arrays of one record.

    Attributes:
      source: latents, float16 [t, y, x, c].
      target: latents, float16 [t, y, x, c].
      mask: latents of the mask, float16 [t, y, x, c]; empty when the edit covers the frame.
      reference: latents of the reference picture, float16 [1, y, x, c], or empty.
      area: share of each latent cell that is edited, float16 [t, y, x].
      active: frames [start, end) in which the edit is active, int16 [2].
      text: a RecordText as JSON, a scalar string.
      when: latents of the mask of the active frames, or empty; of long clips only.
      embeds: embeddings of the instructions and, last, of the empty sentence, float16 [sum of lengths, w]; of caches with text only.
      embed_lengths: lengths of these embeddings, int32.
    """

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    reference: np.ndarray
    area: np.ndarray
    active: np.ndarray
    text: np.ndarray
    when: NotRequired[np.ndarray]
    embeds: NotRequired[np.ndarray]
    embed_lengths: NotRequired[np.ndarray]


class RecordText(TypedDict):
    """Texts of one record; entries as in `Pair`. Records written before recipes were stored have none."""

    source_caption: str
    target_caption: str
    instructions: list[str]
    edit: str
    recipe: NotRequired[str]
    seed: NotRequired[int]


class RecordFacts(TypedDict):
    """Facts about one record, by which the loader chooses it.

    Attributes:
      pair: the record's index in the dataset; old caches lack it and hold every pair in order.
      edit: name of the edit.
      recipe: name of the recipe.
      reference: whether it has a reference picture.
      held_out: whether its table keeps it from training.
      license: of the pair; missing where its set states none, and in latents of earlier versions.
    """

    pair: NotRequired[int]
    edit: str
    recipe: str
    reference: bool
    held_out: NotRequired[bool]
    license: NotRequired[str]


def write_latents(
    folder: str | Path,
    indices: Sequence[int],
    read_pair: Callable[[int], Pair],
    encoder: LatentEncoder,
    *,
    progress: Callable[[int], object] = lambda n: None,
    prepare: Callable[[Sequence[int]], object] = lambda indices: None,
    shard: int = SHARD,
    part: tuple[int, int] = (0, 1),
    shared: LatentFolder | None = None,
) -> None:
    """Encode pairs into `folder`, in the given order; shards that hold exactly these pairs are not written again.

    Args:
      folder: created when missing.
      indices: indices of the pairs.
      read_pair: returns the pair of an index; all clips have one size.
      encoder: the frozen encoders.
      progress: called with the number of pairs that are done, as they are.
      prepare: called with the indices of the pairs that are encoded next, up to `PREPARED`, as texts of many are best embedded at a time.
      shard: pairs in one shard.
      part: (i, n): this process is the i-th of n processes that share the work.
      shared: what brings finished shards to other machines; None where `folder` is one that all see.

    Raises:
      InputError: the folder holds latents of another autoencoder.
    """
    folder = Path(folder)
    shared = shared or LatentFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if part[0] == 0:
        check_meta(folder, encoder.vae_hash, create=True)
        if not (folder / "time_masks.npy").exists():
            first = read_pair(indices[0])
            np.save(folder / "time_masks.npy", _time_masks(first.source.shape, encoder))
        # Shards beyond the last of these pairs.
        for stale in shared.list_shards(folder)[-(-len(indices) // shard) :]:
            shared.remove_shard(stale)
    missing = []
    for start in range(part[0] * shard, len(indices), part[1] * shard):
        name = folder / f"latents-{start:07d}.array_record"
        shard_indices = [int(i) for i in indices[start : start + shard]]
        if shared.has_shard(name) and _has_pairs(name, shard_indices):
            progress(len(shard_indices))
        else:
            missing.append((name, shard_indices))
    shards_at_once, spans = max(1, PREPARED // shard), SpanLatents()
    for k, (name, shard_indices) in enumerate(missing):
        if k % shards_at_once == 0:
            prepare([i for _, of_shard in missing[k : k + shards_at_once] for i in of_shard])
        with ShardWriter(name, shard_indices) as writer:
            progress(writer.count)
            for batch in _read_ahead(shard_indices[writer.count :], read_pair, encoder.batch):
                records = _encode([pair for _, pair in batch], encoder, [i for i, _ in batch], spans)
                for (i, pair), record in zip(batch, records, strict=True):
                    writer.write(record, _build_facts(i, pair))
                progress(len(batch))
        shared.add_shard(name)


def _read_ahead(
    indices: Sequence[int], read_pair: Callable[[int], Pair], batch: int
) -> Iterator[list[tuple[int, Pair]]]:
    """Yield batches of pairs with their indices; the next one is read by another thread while the caller works on this one."""

    def read(begin: int) -> list[tuple[int, Pair]]:
        return [(i, read_pair(i)) for i in indices[begin : begin + batch]]

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, 0)
        for begin in range(0, len(indices), batch):
            pairs = ahead.result()
            if begin + batch < len(indices):
                ahead = pool.submit(read, begin + batch)
            yield pairs


def unpack_record(record: bytes) -> LatentRecord:
    """Return the arrays of one record."""
    with zipfile.ZipFile(io.BytesIO(record)) as archive:
        names = archive.namelist()
        return cast(
            LatentRecord, {name.removesuffix(".npy"): parse_array(archive.read(name)) for name in names}
        )


def unpack_text(record: bytes) -> RecordText:
    """Return the texts of one record, without reading its arrays."""
    with zipfile.ZipFile(io.BytesIO(record)) as archive:
        return json.loads(str(parse_array(archive.read("text.npy"))))


def parse_array(data: bytes) -> np.ndarray:
    """Return the array of a file in NumPy's format.

    NumPy reads the header as an expression of Python, which in Python 3.11 now and then fails in threads that do so at the same time
    ("SystemError: AST constructor recursion depth mismatch"), and loaders read in threads.

    Raises:
      ValueError: another file, or an array of anything but numbers and text.
    """
    begin = 10 if data[6:7] == b"\x01" else 12
    end = begin + int.from_bytes(data[8:begin], "little")
    match = _ARRAY_HEADER.fullmatch(data[begin:end])
    if data[:6] != b"\x93NUMPY" or match is None:
        raise ValueError(f"expected an array in NumPy's format, got {data[:64]!r}")
    shape = tuple(int(n) for n in match["shape"].split(b",") if n.strip())
    order = "F" if match["order"] == b"True" else "C"
    return (
        np.frombuffer(data, np.dtype(match["type"].decode()), offset=end).reshape(shape, order=order).copy()
    )


def read_texts(paths: list[str]) -> Iterator[RecordText]:
    """Yield the texts of every record of some shards."""
    for path in paths:
        reader = ArrayRecordReader(path)
        for i in range(reader.num_records()):
            yield unpack_text(reader.read([i])[0])
        reader.close()


def list_shards(folder: str | Path, vae_hash: str | None = None) -> list[str]:
    """Return the paths of the finished shards.

    Raises:
      InputError: there are none, or they hold latents of another autoencoder.
    """
    paths = sorted(map(str, Path(folder).glob("latents-*.array_record")))
    if not paths:
        raise InputError(
            f"{folder}: expected cached latents, found none; run the experiment's cache stage first"
        )
    if vae_hash is not None:
        check_meta(Path(folder), vae_hash)
    return paths


def read_facts(paths: list[str]) -> list[RecordFacts]:
    """Return the facts of every record, from the JSON file beside a shard or else from its records."""
    out: list[RecordFacts] = []
    for path in map(Path, paths):
        index = path.with_suffix(".json")
        shard_facts = json.loads(index.read_text()) if index.is_file() else _read_facts_of_records(path)
        out += [cast(RecordFacts, {"recipe": UNKNOWN_RECIPE} | facts) for facts in shard_facts]
    return out


def _build_facts(i: int, pair: Pair) -> RecordFacts:
    facts: RecordFacts = {
        "pair": i,
        "edit": pair.edit,
        "recipe": pair.recipe,
        "reference": pair.reference is not None,
    }
    licence = pair.provenance.get("license")
    if isinstance(licence, str) and licence:
        facts["license"] = licence
    return facts


def _read_facts_of_records(path: Path) -> list[dict[str, Any]]:
    """Read the facts of a shard's records from the records themselves."""
    reader, out = ArrayRecordReader(str(path)), []
    for i in range(reader.num_records()):  # one at a time: a shard may be many GB
        record = unpack_record(reader.read([i])[0])
        text = json.loads(str(record["text"]))
        out.append({key: text[key] for key in ("edit", "recipe") if key in text})
        out[-1]["reference"] = bool(record["reference"].size)
    reader.close()
    return out


def _has_pairs(path: Path, indices: list[int]) -> bool:
    """Return whether a finished shard holds exactly these pairs; one in a bucket is known by its facts."""
    if not path.exists() and not path.with_suffix(".json").is_file():
        return False
    shard_facts = read_facts([str(path)])
    same = all(facts.get("pair", i) == i for facts, i in zip(shard_facts, indices, strict=False))
    return same and len(shard_facts) == len(indices)


def check_meta(folder: Path, vae_hash: str, create: bool = False) -> None:
    """Check that a folder's latents come from this autoencoder; with `create`, record it in a new folder.

    Raises:
      InputError: they come from another one.
    """
    path = folder / "meta.json"
    if create and not path.exists():
        path.write_text(json.dumps({"vae": vae_hash}))
    folder_hash = json.loads(path.read_text())["vae"]
    if folder_hash != vae_hash:
        raise InputError(
            f"{folder}: latents were made by VAE {folder_hash}, this run uses {vae_hash}; cache them into another folder"
        )


def tree_hash(params: Any) -> str:
    """Return twelve hexadecimal digits that change with any weight of a parameter tree."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda kv: str(kv[0])):
        digest.update(str(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:12]


def _encode(
    pairs: list[Pair], encoder: LatentEncoder, indices: Sequence[int], spans: SpanLatents
) -> Iterable[bytes]:
    """Encode at most `encoder.batch` pairs; return the bytes of their records."""

    def encode_clips(clips: dict[Key, np.ndarray]) -> dict[Key, np.ndarray]:
        """Encode clips by a key, such as the number of their pair, padded to one shape that is compiled once."""
        if not clips:
            return {}
        arrays = list(clips.values())
        stack = np.stack(arrays + [arrays[-1]] * (encoder.batch - len(arrays)))
        return dict(zip(clips, np.asarray(encoder.encode(stack), np.float16)[: len(arrays)], strict=True))

    sources = encode_clips({i: pair.source for i, pair in enumerate(pairs)})
    targets = encode_clips({i: pair.target for i, pair in enumerate(pairs)})
    masks = encode_clips({i: _rgb(pair.mask) for i, pair in enumerate(pairs) if not _covers_frame(pair)})
    references = encode_clips(
        {
            i: resize_frame(pair.reference, *pair.source.shape[1:3])[None]
            for i, pair in enumerate(pairs)
            if pair.reference is not None
        }
    )
    frames = len(pairs[0].source)
    partial = [pair for pair in pairs if frames > MAX_TABLE_FRAMES and pair.active != (0, frames)]
    by_span = {pair.active: pair for pair in partial}
    unknown = {span: _time_mask(by_span[span]) for span in spans.missing(by_span, frames)}
    for span, latents in encode_clips(unknown).items():
        spans.add(span, frames, latents)
    empty = np.zeros((0,), np.float16)
    for i, pair in enumerate(pairs):
        text = {
            "source_caption": pair.source_caption, "target_caption": pair.target_caption,
            "instructions": pair.instructions, "edit": pair.edit, "recipe": pair.recipe, "seed": pair.seed,
        }  # fmt: skip
        record: LatentRecord = {
            "source": sources[i],
            "target": targets[i],
            "mask": masks.get(i, empty),
            "reference": references.get(i, empty),
            "area": pool_mask(pair.mask / np.float32(255), sources[i].shape[:3]).astype(np.float16),
            "active": np.asarray(pair.active, np.int16),
            "text": np.asarray(json.dumps(text)),
        }
        if len(pair.source) > MAX_TABLE_FRAMES:
            record["when"] = spans.get(pair.active, frames) if pair.active in by_span else empty
        sentences, rows = [*pair.instructions, ""], None
        if encoder.embed_pair is not None:
            rows = encoder.embed_pair(indices[i], sentences)
        elif encoder.embed is not None:
            rows = encoder.embed(sentences)
        if rows is not None:
            record["embeds"] = np.concatenate(rows).astype(np.float16)
            record["embed_lengths"] = np.asarray([len(row) for row in rows], np.int32)
        yield pack_record(record)


def pack_record(record: LatentRecord) -> bytes:
    """Return the bytes of a record: a npz file, in which latents of masks, which are alike over most of a frame, are compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in record.items():
            kind = zipfile.ZIP_DEFLATED if name in COMPRESSED else zipfile.ZIP_STORED
            # Without the time of day, so that the same pair gives the same bytes.
            entry = zipfile.ZipInfo(f"{name}.npy")
            with io.BytesIO() as data:
                np.lib.format.write_array(data, np.asanyarray(array), allow_pickle=False)
                archive.writestr(entry, data.getvalue(), kind, compresslevel=COMPRESSION)
    return buffer.getvalue()


def _covers_frame(pair: Pair) -> bool:
    """Return whether the mask covers the whole frame while active; it then equals one of the time masks."""
    start, end = pair.active
    return bool((pair.mask[start:end] == 255).all())


def _time_masks(shape: tuple[int, ...], encoder: LatentEncoder) -> np.ndarray:
    """Return latents of all masks of whole frames by start and end, float16 [T+1, T+1, t, y, x, c].

    For long clips only the mask of the whole clip, [1, 1, t, y, x, c].
    """
    (T, H, W, _), batch = shape, encoder.batch
    if T > MAX_TABLE_FRAMES:
        return np.asarray(encoder.encode(np.full((batch, T, H, W, 3), 255, np.uint8))[:1], np.float16)[None]
    spans = [(s, e) for s in range(T) for e in range(s + 1, T + 1)]
    clips = np.zeros((len(spans), T, H, W, 3), np.uint8)
    for i, (s, e) in enumerate(spans):
        clips[i, s:e] = 255
    pad = (-len(spans)) % batch
    clips = np.concatenate([clips, clips[:1].repeat(pad, 0)])
    z = np.concatenate(
        [np.asarray(encoder.encode(clips[i : i + batch])) for i in range(0, len(clips), batch)]
    )
    table = np.zeros((T + 1, T + 1, *z.shape[1:]), np.float16)
    for (s, e), latents in zip(spans, z, strict=False):
        table[s, e] = latents
    return table


def _time_mask(pair: Pair) -> np.ndarray:
    """Return a clip that is white while the edit is active, uint8 [T, H, W, 3]."""
    clip = np.zeros_like(pair.source)
    clip[slice(*pair.active)] = 255
    return clip


def _rgb(mask: np.ndarray) -> np.ndarray:
    """Return a mask [T, H, W] as a clip [T, H, W, 3]."""
    return np.repeat(mask[..., None], 3, -1)
