"""Stand-in for torchcodec on machines without it: coqui-tts 0.28 only looks whether the module is there.

With torch >= 2.9 `import TTS` refuses to go on otherwise; the stand-in torchaudio beside it needs none.
"""

__version__ = "0.0.0+standin"
