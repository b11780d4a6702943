"""Files for tests, made by PyAV: every oddity a stranger's video may bring."""

from fractions import Fraction

import av
import numpy as np


def picture(T: int = 8, H: int = 48, W: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth moving colours, uint8 [T, H, W, 3]; smooth, so that 4:2:0 and x264 cost little. Top left is brightest."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    t, y, x = np.meshgrid(np.arange(T) / 20, np.linspace(0, 1, H), np.linspace(0, 1, W), indexing="ij")
    waves = [np.sin(4 * (x + k * t) + 3 * y + phase) for k, phase in enumerate(phases)]
    light = 60 * (1 - x) * (1 - y)
    return np.clip(110 + light[..., None] + 50 * np.stack(waves, -1), 0, 255).astype(np.uint8)


def write(
    path,
    frames,
    *,
    codec="libx264",
    pix_fmt="yuv420p",
    fps=25,
    pts=None,
    time_base=None,
    rotation=None,
    tones=(),
    audio_codec="aac",
    audio_start=0.0,
    container_options=None,
    codec_options=None,
):
    """Encodes frames (RGB) as told; `pts` are ticks of `time_base`, `tones` are frequencies, one audio track each."""
    with av.open(str(path), "w", options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=fps, options=codec_options or {})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        if time_base:
            stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(**rotation)
        tracks = [out.add_stream(audio_codec, rate=48000, layout="mono") for _ in tones]
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
            frame.pts = pts[index] if pts else index
            frame.time_base = time_base or Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for track, tone in zip(tracks, tones, strict=True):
            seconds = np.arange(48000 * len(frames) // fps) / 48000
            wave = (0.5 * np.sin(2 * np.pi * tone * seconds)).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(wave, format="flt", layout="mono")
            samples.sample_rate, samples.pts = 48000, round(48000 * audio_start)
            samples.time_base = Fraction(1, 48000)
            resampler = av.AudioResampler(format=track.codec_context.format, layout="mono", rate=48000)
            for piece in [*resampler.resample(samples), *resampler.resample(None)]:
                out.mux(track.encode(piece))
            out.mux(track.encode(None))
    return path


def sound(path, track: int = 0) -> tuple[np.ndarray, float]:
    """(samples of one audio track, second at which they start), decoded."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=track))
    return np.concatenate([f.to_ndarray().reshape(-1).astype(np.float32) for f in frames]), frames[0].time


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(
        10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2)))
    )
