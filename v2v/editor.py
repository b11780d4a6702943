"""The editor under its first import path; it lives in `v2v.pipeline.editor`."""

from v2v.pipeline.editor import EasyV2VEditor, lora_context

__all__ = ["EasyV2VEditor", "lora_context"]
