"""Serve voices over HTTP: a page to type and hear, and speech as OpenAI's clients ask for it.

    voices      the voices that are served, and which of them a request means
    request     what a client may ask for, and the errors that it gets
    formats     samples -> WAV, MP3, FLAC, Opus or PCM, sentence by sentence
    speech      POST /v1/audio/speech: a bounded number of requests, spoken in turns
    response    a request's body, and what has been sent to it
    guard       who may ask: host names, origins, the token; the headers of every response
    connection  connections that are too slow or too many
    server      all of it on a socket, from start to a clean end

Needs the extra `serve` (starlette, uvicorn, soundfile, soxr, prometheus-client and what `speak` needs).
"""

from orchestrator.serve.guard import Access, read_token
from orchestrator.serve.server import Server
from orchestrator.serve.speech import Limits
from orchestrator.serve.voices import ServedVoice, Voices, open_voices

__all__ = ["Access", "Limits", "ServedVoice", "Server", "Voices", "open_voices", "read_token"]
