"""Experts that write, at the three places where a pair needs words or a judgement.

    caption    clip → caption and nouns, where no text file beside the clip has them (`build_describer`)
    instruct   clip → prompt of an expert of role edit or a composition (`choose_prompts`); pair → instructions (`finish_pairs`)
    filter     pair → keep it, or why not (`finish_pairs`)

Requests without such experts get everything unchanged. A request that fails is a rejection like that of any expert: the seed is tried again later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from data_synth import footage
from data_synth.experts import answers
from data_synth.experts.wire import Job
from data_synth.language.captions import tidy
from data_synth.language.visible_words import names_something
from data_synth.recipes import connections
from data_synth.rejection import Rejected
from data_synth.rng import build_rng
from v2v.data.pair import Pair

# Largest number of instructions of a pair that an expert wrote for.
MAX_INSTRUCTIONS = 8
# Whether a sentence may be one of a pair's instructions.
SentenceGate = Callable[[str, Pair], bool]


def build_describer(experts: Sequence[str]) -> footage.Describer | None:
    """Return what captions clips by the first expert of role caption; None without one.

    Args:
      experts: TOML files.
    """
    paths = connections.find_experts(experts, "caption")
    if not paths:
        return None
    connection = connections.connect(paths[0])

    def describe(clip: footage.Clip, seed: int) -> footage.Clip | Rejected:
        job = Job(clip.video, seed=seed, fps=clip.fps, about={"role": "caption"})
        (answer,) = connection.ask([job], answers.parse_caption)
        if isinstance(answer, Rejected):
            return answer
        return dataclasses.replace(
            clip,
            caption=clip.caption or tidy(answer.caption),
            nouns=clip.nouns or answer.nouns,
            origin={**clip.origin, "captioner": connection.provenance},
        )

    return describe


def choose_prompts(
    clips: Sequence[footage.Clip], seeds: Sequence[int], prompts: Sequence[str], experts: Sequence[str]
) -> list[str | Rejected]:
    """Return the prompt for each clip: a line of the text file beside it, what an expert of role instruct proposes, or one of a list.

    Args:
      clips: The clips.
      seeds: Their seeds, which draw.
      prompts: The list; {object} stands for a noun of the clip, and a prompt with it is drawn for clips that have nouns.
      experts: TOML files of the request.
    """
    proposals: list[tuple[str, ...] | Rejected] = [clip.prompts for clip in clips]
    missing = [i for i, clip in enumerate(clips) if not clip.prompts]
    paths = connections.find_experts(experts, "instruct")
    if paths and missing:
        examples = "; ".join(prompts)
        jobs = [
            Job(
                clips[i].video,
                examples,
                seed=seeds[i],
                fps=clips[i].fps,
                about={"role": "instruct", "source_caption": clips[i].caption, "nouns": list(clips[i].nouns)},
            )
            for i in missing
        ]
        for i, answer in zip(
            missing, connections.connect(paths[0]).ask(jobs, answers.parse_instructions), strict=True
        ):
            proposals[i] = answer if isinstance(answer, Rejected) else tuple(filter(names_something, answer))
    return [
        proposal if isinstance(proposal, Rejected) else _draw_prompt(proposal or prompts, clip, seed)
        for clip, seed, proposal in zip(clips, seeds, proposals, strict=True)
    ]


def _draw_prompt(prompts: Sequence[str], clip: footage.Clip, seed: int) -> str | Rejected:
    usable = [prompt for prompt in prompts if "{object}" not in prompt or clip.nouns]
    if not usable:
        return Rejected("no prompt for the clip")
    rng = build_rng(seed, "prompt")
    prompt = usable[int(rng.integers(len(usable)))]
    return (
        prompt.replace("{object}", clip.nouns[int(rng.integers(len(clip.nouns)))])
        if "{object}" in prompt
        else prompt
    )


def finish_pairs(
    outcomes: Sequence[Pair | Rejected],
    has_own_words: Sequence[bool],
    experts: Sequence[str],
    is_usable: SentenceGate,
) -> list[Pair | Rejected]:
    """Return pairs with the instructions that an expert writes, without those that an expert turns down.

    Args:
      outcomes: Pairs that passed all gates, and rejections, which stay.
      has_own_words: For each whether its sentences are people's own, which stay as they are.
      experts: TOML files of the request.
      is_usable: Tells whether a sentence may be an instruction of a pair.
    """
    results = list(outcomes)
    if paths := connections.find_experts(experts, "instruct"):
        connection = connections.connect(paths[0])
        indices = [i for i, pair in enumerate(results) if isinstance(pair, Pair) and not has_own_words[i]]
        for i, pair, answer in _ask(connection, results, indices, "instruct", answers.parse_instructions):
            results[i] = (
                answer
                if isinstance(answer, Rejected)
                else _add_instructions(pair, answer, connection, is_usable)
            )
    for path in connections.find_experts(experts, "filter"):
        connection = connections.connect(path)
        indices = [i for i, pair in enumerate(results) if isinstance(pair, Pair)]
        for i, pair, answer in _ask(connection, results, indices, "filter", answers.parse_verdict):
            if isinstance(answer, Rejected):
                results[i] = answer.within(pair.edit)
            elif not answer.keep:
                reason = f"filter {connection.spec.name}: {answer.reason or 'not kept'}"
                results[i] = Rejected(reason[:200]).within(pair.edit)
            else:
                results[i] = _add_writer(pair, "filter", connection)
    return results


def _ask(
    connection: connections.Connection,
    results: Sequence[Pair | Rejected],
    indices: Sequence[int],
    role: str,
    parse: Callable[[Any], Any],
) -> list[tuple[int, Pair, Any]]:
    """Return position, pair and answer for the indices pairs."""
    pairs = [(i, pair) for i in indices if isinstance(pair := results[i], Pair)]
    jobs = [
        Job(
            pair.source,
            pair.instructions[0],
            pair.mask,
            pair.reference,
            pair.seed,
            float(pair.provenance.get("fps") or 0),
            pair.target,
            {
                "role": role,
                "edit": pair.edit,
                "instructions": list(pair.instructions),
                "source_caption": pair.source_caption,
                "target_caption": pair.target_caption,
            },
        )
        for _, pair in pairs
    ]
    responses = connection.ask(jobs, parse)
    return [(i, pair, answer) for (i, pair), answer in zip(pairs, responses, strict=True)]


def _add_instructions(
    pair: Pair, texts: Sequence[str], connection: connections.Connection, is_usable: SentenceGate
) -> Pair:
    """Return a pair with an expert's sentences before its own first; unchanged where none of them is usable."""
    usable = [text for text in texts if is_usable(text, pair)][: MAX_INSTRUCTIONS - 1]
    if not usable:
        return pair
    words = tuple(dict.fromkeys([*usable, pair.instructions[0]]))
    return _add_writer(dataclasses.replace(pair, instructions=words), "instructor", connection)


def _add_writer(pair: Pair, name: str, connection: connections.Connection) -> Pair:
    """Return a pair whose provenance names an expert that wrote about it."""
    return dataclasses.replace(pair, provenance={**pair.provenance, name: connection.provenance})


def count_requests(
    experts: Sequence[str], pairs: int, asks_for_prompts: bool
) -> list[tuple[str, int, float]]:
    """Return the name of each expert behind a chat endpoint, the least number of requests to it, and what they cost by its own price.

    Args:
      experts: TOML files of the request.
      pairs: Number of pairs.
      asks_for_prompts: Whether recipes of the request ask role instruct for prompts.
    """
    counts = []
    for path in dict.fromkeys(experts):
        spec = connections.load_spec(path) if connections.read_role(path) != "composition" else None
        if spec is None or spec.kind != "chat":
            continue
        number = sum(1 + (role == "instruct" and asks_for_prompts) for role in spec.roles) * pairs
        counts.append((spec.name, number, number * spec.price))
    return counts
