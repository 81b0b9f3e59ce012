"""Speak sentences with a Coqui checkpoint, and print one JSON line for each.

Each line is
`{"sample": {"file", "text", "spoken", "seconds", "sample_rate", "peak", "silent", "unknown", "error"}}`.
The files are 16-bit mono WAV; `spoken` is the text in the letters that the voice can say, if it is another;
`unknown` lists the characters that it does not know. If a sentence fails, its line has the error, and the
exit code is 1.
"""

import argparse
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.utils.synthesizer import Synthesizer

from kernel_template.text import Vocabulary, for_voice, spoken
from kernel_template.text.tokens import character_ids, cleaner_steps

_FULL_SCALE = 32767.0
_SILENCE = 10 ** (-60 / 20)  # A peak of -60 dB.


def write_wav(path: Path, samples: Any, sample_rate: int) -> float:
    """Write samples in -1…1 as 16-bit mono, atomically. Returns the peak before clipping."""
    values = np.nan_to_num(np.asarray(samples, dtype=np.float32).reshape(-1))
    peak = float(np.abs(values).max(initial=0.0))
    data = (np.clip(values, -1.0, 1.0) * _FULL_SCALE).astype("<i2").tobytes()
    part = path.with_name(f".{path.name}.part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(data)
    part.replace(path)
    return peak


class LoadedVoice:
    """A loaded checkpoint. Of several speakers or languages it uses the first.

    Attributes:
        sample_rate: samples in a second.
        unknown: the characters of the last sentence that the voice does not know.
        spoken: the last sentence in the letters that the voice can say.
    """

    def __init__(self, config: Path, checkpoint: Path, letters: dict[str, int] | None) -> None:
        self._synthesizer = Synthesizer(
            tts_checkpoint=str(checkpoint), tts_config_path=str(config), use_cuda=torch.cuda.is_available()
        )
        self.sample_rate = int(self._synthesizer.output_sample_rate)
        self.unknown: list[str] = []
        self.spoken = ""
        model = self._synthesizer.tts_model
        self._tokenizer = getattr(model, "tokenizer", None)
        names = getattr(getattr(model, "speaker_manager", None), "speaker_names", None)
        self._speaker, self._speakers = self._first(names), list(names or [])
        self._language = self._first(
            getattr(getattr(model, "language_manager", None), "language_names", None)
        )

        self._vocabulary = self._voice_letters(letters)

    def _voice_letters(self, counts: dict[str, int] | None) -> Vocabulary | None:
        """What the voice can say; None if it is not known, or if it speaks phonemes."""
        characters = getattr(self._tokenizer, "characters", None)
        if characters is None or getattr(self._tokenizer, "use_phonemes", False):
            return None
        cleaner = getattr(getattr(self._synthesizer, "tts_config", None), "text_cleaner", None)
        return Vocabulary(frozenset(character_ids(characters)), counts, cleaner_steps(cleaner, None) or ())

    @staticmethod
    def _first(names: Any) -> str | None:
        listed = list(names or [])
        return str(listed[0]) if len(listed) > 1 else None

    def speak(self, text: str, speaker: str | None = None) -> Any:
        """Speak a sentence, always in the same way. Returns its samples; sets `unknown` and `spoken`.

        `speaker` speaks it if the voice has a speaker of that name.

        Raises:
            ValueError: there is no sound.
        """
        lost: list[str] = []
        self.spoken = text
        if self._vocabulary is not None:
            fitted = for_voice(spoken(text), self._vocabulary)
            self.spoken, lost = fitted.text, [loss.character for loss in fitted.harmful]
        who = speaker if speaker in self._speakers else self._speaker
        torch.manual_seed(0)  # The same checkpoint speaks a sentence the same way each time.
        if self._tokenizer is not None:
            self._tokenizer.not_found_characters = []  # Coqui collects them here, each once.
        # It is one sentence already; Coqui's splitter does not know the Bangla full stop.
        sound = self._synthesizer.tts(
            self.spoken, speaker_name=who, language_name=self._language, split_sentences=False
        )
        # Coqui appends half a second of silence.
        samples = np.trim_zeros(np.asarray(sound, dtype=np.float32), "b")
        missed = getattr(self._tokenizer, "not_found_characters", None) or []
        self.unknown = list(dict.fromkeys((*lost, *missed)))
        if not len(samples):
            raise ValueError("the voice makes no sound")
        return samples


def main(arguments: list[str] | None = None) -> int:
    """Speak all sentences. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, required=True, help="a JSON file: a list of texts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--letters", type=Path, help="a JSON file: the counts of the training texts' letters")
    asked = parser.parse_args(arguments)
    sentences = json.loads(asked.sentences.read_text(encoding="utf-8"))
    letters = json.loads(asked.letters.read_text(encoding="utf-8")) if asked.letters else None
    voice = LoadedVoice(asked.config, asked.checkpoint, letters)
    asked.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number, text in enumerate(sentences, start=1):
        record: dict[str, Any] = {"file": f"{number:02d}.wav", "text": text, "error": None}
        try:
            samples = voice.speak(text)
            record["sample_rate"] = voice.sample_rate
            record["seconds"] = round(len(samples) / voice.sample_rate, 3)
            peak = write_wav(asked.out / record["file"], samples, voice.sample_rate)
            record |= {"peak": round(peak, 4), "silent": peak < _SILENCE, "unknown": voice.unknown}
            if voice.spoken != text:
                record["spoken"] = voice.spoken
        except Exception as error:  # noqa: BLE001 - the other sentences are still spoken.
            failed += 1
            record["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.stdout.write("\n" + json.dumps({"sample": record}) + "\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
