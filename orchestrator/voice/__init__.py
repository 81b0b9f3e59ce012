"""Speak with a pulled voice on this machine. Needs onnxruntime and numpy (`kgtts[speak]`).

`open_voice` and `Voice.say` are what others build on: see orchestrator/voice/synthesis.py.
"""

from kernel_template.sound import pcm16
from orchestrator.voice.card import VoiceCard, find_card, load_card
from orchestrator.voice.finding import VoicePair, base_voice_beside, pulled_pair, pulled_voice
from orchestrator.voice.sound import check_format, find_players, play, write_sound
from orchestrator.voice.synthesis import SynthesisOptions, Utterance, Voice, open_voice

__all__ = [
    "SynthesisOptions",
    "Utterance",
    "Voice",
    "VoiceCard",
    "VoicePair",
    "base_voice_beside",
    "check_format",
    "find_card",
    "find_players",
    "load_card",
    "open_voice",
    "pcm16",
    "play",
    "pulled_pair",
    "pulled_voice",
    "write_sound",
]
