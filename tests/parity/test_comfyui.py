"""The nodes for ComfyUI with torch's tensors, as ComfyUI hands them over, through the packaged model."""

import numpy as np
import pytest

from tests.example_clips import picture

torch = pytest.importorskip("torch")

from tools.comfyui import nodes
from tools.comfyui.media import to_frames, to_images
from v2v import EasyV2VEditor

CLIP = picture(5, 48, 64)


def test_tensors_in_and_out():
    images = torch.from_numpy(CLIP.astype(np.float32) / 255).requires_grad_()
    mask = torch.zeros((1, 48, 64))
    mask[:, :, :32] = 1
    (editor,) = nodes.LoadModel().load("embedded")
    (sentence,) = nodes.Look().say("sepia", "everywhere")
    edited, report = nodes.EditVideo().edit(editor, images, sentence, 25.0, 7, 0, mask=mask)
    assert isinstance(edited, torch.Tensor) and edited.dtype == torch.float32 and edited.shape == images.shape
    assert 0 <= float(edited.min()) and float(edited.max()) <= 1 and '"seed": 7' in report
    white = np.uint8(255 * mask[0].numpy())
    frames = EasyV2VEditor().edit_video(CLIP, sentence, mask=white, seed=7).frames
    np.testing.assert_array_equal(np.rint(edited.numpy() * 255), frames)
    assert torch.equal(edited[:, :, 40:], images.detach()[:, :, 40:])


def test_half_precision_and_gray_become_pictures():
    gray = torch.linspace(0, 1, 16, dtype=torch.float16).reshape(1, 4, 4, 1)
    frames = to_frames(gray)
    assert frames.shape == (1, 4, 4, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(to_images(frames)[..., :1], gray.float(), atol=2e-3)
