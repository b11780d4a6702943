"""The nodes: load a model or name a server, name a look, edit."""

import json
import math
from typing import Any

from .editors import Edit, Editor, ProcessEditor, ServerEditor, read_token, told_in_one_line
from .host import Bar, StopButton
from .media import NodeInputError, to_frames, to_images, to_mask

CATEGORY = "v2v"
# The type of the wire between the nodes.
EDITOR = "V2V_EDITOR"
# Sentences that the packaged model is known to follow, by what the node shows.
LOOKS = {
    "black and white": "make it black and white",
    "sepia": "make it sepia",
    "night": "make it night",
    "negative": "turn it into a negative",
    "brighter": "make it brighter",
    "darker": "make it darker",
    "warmer": "make it warmer",
    "colder": "make it colder",
    "paler": "make the colors paler",
    "more vivid": "make the colors more vivid",
    "spring": "make it spring",
    "autumn": "make it autumn",
    "winter": "make it winter",
    "blur": "blur it",
}
# Where, as words that follow the sentence.
PLACES = {
    "everywhere": "",
    "left half": " in the left half",
    "right half": " in the right half",
    "top half": " in the top half",
    "bottom half": " in the bottom half",
    "center": " in the center",
    "everything but the center": " everywhere but in the center",
}
LARGEST_SEED = 2**31 - 1


class LoadModel:
    """Loads a model in ComfyUI's process."""

    DESCRIPTION = "Loads a v2v model in this process. V2V Server uses one that runs elsewhere."
    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = (EDITOR,), ("editor",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  the name that ComfyUI calls
        """Return the inputs."""
        return {
            "required": {
                "model": (
                    "STRING",
                    {
                        "default": "embedded",
                        "tooltip": "embedded, a folder, or ORG/NAME on the Hugging Face Hub",
                    },
                ),
            },
            "optional": {
                "adapter": (
                    "STRING",
                    {"default": "", "tooltip": "a LoRA: a file, or ORG/NAME on the hub; empty for none"},
                ),
                "adapter_weight": ("FLOAT", {"default": 1.0, "min": -4.0, "max": 4.0, "step": 0.05}),
            },
        }

    def load(self, model: str, adapter: str = "", adapter_weight: float = 1.0) -> tuple[Editor]:
        """Load a model."""
        with told_in_one_line():
            return (ProcessEditor(model.strip() or "embedded", adapter.strip(), adapter_weight),)


class Server:
    """Names a server."""

    DESCRIPTION = (
        "Uses a server that runs v2v serve: ComfyUI's own process needs no v2v and no memory for its model."
    )
    CATEGORY, FUNCTION = CATEGORY, "connect"
    RETURN_TYPES, RETURN_NAMES = (EDITOR,), ("editor",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the inputs."""
        return {
            "required": {"address": ("STRING", {"default": "http://127.0.0.1:8080"})},
            "optional": {
                "token_variable": (
                    "STRING",
                    {
                        "default": "V2V_TOKEN",
                        "tooltip": "environment variable of ComfyUI that holds the token, which is thus not saved in workflows",
                    },
                ),
            },
        }

    def connect(self, address: str, token_variable: str = "") -> tuple[Editor]:
        """Find the server."""
        with told_in_one_line():
            return (ServerEditor(address, read_token(token_variable)),)


class Look:
    """Makes the sentence of a look that the packaged model knows."""

    DESCRIPTION = (
        "The sentence of a look that the packaged model follows, for the input instruction of V2V Edit."
    )
    CATEGORY, FUNCTION = CATEGORY, "say"
    RETURN_TYPES, RETURN_NAMES = ("STRING",), ("instruction",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the inputs."""
        return {"required": {"look": (list(LOOKS),), "place": (list(PLACES),)}}

    def say(self, look: str, place: str) -> tuple[str]:
        """Return the sentence."""
        return (LOOKS[look] + PLACES[place],)


class EditVideo:
    """Edits a clip by a sentence."""

    DESCRIPTION = (
        "Edits a clip by a sentence, optionally inside a mask, a time range, and towards a reference picture."
    )
    CATEGORY, FUNCTION = CATEGORY, "edit"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "STRING"), ("images", "report")
    OUTPUT_TOOLTIPS = ("the edited frames, of the clip's size", "settings, measurements and notes, as JSON")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Return the inputs."""
        number = {"default": 0.0, "min": 0.0, "max": 1e6, "step": 0.1}
        return {
            "required": {
                "editor": (EDITOR,),
                "images": ("IMAGE", {"tooltip": "the frames of the clip"}),
                "instruction": ("STRING", {"default": "make it sepia", "multiline": True}),
                "fps": ("FLOAT", {"default": 25.0, "min": 0.1, "max": 1000.0, "step": 0.01}),
                "seed": (
                    "INT",
                    {"default": 0, "min": 0, "max": LARGEST_SEED, "control_after_generate": True},
                ),
                "steps": (
                    "INT",
                    {"default": 0, "min": 0, "max": 10_000, "tooltip": "0 for the model's own number"},
                ),
            },
            "optional": {
                "mask": ("MASK", {"tooltip": "white is edited; one for the clip, or one a frame"}),
                "reference": ("IMAGE", {"tooltip": "how it should look: the first picture"}),
                "mask_name": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "in place of a mask: person, background, text, left, a box x,y,w,h, auto",
                    },
                ),
                "start": ("FLOAT", {**number, "tooltip": "seconds at which the edit begins"}),
                "end": ("FLOAT", {**number, "tooltip": "seconds at which it ends; 0 for the clip's end"}),
                "guidance": ("FLOAT", {**number, "max": 100.0, "tooltip": "0 for the model's own"}),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.05, "max": 1.0, "step": 0.05}),
                "amount": ("FLOAT", {"default": 1.0, "min": 0.05, "max": 2.0, "step": 0.05}),
                "detail": (["auto", "guided", "model", "tiles"],),
                "anyway": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "also a sentence that the model isn't known to follow"},
                ),
            },
        }

    def edit(
        self,
        editor: Editor,
        images: Any,
        instruction: str,
        fps: float,
        seed: int,
        steps: int,
        mask: Any = None,
        reference: Any = None,
        mask_name: str = "",
        start: float = 0.0,
        end: float = 0.0,
        guidance: float = 0.0,
        strength: float = 1.0,
        amount: float = 1.0,
        detail: str = "auto",
        anyway: bool = False,
    ) -> tuple[Any, str]:
        """Edit a clip."""
        with told_in_one_line():
            frames = to_frames(images)
            if not (math.isfinite(fps) and fps > 0):
                raise NodeInputError(f"fps: expected more than 0, got {fps}")
            place = None if mask is None else to_mask(mask, frames)
            if mask_name.strip() and place is not None:
                raise NodeInputError("mask: expected a mask or mask_name, got both; leave one out")
            settings: dict[str, Any] = {
                "seed": seed, "strength": strength, "amount": amount, "detail": detail, "anyway": anyway,
            }  # fmt: skip
            # What is 0 here is the model's, or the clip's, own.
            others = {"steps": steps, "start": start, "end": end, "guidance": guidance}
            settings |= {name: value for name, value in others.items() if value}
            request = Edit(
                frames,
                fps,
                instruction,
                mask_name.strip() or place,
                None if reference is None else to_frames(reference, "reference")[0],
                settings,
            )
            bar = Bar()
            result = editor.edit(request, bar.show, StopButton())
            bar.show(1.0)
        return to_images(result.frames), json.dumps(result.report, indent=1, default=str)


NODE_CLASS_MAPPINGS = {
    "V2VLoadModel": LoadModel,
    "V2VServer": Server,
    "V2VLook": Look,
    "V2VEdit": EditVideo,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "V2VLoadModel": "V2V Load Model",
    "V2VServer": "V2V Server",
    "V2VLook": "V2V Look",
    "V2VEdit": "V2V Edit",
}
