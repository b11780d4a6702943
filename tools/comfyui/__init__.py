"""Nodes for ComfyUI: link or copy this folder into ComfyUI/custom_nodes. README.md says how they are used."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
