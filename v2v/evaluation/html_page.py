"""Pages that open from disk: a template of page/ with its style, scripts, data and clips in one file.

page/, sweep/report.py, training_report.py, study.py -> **html_page**
"""

import html
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any

import av

from v2v.evaluation.metrics.clips import Clip, resize_frame
from v2v.video.encoder import DETERMINISTIC

PAGE_FOLDER = Path(__file__).parent / "page"


# How pages end: what they show, and what shows it.
_SCRIPTS = Template("""\
<script type="application/json" id="data">$data</script>
<script type="application/json" id="media">$media</script>
<script>
$script
</script>""")


def fill_page(name: str, title: str, data: Any, media: Any, scripts: Sequence[str]) -> str:
    """Return a page as HTML.

    Args:
      name: of its content in page/, NAME.html, with a style of its own where there is NAME.css.
      title: of the page.
      data: JSON-able values that its scripts read from #data.
      media: the same of #media, which hold clips as base64.
      scripts: files of page/, in this order.
    """
    controls = (PAGE_FOLDER / "controls.html").read_text()
    content = (PAGE_FOLDER / f"{name}.html").read_text()
    script = "\n".join((PAGE_FOLDER / file).read_text() for file in scripts)
    body = Template(content).substitute(title=html.escape(title), controls=controls)
    body += _SCRIPTS.substitute(data=inline_json(data), media=inline_json(media), script=script)
    style = PAGE_FOLDER / f"{name}.css"
    return frame_page(title, body, style.read_text() if style.exists() else "")


def frame_page(title: str, body: str, style: str = "") -> str:
    """Return a page as HTML, with the head and the style that all pages share.

    Args:
      title: of the page.
      body: what it shows, HTML.
      style: CSS that it has beside the shared one.
    """
    frame, css = ((PAGE_FOLDER / file).read_text() for file in ("frame.html", "common.css"))
    return Template(frame).substitute(title=html.escape(title), css=css, style=style, body=body)


def encode_small(clip: Clip, path: Path, fps: float, side: int, crf: str) -> dict[str, int]:
    """Write a small H.264 copy of a clip for browsers, with a key frame every half second.

    Args:
      clip: the clip.
      path: the MP4 file.
      fps: frames a second of the copy; frames are kept as they are.
      side: longest side in pixels.
      crf: x264's quality.

    Returns:
      its frames, width and height.
    """
    scale = min(1.0, side / max(clip.size))
    height, width = (max(2, round(n * scale / 2) * 2) for n in clip.size)
    rate = Fraction(fps).limit_denominator(1001)
    options = {"crf": crf, "preset": "veryfast", "g": str(max(1, round(fps / 2))), "bf": "0"} | DETERMINISTIC
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in clip:
            picture = av.VideoFrame.from_ndarray(resize_frame(frame, height, width), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return {"frames": len(clip), "width": width, "height": height}


def inline_json(value: Any) -> str:
    """Format JSON so that it can stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
