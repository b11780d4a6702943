"""Instructions that are spoken: sound that a browser recorded, written down by a service or by pocketsphinx on this machine.

WAV of a browser → `read_recording` → **`Transcriber`** → text

The service is any that has OpenAI's POST /audio/transcriptions. Its address, model and key are settings of the server; browsers are told no more than
that there is one. pocketsphinx (extra [speech]) needs no network: its acoustic model of American English comes with the package.
"""

import importlib
import importlib.util
import io
import json
import logging
import os
import tempfile
import threading
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

import numpy as np

from v2v.errors import InputError, install_hint

logger = logging.getLogger(__name__)

# What is accepted: seconds, and bytes of a request, which so many seconds in stereo at 48 kHz need.
MOST_SECONDS = 60.0
MOST_BYTES = 12 * 2**20
# Samples a second that transcribers get.
RATE = 16_000
_RATES = (8000, 96_000)
# Seconds that a service may take, and bytes of its answer.
PATIENCE = 60.0
_LONGEST_ANSWER = 1 << 20
_LONGEST_TEXT = 4000
# Seconds of silence around what pocketsphinx hears, which it needs to find the first and the last word.
_SILENCE = 0.4
# Where pocketsphinx's dictionary has one pronunciation of two.
_PRONUNCIATIONS = {"sepia": "S EH P IY AH"}


class SpeechError(Exception):
    """Speech that could not be written down, through no fault of its sender; the message says why."""


class Transcriber(Protocol):
    """Writes down what is said."""

    @property
    def name(self) -> str:
        """Return what a page calls it."""
        ...

    def transcribe(self, samples: np.ndarray) -> str:
        """Return what is said, "" for nothing that could be understood.

        Args:
          samples: int16 [N], at `RATE`.

        Raises:
          SpeechError: it can't be had at present.
          InputError: a package is missing.
        """
        ...


class ServiceTranscriber:
    """A service with OpenAI's POST /audio/transcriptions.

    Attributes:
      name: "service".
    """

    name = "service"

    def __init__(self, url: str, model: str, key: str, patience: float = PATIENCE):
        """Take the service; nothing is sent yet.

        Args:
          url: up to and including the version, such as https://api.openai.com/v1.
          model: its name there.
          key: name of the environment variable that holds the key; without the variable no key is sent.
          patience: seconds that it may take.

        Raises:
          InputError: no such address.
        """
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InputError(f"--speech {url}: expected an address such as https://api.openai.com/v1")
        self._url, self._model, self._key = url.rstrip("/"), model, key
        self._patience = patience

    def transcribe(self, samples: np.ndarray) -> str:
        """Ask the service; see `Transcriber`."""
        import httpx

        headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(self._key, "")) else {}
        files = {"file": ("speech.wav", write_recording(samples), "audio/wav")}
        data = {"model": self._model, "response_format": "json"}
        answer = b""
        try:
            # Redirects could carry the key anywhere.
            with (
                httpx.Client(timeout=self._patience, follow_redirects=False) as client,
                client.stream("POST", f"{self._url}/audio/transcriptions", headers=headers, files=files, data=data) as response,
            ):  # fmt: skip
                for part in response.iter_bytes():
                    answer += part
                    if len(answer) > _LONGEST_ANSWER:
                        raise self._fail("answered far more than a sentence")
        except httpx.TimeoutException:
            raise self._fail(f"didn't answer within {self._patience:g} s") from None
        except (httpx.HTTPError, ValueError) as error:
            raise self._fail(f"can't be reached ({str(error) or type(error).__name__})") from None
        if response.status_code != 200:
            raise self._fail(f"answered HTTP {response.status_code}", answer[:500].decode(errors="replace"))
        try:
            content = json.loads(answer)
            text = content["text"]
        except (ValueError, RecursionError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise self._fail("answered no text", answer[:500].decode(errors="replace"))
        return clean_text(text)

    def _fail(self, reason: str, answer: str = "") -> SpeechError:
        """Return an error that tells the reason; the address and the answer stay in the server's log."""
        logger.warning("--speech %s %s %s", self._url, reason, answer)
        return SpeechError(
            f"the service that writes down speech {reason}; type the sentence, or speak again later"
        )


class LocalTranscriber:
    """pocketsphinx, on this machine.

    Attributes:
      name: "pocketsphinx".
    """

    name = "pocketsphinx"

    def __init__(self, sentences: Sequence[str] = ()):
        """Load nothing yet.

        Args:
          sentences: examples of what is said, in small letters; empty for English at large, which takes ten times as long.
        """
        self._sentences, self._decoder = tuple(sentences), None
        self._lock = threading.Lock()

    def transcribe(self, samples: np.ndarray) -> str:
        """Listen; see `Transcriber`."""
        silence = np.zeros(round(_SILENCE * RATE), np.int16)
        sound = np.concatenate([silence, samples, silence]).tobytes()
        with self._lock:
            decoder = self._find_decoder()
            decoder.start_utt()
            decoder.process_raw(sound, full_utt=True)
            decoder.end_utt()
            hypothesis = decoder.hyp()
        return clean_text(hypothesis.hypstr) if hypothesis is not None else ""

    def _find_decoder(self) -> Any:
        """Return the decoder, loaded at its first use.

        Raises:
          InputError: pocketsphinx isn't installed.
        """
        if self._decoder is None:
            try:
                pocketsphinx = importlib.import_module("pocketsphinx")
            except ImportError as error:
                raise InputError(f"speech: needs the package pocketsphinx ({error}); {install_hint('speech')}") from None  # fmt: skip
            with tempfile.TemporaryDirectory(prefix="v2v-speech-") as folder:
                models = self._write_models(pocketsphinx, Path(folder)) if self._sentences else {}
                self._decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL", **models)
        return self._decoder

    def _write_models(self, pocketsphinx: Any, folder: Path) -> dict[str, str]:
        """Write the language model of the sentences, and the pronunciation of their words; return pocketsphinx's arguments."""
        # Of all words of English a decoder would make a tree, which takes seconds.
        words = {word for sentence in self._sentences for word in sentence.split()}
        vocabulary, lines = set(), []
        path = Path(pocketsphinx.get_model_path("en-us")) / "cmudict-en-us.dict"
        for line in path.read_text(encoding="utf-8").splitlines():
            word = line.partition(" ")[0].partition("(")[0]
            if word in words:
                vocabulary.add(word)
                lines.append(line)
        lines += [f"{word}(9) {sounds}" for word, sounds in _PRONUNCIATIONS.items() if word in vocabulary]
        examples = [sentence for sentence in self._sentences if vocabulary.issuperset(sentence.split())]
        (folder / "words.dict").write_text("\n".join(lines) + "\n", encoding="utf-8")
        model = importlib.import_module("pocketsphinx.lm").ArpaBoLM(text="\n".join(examples), add_start=True)
        model.compute()
        model.write_file(str(folder / "sentences.arpa"))
        return {"lm": str(folder / "sentences.arpa"), "dict": str(folder / "words.dict")}


def find_transcriber(
    url: str = "", model: str = "whisper-1", key: str = "OPENAI_API_KEY", sentences: Sequence[str] = ()
) -> Transcriber | None:
    """Return the service where one is named, else pocketsphinx where it is installed, else None.

    Args:
      url: of the service; "" for none.
      model: of the service.
      key: name of the environment variable with its key.
      sentences: for pocketsphinx, as `LocalTranscriber` takes them.

    Raises:
      InputError: no such address.
    """
    if url:
        return ServiceTranscriber(url, model, key)
    return LocalTranscriber(sentences) if importlib.util.find_spec("pocketsphinx") is not None else None


def read_recording(file: BinaryIO) -> np.ndarray:
    """Read a WAV file of 16-bit PCM, one or two channels.

    Args:
      file: at its beginning.

    Returns:
      int16 [N], at `RATE`.

    Raises:
      InputError: another format, no sound in it, or more than `MOST_SECONDS`.
    """
    expected = "file: expected a WAV recording of 16-bit PCM in one or two channels"
    try:
        with wave.open(file, "rb") as recording:
            channels, rate = recording.getnchannels(), recording.getframerate()
            if recording.getsampwidth() != 2 or channels not in (1, 2):
                raise InputError(f"{expected}, got {8 * recording.getsampwidth()} bits in {channels}")
            if not _RATES[0] <= rate <= _RATES[1]:
                raise InputError(f"{expected} at {_RATES[0]} to {_RATES[1]} Hz, got {rate} Hz")
            # A damaged header may claim any number of samples; what is there counts.
            data = recording.readframes(int(MOST_SECONDS * rate) + 1)
    except (wave.Error, EOFError, OSError, ValueError) as error:
        raise InputError(f"{expected}, got: {error or 'an incomplete file'}") from None
    samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    if len(samples) > MOST_SECONDS * rate:
        raise InputError(f"file: expected at most {MOST_SECONDS:g} seconds of speech, got more")
    if not len(samples):
        raise InputError(f"{expected}, got one without sound")
    return _resample(samples.mean(1), rate)


def _resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return samples at `RATE`, int16; frequencies beyond half of it are left out."""
    if rate != RATE:
        count = max(1, round(len(samples) * RATE / rate))
        samples = np.fft.irfft(np.fft.rfft(samples)[: count // 2 + 1], count) * (count / len(samples))
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def write_recording(samples: np.ndarray) -> bytes:
    """Return a WAV file.

    Args:
      samples: int16 [N], at `RATE`.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(RATE)
        recording.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def clean_text(text: str) -> str:
    """Return a text as one line without control characters, at most as long as an instruction."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:_LONGEST_TEXT]
