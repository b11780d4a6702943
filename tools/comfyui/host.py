"""What the nodes need of the program around them: ComfyUI's progress bar and its button to stop. Without ComfyUI there is neither."""

try:
    import comfy.model_management
    import comfy.utils
except ImportError:
    comfy = None

# Parts of the bar; the progress of an edit is a share of them.
_PARTS = 1000


class Bar:
    """The progress bar of a running node."""

    def __init__(self):
        self._bar = None if comfy is None else comfy.utils.ProgressBar(_PARTS)

    def show(self, share: float) -> None:
        """Show how far the node is.

        Args:
          share: 0 to 1.
        """
        if self._bar is not None:
            self._bar.update_absolute(round(_PARTS * min(1.0, max(0.0, share))), _PARTS)


class StopButton:
    """ComfyUI's button to stop; as `cancel` of v2v's editor."""

    def is_set(self) -> bool:
        """Return whether it was pressed; it stays pressed until `raise_interruption`."""
        return comfy is not None and comfy.model_management.processing_interrupted()


def raise_interruption() -> None:
    """Raise what ComfyUI shows as stopped, if its button was pressed."""
    if comfy is not None:
        comfy.model_management.throw_exception_if_processing_interrupted()
