"""Instructions for control pairs, in both directions.

control name, direction, slots, caption → **instructions**. A finite grammar beside grammar.py's, with a vocabulary of its
own: the packaged model's tokenizer covers `grammar.vocabulary()`, and `vocabulary()` holds the additional words.
"""

from __future__ import annotations

import re

import numpy as np

from data_synth.language import grammar, templates
from data_synth.language.captions import adapt_templates, first_sentence, join_video
from data_synth.scenes import objects as ob

# Control name → noun, as in "turn this {noun} video into a video showing ..."
NOUNS = {
    "canny": "edge",
    "soft-edges": "soft edge",
    "flow": "optical flow",
    "inpainting": "covered",
    "outpainting": "framed",
    "greyscale": "black and white",
    "blur": "blurry",
    "negation": "negative",
    "saturation": "{level} saturation",
    "contrast": "{level} contrast",
    "brightness": "{level} brightness",
    "pixelation": "pixelated",
    "wave": "wavy",
    "posterisation": "posterized",
    "noise": "noisy",
    "overlay": "tinted",
    "low-resolution": "low resolution",
    "frame-drop": "stuttering",
    "depth": "depth",
    "segmentation": "segmentation",
    "motion": "optical flow",
    "physics-depth": "depth",
    "physics-motion": "optical flow",
    "physics-segmentation": "segmentation",
    "pose": "pose skeleton",
}
# Controls that keep only structure: instructions for the reverse direction need a caption.
ABSTRACT = (
    "canny",
    "soft-edges",
    "flow",
    "depth",
    "segmentation",
    "motion",
    "physics-depth",
    "physics-motion",
    "physics-segmentation",
    "pose",
)
_TO_ABSTRACT = (
    "turn this video into {a_noun} video",
    "show the {noun} map of the video",
    "convert the video to {a_noun} map",
    "extract the {noun} map from this video",
    "make {a_noun} video from this clip",
)
_FROM_ABSTRACT = (
    "turn this {noun} video into a video showing {caption}",
    "generate a video from this {noun} map showing {caption}",
    "make a real video of {caption} from this {noun} video",
    "render this {noun} video as {caption}",
)
_FROM_ABSTRACT_UNCAPTIONED = (
    "turn this {noun} video into a natural video",
    "generate a natural video from this {noun} map",
    "render this {noun} video as natural footage",
)
_TO = {
    "inpainting": (
        "cover part of the video with a black box",
        "black out a rectangle in the video",
        "hide the masked area behind a black rectangle",
    ),
    "outpainting": (
        "add black borders to the video",
        "put black bars around the picture",
        "cover the margins with black",
    ),
    "greyscale": templates.PHOTOMETRIC_TEMPLATES["greyscale"],
    "blur": (
        "blur the video",
        "make the video blurry",
        "apply a gaussian blur to the video",
        "make the video out of focus",
    ),
    "negation": templates.PHOTOMETRIC_TEMPLATES["negative"],
    "saturation": (
        "{way} the saturation of the video",
        "{way} the saturation",
        "make the saturation {level}",
    ),
    "contrast": ("{way} the contrast of the video", "{way} the contrast", "make the contrast {level}"),
    "brightness": (
        "{way} the brightness of the video",
        "{way} the brightness",
        "make the brightness {level}",
    ),
    "pixelation": ("pixelate the video", "turn the video into big pixels", "apply a mosaic to the video"),
    "wave": ("make the video wavy", "apply a wave distortion to the video", "bend the picture with waves"),
    "posterisation": ("posterize the video", "reduce the video to a few tones", "limit the number of tones"),
    "noise": ("add noise to the video", "make the video noisy", "add film grain to the video"),
    "overlay": (
        "add a {colour} overlay to the video",
        "tint the video {colour}",
        "lay a transparent {colour} layer over the video",
    ),
    "low-resolution": (
        "make the video low resolution",
        "lower the resolution of the video",
        "downscale the video",
    ),
    "frame-drop": (
        "lower the frame rate of the video",
        "make the video stutter",
        "drop most frames of the video",
    ),
}
_FROM = {
    "inpainting": (
        "fill the black box with what belongs there",
        "inpaint the black rectangle",
        "restore the covered area of the video",
    ),
    "outpainting": (
        "fill the black borders",
        "extend the picture into the black borders",
        "outpaint the video",
    ),
    "greyscale": (
        "colorize the video",
        "colourise this black and white video",
        "add natural color to the video",
    ),
    "blur": ("sharpen the video", "remove the blur from the video", "bring the video into focus"),
    "negation": ("turn this negative into a normal video", "invert the colors of this negative video"),
    "saturation": (
        "{back} the saturation of the video",
        "{back} the saturation to a natural level",
        "make the saturation natural",
    ),
    "contrast": (
        "{back} the contrast of the video",
        "{back} the contrast to a natural level",
        "make the contrast natural",
    ),
    "brightness": (
        "{back} the brightness of the video",
        "{back} the brightness to a natural level",
        "make the brightness natural",
    ),
    "pixelation": ("remove the pixelation", "restore the details of this pixelated video", "undo the mosaic"),
    "wave": ("straighten the wavy picture", "remove the wave distortion", "undo the waves"),
    "posterisation": (
        "restore smooth tones",
        "remove the banding from this posterized video",
        "bring back the smooth colors",
    ),
    "noise": ("remove the noise from the video", "denoise the video", "clean up the grain in this video"),
    "overlay": (
        "remove the {colour} overlay",
        "take the {colour} tint out of the video",
        "restore the colors under the {colour} overlay",
    ),
    "low-resolution": (
        "increase the resolution of the video",
        "upscale the video",
        "make the video sharp and detailed",
    ),
    "frame-drop": (
        "make the motion smooth",
        "raise the frame rate of the video",
        "fill in the missing frames",
    ),
}


def sample_instructions(
    name: str, forward: bool, slots: dict, caption: str, rng: np.random.Generator, noun: str = ""
) -> tuple[str, ...]:
    """Sample different instructions for one control edit.

    Args:
      name: Name of the control, as in `operators.control.CONTROLS` or `scenes.truth`, or of an external expert.
      forward: Whether the direction is clip → control video.
      slots: Words from the control.
      caption: Caption of the footage, "" if unknown.
      rng: Orders the templates.
      noun: Name of the control video, for an external expert.
    """
    noun = noun or NOUNS[name]
    if name in ABSTRACT or name not in _TO:
        captioned = adapt_templates(_FROM_ABSTRACT, caption) if caption else _FROM_ABSTRACT_UNCAPTIONED
        templates = _TO_ABSTRACT if forward else captioned
    else:
        templates = (_TO if forward else _FROM)[name]
    slot_values = {
        **slots,
        "noun": noun,
        "a_noun": f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}",
        "caption": first_sentence(caption),
        "it": "the video",
    }
    order = rng.permutation(len(templates))[:5]
    return tuple(re.sub(r"\ba (?=[aeiou])", "an ", templates[i].format(**slot_values)) for i in order)


def format_caption(name: str, caption: str, slots: dict, noun: str = "") -> str:
    """Format the caption of the control video itself."""
    noun = (noun or NOUNS[name]).format(**slots)
    prefix = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} video"
    return join_video(prefix, caption)


def vocabulary() -> list[str]:
    """Return the words of all control instructions that `grammar.vocabulary()` lacks, sorted (words of captions excluded)."""
    tables = [_TO_ABSTRACT, _FROM_ABSTRACT, _FROM_ABSTRACT_UNCAPTIONED, *_TO.values(), *_FROM.values()]
    texts = [t for row in tables for t in row] + list(NOUNS.values()) + list(ob.COLORS)
    texts += ["increase reduce high low an a video of"]
    grammar_words = set(grammar.vocabulary())
    return sorted(
        {w for text in texts for w in grammar.split_words(re.sub(r"\{\w+\}", " ", text))} - grammar_words
    )
