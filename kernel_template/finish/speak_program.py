"""Speak sentences with a Coqui checkpoint, and print one JSON line for each.

Each line is `{"sample": {…}}`, whose fields are those of contract.SpokenSample. The files are 16-bit mono WAV
with the sound that `kgtts say` gives for the same text and variation: it is read and split by the same code,
and nothing is cut off. If a sentence fails, its line has the error, and the exit code is 1.
"""

import argparse
import importlib
import json
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.utils.synthesizer import Synthesizer

from kernel_template.sound import SAMPLE_BYTES, pcm16
from kernel_template.sound_check import Reference, measure, oddities
from kernel_template.text.sentences import read, sentences
from kernel_template.text.vocabulary import Vocabulary
from kernel_template.tools.garbage import end_quickly

_PADDING = 10_000  # Samples of silence that Coqui's synthesizer appends.


def write_wav(path: Path, samples: Any, sample_rate: int) -> None:
    """Write samples in -1…1 as 16-bit mono, atomically."""
    part = path.with_name(f".{path.name}.part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(sample_rate)
        file.writeframes(pcm16(np.nan_to_num(samples, posinf=0.0, neginf=0.0), 0.0, sample_rate))
    part.replace(path)


class LoadedVoice:
    """A loaded checkpoint. Of several speakers or languages it uses the first.

    Attributes:
        sample_rate: samples in a second.
    """

    def __init__(self, config: Path, checkpoint: Path, letters: dict[str, int] | None) -> None:
        self._synthesizer = Synthesizer(
            tts_checkpoint=str(checkpoint), tts_config_path=str(config), use_cuda=torch.cuda.is_available()
        )
        self.sample_rate = int(self._synthesizer.output_sample_rate)
        model, settings = self._synthesizer.tts_model, getattr(self._synthesizer, "tts_config", None)
        # Coqui cuts speech at the first 0.8 s below -45 dB, which voices of other levels are in mid-sentence;
        # the default of audio settings that do not name it is to do so.
        audio = getattr(settings, "audio", None)
        if isinstance(audio, dict):
            audio["do_trim_silence"] = False
        elif audio is not None:
            audio.do_trim_silence = False
        module = importlib.import_module(Synthesizer.__module__)
        self._padding = int(getattr(module, "PAD_SILENCE_SAMPLES", _PADDING))
        self._tokenizer = getattr(model, "tokenizer", None)
        speakers = getattr(model, "speaker_manager", None)
        self._speaker, self._speakers = _first(speakers), list(getattr(speakers, "speaker_names", None) or [])
        self._language = _language(getattr(model, "language_manager", None), settings)
        self._vocabulary = self._voice_letters(letters, settings)

    def _voice_letters(self, counts: dict[str, int] | None, settings: Any) -> Vocabulary | None:
        """What the voice can say; None if that is not known."""
        if getattr(self._tokenizer, "characters", None) is None:
            return None
        cleaner = getattr(settings, "text_cleaner", None)
        return Vocabulary.of_tokenizer(self._tokenizer, cleaner, self._language, counts)

    def speak(self, text: str, speaker: str | None = None) -> tuple[Any, str, list[str]]:
        """Speak a text, always in the same way.

        `speaker` speaks it if the voice has a speaker of that name.

        Returns:
            Its samples; the text as it was spoken; the characters that the voice does not know.

        Raises:
            ValueError: there is no sound.
        """
        pieces, lost = [(text, 0.0)], []
        if self._vocabulary is not None:
            pieces = [(item.text, item.pause_s) for item in sentences(text, self._vocabulary)]
            lost = [loss.character for part in read(text, self._vocabulary) for loss in part.said.harmful]
        who = speaker if speaker in self._speakers else self._speaker
        torch.manual_seed(0)  # The same checkpoint speaks a sentence the same way each time.
        if self._tokenizer is not None:
            self._tokenizer.not_found_characters = []  # Coqui collects them here, each once.
        sounds = []
        for piece, pause_s in pieces:
            sounds += [self._speak(piece, who), np.zeros(round(pause_s * self.sample_rate), dtype=np.float32)]
        missed = getattr(self._tokenizer, "not_found_characters", None) or []
        samples = np.concatenate(sounds) if sounds else np.zeros(0, dtype=np.float32)
        if not len(samples):
            raise ValueError("the voice makes no sound")
        said = " ".join(piece for piece, _ in pieces)
        return samples, said, list(dict.fromkeys((*lost, *missed)))

    def _speak(self, sentence: str, speaker: str | None) -> Any:
        # It is one sentence already; Coqui's splitter does not know the Bangla full stop.
        sound = self._synthesizer.tts(
            sentence, speaker_name=speaker, language_name=self._language, split_sentences=False
        )
        samples = np.asarray(sound, dtype=np.float32).reshape(-1)
        if len(samples) >= self._padding and not np.any(samples[-self._padding :]):
            samples = samples[: -self._padding]
        return samples


def _first(manager: Any) -> str | None:
    """The name with the lowest id, as `kgtts say` takes it; None if there is only one."""
    ids = getattr(manager, "name_to_id", None)
    if isinstance(ids, Mapping) and len(ids) > 1:
        return str(min(ids, key=lambda name: ids[name]))
    listed = list(getattr(manager, "speaker_names", None) or [])
    return str(listed[0]) if len(listed) > 1 else None


def _language(manager: Any, settings: Any) -> str | None:
    """The language of the training data, if the voice has several; else its first."""
    names = [str(name) for name in getattr(manager, "language_names", None) or []]
    trained = [getattr(item, "language", None) for item in getattr(settings, "datasets", None) or []]
    if len(names) > 1:
        return next((name for name in trained if name in names), names[0])
    return None


def main(arguments: list[str] | None = None) -> int:
    """Speak all sentences. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, required=True, help="a JSON file: a list of texts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--letters", type=Path, help="a JSON file: the counts of the training texts' letters")
    parser.add_argument("--recordings", type=Path, help="a JSON file: what the speaker's recordings are like")
    asked = parser.parse_args(arguments)
    texts = json.loads(asked.sentences.read_text(encoding="utf-8"))
    letters = json.loads(asked.letters.read_text(encoding="utf-8")) if asked.letters else None
    recorded = Reference.read(json.loads(asked.recordings.read_text("utf-8"))) if asked.recordings else None
    voice = LoadedVoice(asked.config, asked.checkpoint, letters)
    asked.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number, text in enumerate(texts, start=1):
        record: dict[str, Any] = {"file": f"{number:02d}.wav", "text": text, "error": None}
        try:
            samples, said, unknown = voice.speak(text)
            found = measure(samples, voice.sample_rate)
            write_wav(asked.out / record["file"], samples, voice.sample_rate)
            record |= {
                "sample_rate": voice.sample_rate,
                "seconds": round(found.seconds, 3),
                "peak": round(found.peak, 4),
                "unknown": unknown,
                "sound": found.as_json(),
                "odd": [{"kind": item.kind, "what": item.what} for item in oddities(found, said, recorded)],
            }
            if said != text:
                record["spoken"] = said
        except Exception as error:  # noqa: BLE001 - the other sentences are still spoken.
            failed += 1
            record["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.stdout.write("\n" + json.dumps({"sample": record}) + "\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    end_quickly()
    raise SystemExit(main())
