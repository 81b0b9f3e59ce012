"""Speak with a pulled voice on this machine. Needs onnxruntime and numpy (`kgtts[speak]`)."""

from orchestrator.voice.card import VoiceCard, find_card, load_card
from orchestrator.voice.finding import VoicePair, base_voice_beside, pulled_pair, pulled_voice
from orchestrator.voice.sentences import Piece, split_text
from orchestrator.voice.sound import find_players, pcm16, play, write_wav
from orchestrator.voice.synthesis import SynthesisOptions, Utterance, Voice, open_voice

__all__ = [
    "Piece",
    "SynthesisOptions",
    "Utterance",
    "Voice",
    "VoiceCard",
    "VoicePair",
    "base_voice_beside",
    "find_card",
    "find_players",
    "load_card",
    "open_voice",
    "pcm16",
    "play",
    "pulled_pair",
    "pulled_voice",
    "split_text",
    "write_wav",
]
