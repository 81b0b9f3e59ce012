"""eSpeak NG by way of the Python package espeakng-loader (GPL-3.0), which brings the library alone.

Kaggle's image has no eSpeak NG, and a session cannot install programs of the system; most laptops have none
either. `phonemes` calls the library in this process. As a program, this file is as much of `espeak-ng` as
Coqui's phonemizer calls:

    python -I -S espeak.py FOLDER [--version | --voices | -v LANGUAGE -f FILE]

FOLDER is where the package is: the program starts once for each text, so Python need not look for packages.
The phonemes are in IPA, separated by `_`, as with --ipa=1; other options are ignored. The output is that of
eSpeak NG's own program, 1.51. Standard library only, and none of this package, since it runs alone.
"""

import atexit
import contextlib
import ctypes
import functools
import os
import sys
import threading
from typing import Any

PACKAGE = "espeakng_loader"
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: no sound device is opened.
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8 = 1  # espeakCHARS_UTF8
_IPA_SEPARATED = 0x02 | ord("_") << 8  # The bits of espeak_TextToPhonemes.
_LONGEST_DATA_PATH = 120  # Bytes. eSpeak NG has room for 160, and silently looks elsewhere if it is longer.
# What each line of its table begins with; Coqui reads the second and the fourth column.
_HEADING = "Pty Language       Age/Gender VoiceName          File                 Other Languages"
_lock = threading.Lock()  # The library has one state for the whole process.


class EspeakError(Exception):
    """eSpeak NG cannot be used; the sentence says why."""


class _Voice(ctypes.Structure):
    """The struct espeak_VOICE."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("rest", ctypes.c_char * 24),
    )


def phonemes(text: str, language: str) -> list[str]:
    """Return the phonemes of each clause of a text, separated by `_`. Threads may call it.

    Raises:
        EspeakError: the package is missing or does not work here, or it has no such language.
    """
    with _lock:
        library = _library()
        if library.espeak_SetVoiceByName(language.encode()) != 0:
            raise EspeakError(f"eSpeak NG has no voice {language!r}")
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        place = ctypes.c_char_p(text.replace("\0", " ").encode())
        found = []
        while place.value is not None:  # A clause each time.
            made = library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _IPA_SEPARATED)
            if made:
                found.append(made.decode().strip())
        return found


def version() -> str:
    """Return the version of the library, such as 1.52.0.

    Raises:
        EspeakError: as `phonemes`.
    """
    with _lock:
        library = _library()
        library.espeak_Info.restype = ctypes.c_char_p
        return str(library.espeak_Info(None).decode().split()[0])


@functools.cache
def _library() -> Any:
    """Return the library, ready."""
    try:
        import espeakng_loader  # noqa: PLC0415 - an extra; for the program, FOLDER has it.
    except ImportError as error:
        raise EspeakError("the package espeakng-loader is not installed") from error
    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = _reachable(str(espeakng_loader.get_data_path()))
    except OSError as error:
        raise EspeakError(f"the library of espeakng-loader cannot be used here: {error}") from error
    if library.espeak_Initialize(_SYNCHRONOUS, 0, os.path.dirname(data).encode(), _DONT_EXIT) < 0:  # noqa: PTH120 - pathlib takes long to import.
        raise EspeakError("the library of espeakng-loader cannot be used here")
    return library


def _reachable(data: str) -> str:
    """Return the data's path, or that of a link or a copy if it is too long for eSpeak NG."""
    if len(data.encode()) <= _LONGEST_DATA_PATH:
        return data
    import shutil  # noqa: PLC0415 - only here, since both take longer than all else.
    import tempfile  # noqa: PLC0415

    folder = tempfile.mkdtemp(prefix="kgtts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    short = os.path.join(folder, os.path.basename(data))  # noqa: PTH118, PTH119 - as above.
    try:
        os.symlink(data, short)  # noqa: PTH211 - as above.
    except OSError:  # Windows asks for a privilege.
        shutil.copytree(data, short)
    return short


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _list_voices(library: Any) -> None:
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    found = library.espeak_ListVoices(None)
    _say(_HEADING)
    index = 0
    while found[index]:
        voice = found[index].contents
        language = ctypes.string_at(voice.languages + 1).decode()  # Its first byte is a priority.
        name = (voice.name or b"-").decode().replace(" ", "_")
        _say(f" 5  {language:<15} --/M      {name:<18} {(voice.identifier or b'').decode()}")
        index += 1


def main(arguments: list[str]) -> int:
    """Do what the arguments ask; the first is the folder of the package."""
    sys.path.insert(0, arguments.pop(0))
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # It is a text file.
    if "--version" in arguments:
        _say(f"eSpeak NG text-to-speech: {version()}  Data at: a package")
    elif any(item.startswith("--voices") for item in arguments):
        _list_voices(_library())
    else:
        language = arguments[arguments.index("-v") + 1] if "-v" in arguments else "en"
        with open(arguments[arguments.index("-f") + 1], encoding="utf-8") as file:  # noqa: PTH123 - as above.
            for clause in phonemes(file.read(), language):
                _say(clause)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        try:
            raise SystemExit(main(sys.argv[1:]))
        except EspeakError as failure:
            raise SystemExit(f"espeak-ng: {failure}") from failure
