"""A service with OpenAI's POST /audio/transcriptions on this machine, which says what it is told to and remembers what it was sent."""

import contextlib
import email
import http.server
import io
import threading
import wave
from dataclasses import dataclass, field

import numpy as np


@dataclass
class TranscriptionService:
    """The service.

    Attributes:
      url: its address.
      answer: body of its answers.
      status: of its answers.
      requests: fields and headers of what came, the recording as int16 in "samples".
    """

    url: str = ""
    answer: bytes = b'{"text": "make it night"}'
    status: int = 200
    requests: list[dict] = field(default_factory=list)


@contextlib.contextmanager
def transcription_service():
    """Yield a service that runs until the block ends."""
    service = TranscriptionService()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            told = {"path": self.path, "authorization": self.headers["Authorization"]}
            for part in email.message_from_bytes(head + body).get_payload():
                name, data = (
                    part.get_param("name", header="content-disposition"),
                    part.get_payload(decode=True),
                )
                told[name] = data if name == "file" else data.decode()
            with wave.open(io.BytesIO(told.pop("file"))) as recording:
                told["rate"] = recording.getframerate()
                told["samples"] = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
            service.requests.append(told)
            self.send_response(service.status)
            self.end_headers()
            self.wfile.write(service.answer)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield service
        server.shutdown()
        thread.join()
