from v2v.config import ModelConfig
from v2v.data.pair import Pair
from v2v.errors import InputError
from v2v.pipeline.editor import EasyV2VEditor, lora_context
from v2v.pipeline.pretrained import load_pretrained
from v2v.video.video import Video
from v2v.video.video import read_video as read
from v2v.video.video import write_video as write

__all__ = [
    "EasyV2VEditor",
    "InputError",
    "ModelConfig",
    "Pair",
    "Video",
    "load_pretrained",
    "lora_context",
    "read",
    "write",
]
__version__: str
