"""Speaking with a pulled voice: onnxruntime and numpy (the extra `speak`), neither torch nor TTS."""

from orchestrator.voice.card import CARD_FILE, VoiceCard, card_place, load_card
from orchestrator.voice.finding import Pair, pulled_pair, pulled_voice, voice_beside
from orchestrator.voice.player import find_players, play
from orchestrator.voice.sentences import Piece, split_text
from orchestrator.voice.sound import write_wav
from orchestrator.voice.text import Letters, letters_of
from orchestrator.voice.voice import Manner, Utterance, Voice, open_voice, sound_of

__all__ = [
    "CARD_FILE",
    "Letters",
    "Manner",
    "Pair",
    "Piece",
    "Utterance",
    "Voice",
    "VoiceCard",
    "card_place",
    "find_players",
    "letters_of",
    "load_card",
    "open_voice",
    "play",
    "pulled_pair",
    "pulled_voice",
    "sound_of",
    "split_text",
    "voice_beside",
    "write_wav",
]
