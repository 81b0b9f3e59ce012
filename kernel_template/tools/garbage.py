"""Keeps Python from looking for garbage among the million objects that torch and Coqui TTS leave."""

import atexit
import gc


def end_quickly() -> None:
    """Let this process end without looking through all objects, which takes up to a second."""
    atexit.register(gc.freeze)


def import_quickly() -> None:
    """Let this process, which only imports, not look through them meanwhile either."""
    gc.disable()
    end_quickly()
