"""As much of the program `espeak-ng` as Coqui's phonemizer calls, by way of the package espeakng-loader.

    python espeak_program.py FOLDER [--version | --voices | -v LANGUAGE -f FILE]

Kaggle's image has no eSpeak NG, and a session cannot install programs of the system. espeakng-loader brings
the library alone (GPL-3.0; name it in install.packages). FOLDER is where that package is: this program starts
once for each text, so Python need not look for its packages. The phonemes are in IPA, separated by `_`, as
with --ipa=1; other options are ignored. The output is that of eSpeak NG's own program, 1.51.
"""

import ctypes
import os
import sys
from typing import Any

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: no sound device is opened.
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_UTF8 = 1  # espeakCHARS_UTF8
_IPA_SEPARATED = 0x02 | ord("_") << 8  # The bits of espeak_TextToPhonemes.
_LONGEST_DATA_PATH = 120  # Bytes. eSpeak NG has room for 160, and silently looks elsewhere if it is longer.
# What each line of its table begins with; Coqui reads the second and the fourth column.
_HEADING = "Pty Language       Age/Gender VoiceName          File                 Other Languages"


class _Voice(ctypes.Structure):
    """The struct espeak_VOICE."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("rest", ctypes.c_char * 24),
    )


def _open() -> Any:
    """Return the library, ready."""
    import espeakng_loader  # noqa: PLC0415 - FOLDER has it.

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data: str = str(espeakng_loader.get_data_path())
    if len(data.encode()) > _LONGEST_DATA_PATH:
        import tempfile  # noqa: PLC0415 - only here, since it takes longer than all else.

        link = os.path.join(tempfile.mkdtemp(), os.path.basename(data))  # noqa: PTH118, PTH119 - as above.
        os.symlink(data, link)  # noqa: PTH211 - as above.
        data = link
    if library.espeak_Initialize(_SYNCHRONOUS, 0, os.path.dirname(data).encode(), _DONT_EXIT) < 0:  # noqa: PTH120 - as above.
        raise SystemExit("espeak-ng: the library of espeakng-loader cannot be used here")
    return library


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _version(library: Any) -> None:
    library.espeak_Info.restype = ctypes.c_char_p
    _say(f"eSpeak NG text-to-speech: {library.espeak_Info(None).decode().split()[0]}  Data at: a package")


def _voices(library: Any) -> None:
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


def _phonemes(library: Any, language: str, text: str) -> None:
    if library.espeak_SetVoiceByName(language.encode()) != 0:
        raise SystemExit(f"espeak-ng: there is no voice {language}")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    place = ctypes.c_char_p(text.encode())
    while place.value is not None:  # A clause each time.
        made = library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _IPA_SEPARATED)
        if made:
            _say(made.decode().strip())


def main(arguments: list[str]) -> int:
    """Do what the arguments ask; the first is the folder of the package."""
    sys.path.insert(0, arguments.pop(0))
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # It is a text file.
    library = _open()
    if "--version" in arguments:
        _version(library)
    elif any(item.startswith("--voices") for item in arguments):
        _voices(library)
    else:
        language = arguments[arguments.index("-v") + 1] if "-v" in arguments else "en"
        with open(arguments[arguments.index("-f") + 1], encoding="utf-8") as file:  # noqa: PTH123 - as above.
            _phonemes(library, language, file.read())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
