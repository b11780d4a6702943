"""Options of `v2v app` and `v2v serve` about what the page hears and what somebody points at there."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from v2v.app.mask_tasks import MaskTracker
    from v2v.app.speech import Transcriber
    from v2v.cli.mask_expert import MaskExpert
    from v2v.pipeline.editor import EasyV2VEditor


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    parser.add_argument(
        "--mask-expert",
        metavar="FILE.toml",
        help="expert of role mask, as `v2v synth --expert` takes them, such as SAM 2: it finds the thing that is clicked or pointed at on the page "
        "and, with follows = true, follows painted masks through the clip (default: by colors and optical flow)",
    )
    speech = parser.add_argument_group(
        "speech", "for browsers that can't write down what is said; without --speech pocketsphinx does it, if it is installed ([speech])"
    )  # fmt: skip
    speech.add_argument(
        "--speech",
        default="",
        metavar="URL",
        help="service with OpenAI's /audio/transcriptions, such as https://api.openai.com/v1 or http://localhost:8000/v1",
    )
    speech.add_argument(
        "--speech-model", default="whisper-1", metavar="NAME", help="its model (default: whisper-1)"
    )
    speech.add_argument(
        "--speech-key",
        default="OPENAI_API_KEY",
        metavar="VARIABLE",
        help="environment variable that holds its key, which no browser is told (default: OPENAI_API_KEY)",
    )


def find_speech(args: argparse.Namespace, editor: EasyV2VEditor | None) -> Transcriber | None:
    """Return what writes down speech, None for nothing.

    Args:
      args: of the command.
      editor: with the model that is spoken to; None where it is loaded elsewhere.

    Raises:
      InputError: no such address.
    """
    from v2v.app.speech import find_transcriber
    from v2v.language.spoken import list_spoken_sentences

    abilities = None if editor is None else editor.model.abilities
    sentences = [] if abilities is None else list_spoken_sentences(abilities)
    return find_transcriber(args.speech, args.speech_model, args.speech_key, sentences)


def find_mask_expert(args: argparse.Namespace) -> MaskExpert | None:
    """Return the expert of --mask-expert; None without one.

    Raises:
      InputError: the file can't be read, or describes another role.
    """
    if not args.mask_expert:
        return None
    from data_synth.experts.spec import load_spec
    from v2v.cli.mask_expert import MaskExpert

    return MaskExpert(load_spec(args.mask_expert))


def choose_tracker(expert: MaskExpert | None) -> MaskTracker:
    """Return what carries painted masks through a clip: the expert where it can, else optical flow."""
    if expert is not None and expert.follows:
        return expert.track
    from v2v.video.mask_tracking import track_mask

    return track_mask
