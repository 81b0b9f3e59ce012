"""Stand-in for torchcodec: with torch >= 2.9, coqui-tts 0.28 refuses to be imported if the module is missing.

It only checks that the module exists, and the stand-in for torchaudio does not use it.
"""

__version__ = "0.0.0+standin"
