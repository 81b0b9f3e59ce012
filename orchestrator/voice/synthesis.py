"""Speech synthesis with a voice in ONNX, by onnxruntime.

    voice = open_voice(Path("voice.json"))
    for utterance in voice.say("আমি যাই। তুমিও চলো।"):
        ...  # Utterance.samples, and the silence of Utterance.pause_s behind them

Each sentence is synthesised only when it is asked for, so the first one of a long text comes at once. Threads
may use one voice at the same time. numpy and onnxruntime come with the extra `speak`, so they are imported
when a voice is opened.
"""

import hashlib
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernel_template.text import espeak
from kernel_template.text.espeak import EspeakError
from kernel_template.text.phonemes import ESPEAK, phonemize
from kernel_template.text.pieces import Spoken, joined
from kernel_template.text.sentences import Reading, Sentence, read
from kernel_template.text.tokens import text_ids
from kernel_template.text.vocabulary import Vocabulary
from orchestrator import untrusted
from orchestrator.errors import LocalError, UsageError
from orchestrator.voice.card import VoiceCard, load_card

_LONGEST_SENTENCE_S = 600  # A voice that goes on for longer is broken.
_MOST_SPEAKERS_SHOWN = 20
_FATAL = 4  # onnxruntime's severity.
_LONGEST_NUMBER = 9  # Digits; ids are smaller.


@dataclass(frozen=True, slots=True)
class SynthesisOptions:
    """How a text is to be spoken.

    Attributes:
        speed: a factor on the voice's own speed; 2.0 is twice as fast.
        noise: a factor on the voice's own variation; with 0.0 a sentence sounds the same every time.
        speaker: the name or id of a speaker of a multi-speaker voice; None for its first.
    """

    speed: float = 1.0
    noise: float = 1.0
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence and its sound.

    Attributes:
        text: the sentence as it was spoken.
        unknown: characters of it that the voice's vocabulary lacks, each once; they were left out.
        samples: mono samples from -1 to 1, a numpy array of float32; empty if nothing could be spoken.
        seconds: how long the sound is.
        pause_s: the silence after it, in seconds.
        took_s: how long the synthesis took, in seconds.
    """

    text: str
    unknown: tuple[str, ...]
    samples: Any = field(repr=False)
    seconds: float
    pause_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that is ready to speak.

    Attributes:
        card: its description.
        place: the file of that description.
    """

    card: VoiceCard
    place: Path
    _rules: Mapping[str, Any] = field(repr=False)
    _vocabulary: Vocabulary = field(repr=False)
    _session: Any = field(repr=False)
    _numpy: Any = field(repr=False)

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata in the model itself, which other programs read."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The names of its speakers, the default one first; empty if it has only one."""
        ids = self.card.speakers
        return tuple(sorted(ids, key=lambda name: ids[name])) if "sid" in self.card.onnx.inputs else ()

    def read(self, text: str) -> Iterator[Reading]:
        """Read a text part by part: in words, in the voice's letters, as sentences.

        Raises:
            UsageError: the voice's text rules are damaged.
        """
        try:
            yield from read(text, self._vocabulary)
        except ValueError as error:
            raise _broken(self.place, _first_line(error).removesuffix(".")) from error

    def spoken(self, text: str) -> Spoken:
        """Return the whole text as the voice reads it, with all that was changed, lost and is doubtful.

        Raises:
            UsageError: as `read`.
        """
        return joined([reading.said for reading in self.read(text)])

    def say(
        self,
        text: str,
        options: SynthesisOptions | None = None,
        *,
        noted: Callable[[Reading], object] = lambda _: None,
    ) -> Iterator[Utterance]:
        """Speak a text, sentence by sentence; after the last one there is no pause.

        Args:
            text: any text.
            options: how it is spoken.
            noted: called with each part of the text before it is spoken: what was changed and lost in it.

        Raises:
            UsageError: the voice has no such speaker, or the model's output is not speech.
            LocalError: the voice's phonemes cannot be made.
        """
        options = options or SynthesisOptions()
        speaker = find_speaker(self.card, options.speaker)
        last: Sentence | None = None
        for reading in self.read(text):
            noted(reading)
            for sentence in reading.sentences:
                if last is not None:
                    yield self._say(last, options, speaker)
                last = sentence
        if last is not None:
            yield self._say(Sentence(last.text, 0.0), options, speaker)

    def _say(self, sentence: Sentence, options: SynthesisOptions, speaker: int) -> Utterance:
        try:
            ids, unknown = text_ids(sentence.text, self._rules)
        except EspeakError as error:
            raise _no_phonemes(self.place, error) from error
        except ValueError as error:
            raise _broken(self.place, _first_line(error).removesuffix(".")) from error
        rules = self.card.text
        if len(ids) <= rules.add_blank + 2 * rules.use_eos_bos:  # These are there even without a letter.
            nothing = self._numpy.zeros(0, dtype=self._numpy.float32)
            return Utterance(sentence.text, tuple(unknown), nothing, 0.0, 0.0, 0.0)
        scales, noise = self.card.scales, options.noise
        began = time.perf_counter()
        samples = self.samples(
            ids,
            [scales.noise * noise, scales.length / options.speed, scales.duration_noise * noise],
            speaker,
        )
        took = time.perf_counter() - began
        seconds = len(samples) / self.card.audio.sample_rate
        pause_s = sentence.pause_s / options.speed
        return Utterance(sentence.text, tuple(unknown), samples, seconds, pause_s, took)

    def samples(self, ids: Sequence[int], scales: Sequence[float], speaker: int = 0) -> Any:
        """Run the model on token ids; returns a numpy array of float32.

        Args:
            ids: ids of the voice's vocabulary.
            scales: noise, length and duration noise, as VITS takes them.
            speaker: the speaker's id.

        Raises:
            UsageError: the model fails, or its output is not speech.
        """
        numpy = self._numpy
        language = self.card.languages.get(self.card.language or "", 0)
        values = {
            "input": numpy.array([ids], dtype=numpy.int64),
            "input_lengths": numpy.array([len(ids)], dtype=numpy.int64),
            "scales": numpy.array(scales, dtype=numpy.float32),
            "sid": numpy.array([speaker], dtype=numpy.int64),
            "langid": numpy.array([language], dtype=numpy.int64),
        }
        try:
            found = self._session.run(None, {name: values[name] for name in self.card.onnx.inputs})[0]
            with numpy.errstate(all="ignore"):  # What is too large for 32 bits becomes infinite.
                samples = numpy.asarray(found, dtype=numpy.float32).reshape(-1)
        except Exception as error:  # onnxruntime's classes have no base of their own.
            raise _broken(self.place, f"the model fails: {_first_line(error)}") from error
        if len(samples) > _LONGEST_SENTENCE_S * self.card.audio.sample_rate:
            raise _broken(self.place, f"one sentence gives more than {_LONGEST_SENTENCE_S} s of sound")
        if not len(samples):
            raise _broken(self.place, "it gives no sound for a sentence")
        if not bool(numpy.isfinite(samples).all()):
            raise _broken(self.place, "its samples are not finite: the training has probably diverged")
        return samples


def open_voice(place: Path, *, seed: int | None = None, lean: bool = False) -> Voice:
    """Open a voice; the size and SHA-256 of its ONNX file are checked.

    Args:
        place: its description, a voice.json.
        seed: makes the variation repeatable. onnxruntime has one seed for the whole process.
        lean: whether memory and processors are given back after each sentence, as a server that runs for long
            should; a single voice that speaks alone is up to a sixth slower for it.

    Raises:
        LocalError: a package is not installed: onnxruntime, numpy, or for phonemes espeakng-loader.
        UsageError: the description or the ONNX file is damaged, or its text rules do not work outside of the
            training.
    """
    card = load_card(place)
    if not card.text.speakable:
        why = untrusted.one_line(card.text.why or "no reason was given", 200)
        raise UsageError(
            f"kgtts cannot speak with {place}: {why}.",
            hint="listen to the session's own samples in validation_samples/",
        )
    data = _verified(place, card)
    try:
        numpy, runtime = importlib.import_module("numpy"), importlib.import_module("onnxruntime")
    except ImportError as error:
        raise LocalError(
            f"Speaking needs the package {error.name or 'onnxruntime'}, which is not installed.",
            hint='pip install "kgtts[speak]"',
        ) from error
    rules = card.text.model_dump()
    if card.text.phonemizer is not None and card.text.phonemizer.name == ESPEAK:
        try:
            phonemize("ক", rules["phonemizer"])
        except EspeakError as error:
            raise _no_phonemes(place, error) from error
    if seed is not None:
        runtime.set_seed(seed)  # Before the session: its nodes take their seeds when they are made.
    options = runtime.SessionOptions()
    # Errors come as exceptions; in the log they would bring names from the file to the terminal as they are.
    options.log_severity_level = _FATAL
    runtime.set_default_logger_severity(_FATAL)
    if lean:
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # From memory: what was hashed is what is loaded.
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # As above.
        raise _broken(place, f"onnxruntime cannot load {card.onnx.file}: {_first_line(error)}") from error
    wanted = sorted(item.name for item in session.get_inputs())
    if wanted != sorted(card.onnx.inputs):
        listed = untrusted.one_line(", ".join(wanted), 200)
        raise _broken(place, f"its inputs are {listed}, not those in {place.name}")
    return Voice(card, place, rules, card.text.vocabulary, session, numpy)


def _verified(place: Path, card: VoiceCard) -> bytes:
    file = place.parent / card.onnx.file
    try:
        if file.stat().st_size != card.onnx.size:
            sizes = f"{file.stat().st_size:,} bytes instead of {card.onnx.size:,}"
            raise _broken(place, f"{file.name} has {sizes}")
        data = file.read_bytes()
    except OSError as error:
        raise _broken(place, f"{file.name} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != card.onnx.sha256:
        raise _broken(place, f"the SHA-256 of {file.name} is not the one in {place.name}")
    return data


def find_speaker(card: VoiceCard, wanted: str | None) -> int:
    """Return the id of the speaker with this name or id; that of the first one for None.

    Raises:
        UsageError: the voice has no such speaker.
    """
    if "sid" not in card.onnx.inputs:
        if wanted is None:
            return 0
        raise UsageError("This voice has only one speaker; leave out --speaker.")
    ids = card.speakers
    if wanted is None:
        return min(ids.values(), default=0)
    if wanted in ids:
        return ids[wanted]
    if wanted.isascii() and wanted.isdecimal() and int(wanted[:_LONGEST_NUMBER]) in ids.values():
        return int(wanted[:_LONGEST_NUMBER])
    listed = [f"{number} ({name})" for name, number in list(ids.items())[:_MOST_SPEAKERS_SHOWN]]
    names = untrusted.one_line(", ".join(listed), 400) or "none with a name"
    raise UsageError(f"This voice has no speaker {wanted!r}; its speakers are: {names}.")


def _no_phonemes(place: Path, error: EspeakError) -> LocalError:
    return LocalError(
        f"The voice at {place} speaks phonemes of eSpeak NG, and {untrusted.one_line(str(error), 200)}.",
        hint="listen to the session's own samples in validation_samples/"
        if importlib.util.find_spec(espeak.PACKAGE)
        else 'pip install "kgtts[phonemes]"',
    )


def _broken(place: Path, why: str) -> UsageError:
    return UsageError(
        f"The voice at {place} cannot be used: {why}.", hint="download it again with `kgtts pull`"
    )


def _first_line(error: Exception) -> str:
    return untrusted.one_line(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
