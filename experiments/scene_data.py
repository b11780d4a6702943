"""Rendered training data: pairs, clips, vocabulary and previews that the embedded experiments pass to the stages of `v2v.train.stages`.

This is no experiment: it has no config(). Seeds of pairs count from 0, those of the autoencoder's clips from CLIP_SEEDS, those of
previews from PREVIEW_SEEDS; scoring uses seeds from 3e9 on, which no training run uses.
"""

import collections
import functools
import itertools
from pathlib import Path
from typing import Any

import grain
import numpy as np

from data_synth.dataset.build import build_dataset
from data_synth.dataset.request import SynthRequest
from data_synth.detail_examples import DetailExamples
from data_synth.generate import PairOptions, make_clip, make_pair
from data_synth.language import grammar, rooms
from data_synth.picture_clips import read_picture_folders
from data_synth.recipes import registry
from data_synth.recipes.sources import Sources
from v2v.config import DetailConfig
from v2v.data import latent_cache
from v2v.data.batch import BatchSource
from v2v.data.buckets import Size
from v2v.data.dataset_source import PairDataset
from v2v.data.datasets import format_surveys, open_pairs, survey_dataset
from v2v.data.pair import Pair
from v2v.data.table_dataset import TableDataset
from v2v.models.text_encoder import SPECIAL_TOKENS, Tokenizer, build_word_tokenizer, split_words
from v2v.train import stages
from v2v.train.config import Experiment
from v2v.train.detail import DetailBatch
from v2v.train.objectives import Parameters
from v2v.train.stage import log_info

PREVIEW_SEEDS = 2_000_000_000
CLIP_SEEDS = 1_000_000_000
# Pairs of one TFDS set, and the seeds reserved for it.
PART, PART_SEEDS = 7000, 100_000
# Number of the first linked set, above those rendered here.
LINKED_PARTS = 900
# Side of the detail network's crops, and crops of a frame.
DETAIL_CROP, DETAIL_CROPS = 96, 4
# The default mix of edits: there are three photometric edits for every local one.
MIX = ("local", "photometric", "photometric")


def render_pairs(cfg: Experiment, folder: Path, edits: tuple[str, ...] = MIX) -> None:
    """Make `cfg.pairs` pairs as TFDS sets of at most PART, so that the work resumes and more pairs can be added later.

    Args:
      cfg: the experiment; recipes of footage use its `pictures` and `cutouts`.
      folder: receives the sets, part-0, part-1, ...
      edits: mix of edits.
    """
    m = cfg.model
    for part, start in enumerate(range(0, cfg.pairs, PART)):
        out = folder / f"part-{part}"
        if not out.exists():
            count = min(PART, cfg.pairs - start)
            log_info(f"rendering pairs {start} to {start + count}")
            seed = cfg.seed + part * PART_SEEDS
            build_dataset(
                SynthRequest(
                    out,
                    count,
                    seed=seed,
                    workers=cfg.workers,
                    edits=edits,
                    transition=cfg.data.transition,
                    frames=m.frames,
                    height=m.height,
                    width=m.width,
                    sources=_sources(cfg),
                )
            )


def _sources(cfg: Experiment) -> Sources:
    """Return the photographs and cut-outs of an experiment as the pair engine takes them."""
    return Sources(pictures=cfg.pictures, cutouts=cfg.cutouts)


def link_sets(cfg: Experiment, folder: Path) -> None:
    """Link the folders and tables of `cfg.sets` among the rendered sets, so that all are encoded together."""
    for i, path in enumerate(cfg.sets):
        link = folder / f"part-{LINKED_PARTS + i}"
        if not link.exists():
            link.symlink_to(Path(path).resolve(), target_is_directory=True)


def encode_rendered(cfg: Experiment, vae: Parameters, folder: Path) -> stages.LatentSet:
    """Encode the sets in folder/pairs into folder/latents.

    Args:
      cfg: the experiment, with the autoencoder's configuration.
      vae: parameters of the autoencoder.
      folder: the working folder.
    """
    parts = sorted((folder / "pairs").glob("part-*"), key=lambda path: int(path.name.split("-")[1]))
    size = (cfg.model.frames, cfg.model.height, cfg.model.width)
    pairs: Any = grain.MapDataset.concatenate([_open_part(part, size, cfg.data.fps) for part in parts])
    return stages.encode_pairs(cfg, len(pairs), lambda i: pairs[i], vae, folder / "latents")


def _open_part(part: Path, size: Size, fps: float) -> grain.MapDataset:
    """Return the pairs of a set; of a table those that fill the model's size, after a summary of all."""
    dataset = open_pairs(part.resolve(), fps)
    indices = list(range(len(dataset)))
    if isinstance(dataset, TableDataset):
        survey = survey_dataset(part.resolve().name, dataset, [size])
        log_info(format_surveys([survey]))
        indices = survey.indices_by_size[size]
        held_out = [i for i in indices if (dataset.facts(i) or {}).get("held_out")]
        if held_out:
            log_info(f"{len(held_out):>8}  left out: held out by the table")
        indices = [i for i in indices if i not in set(held_out)]
    return grain.MapDataset.source(indices).map(functools.partial(_read_pair, dataset, size))


def _read_pair(dataset: PairDataset, size: Size, index: int) -> Pair:
    return dataset.read_pair(index, size)


def build_tokenizer(cfg: Experiment) -> Tokenizer:
    """Return the tokenizer of the words of the rendered pairs' instructions."""
    words = grammar.vocabulary() + (rooms.vocabulary() if cfg.words == "rooms" else [])
    return build_word_tokenizer(words, cfg.model.text.text_len, cfg.model.text.vocab)


def build_text_tokenizer(cfg: Experiment, shards: list[str]) -> Tokenizer:
    """Return the tokenizer of the words of cached pairs' instructions and captions, the most frequent ones where not all fit."""
    counts = collections.Counter[str]()
    for text in latent_cache.read_texts(shards):
        for sentence in (*text["instructions"], text["source_caption"], text["target_caption"]):
            counts.update(split_words(sentence))
    room = cfg.model.text.vocab - len(SPECIAL_TOKENS)
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if words[room:]:
        share = sum(counts[word] for word in words[room:]) / counts.total()
        log_info(
            f"the vocabulary holds {room} words; {len(words) - room} rarer ones, {share:.1%} of the text, are unknown"
        )
    return build_word_tokenizer(words[:room], cfg.model.text.text_len, cfg.model.text.vocab)


def preview_pairs(cfg: Experiment, count: int = 4, edits: tuple[str, ...] = MIX) -> list[Pair]:
    """Return `count` pairs that are never in the training data."""
    m = cfg.model
    options = PairOptions(
        m.frames, m.height, m.width, edits=registry.expand_weights(edits), sources=_sources(cfg)
    )
    outcomes = (make_pair(PREVIEW_SEEDS + i, options) for i in range(1000))
    return list(itertools.islice((pair for pair in outcomes if isinstance(pair, Pair)), count))


def clips(cfg: Experiment) -> BatchSource[np.ndarray]:
    """Return endless batches of clips, uint8 [b, T, H, W, 3], for the autoencoder.

    All are rendered, or with `cfg.pictures` every fourth, the others being made from photographs.
    """
    m = cfg.model
    pictures = read_picture_folders(cfg.pictures, cfg.cutouts or None) if cfg.pictures else None
    if pictures:
        log_info(
            f"clips from {len(pictures.pictures)} pictures and {len(pictures.cutouts)} cut-outs; "
            f"{len(pictures.opaque)} files without alpha are left out"
        )

    class Render(grain.transforms.Map):
        def map(self, element: int) -> np.ndarray:
            seed = int(element) + CLIP_SEEDS
            if pictures and seed % 4:
                return pictures(seed, m.frames, m.height, m.width)
            return make_clip(seed, T=m.frames, H=m.height, W=m.width)[0]

    seeds = grain.MapDataset.range(10_000_000).seed(cfg.seed).shuffle().repeat()
    return _batch(seeds.map(Render()), cfg.vae.batch, cfg.workers)


def detail_batches(cfg: Experiment, network: DetailConfig) -> BatchSource[DetailBatch]:
    """Return endless batches of edited frames for the detail network, made from `cfg.pictures` and `cfg.cutouts`."""
    pictures = read_picture_folders(cfg.pictures, cfg.cutouts or None)
    examples = DetailExamples(pictures, network.lines, cfg.model.height, DETAIL_CROP, DETAIL_CROPS)

    class Draw(grain.transforms.Map):
        def map(self, element: int) -> dict[str, np.ndarray]:
            arrays = vars(examples(int(element) + CLIP_SEEDS))
            return {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}

    seeds = grain.MapDataset.range(10_000_000).seed(cfg.seed).shuffle().repeat()
    return _batch(seeds.map(Draw()), cfg.detail.batch, cfg.workers)


def _batch(examples: grain.MapDataset[Any], batch: int, workers: int) -> Any:
    """Return batches of examples, made by a thread, which renders as fast as a CPU trains, or by more than two processes."""
    read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=32)
    batches = examples.to_iter_dataset(read).batch(batch)
    if workers <= 2:
        return batches
    return batches.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=workers))
