"""Prepare the corpus of a base voice: sentences, their letters' ids and how long each lasts in the speech.

    python -m benchmarks.base_voice.prepare CONFIG CORPUS.npz

How long a letter lasts is found by a hidden Markov model. Each letter, and each blank between two letters, is
a state that emits the phonemes and cepstra of eSpeak's speech; eSpeak itself tells when each word begins. So
the voice need not search for the alignment while it is trained.
"""

import sys
import unicodedata

import numba
import numpy as np

from benchmarks.base_voice import espeak
from benchmarks.base_voice.sentences import sentences

HOP = 256
VOICE, SPEED = "bn", 150
MOST_FRAMES, MOST_TOKENS = 448, 192
COUNT = int(sys.argv[4]) if len(sys.argv) > 4 else 8_000
OTHERS = ("bn+f1", "bn+f4", "bn+f5", "bn+m1", "bn+m2", "bn+m4", "bn+m7", "bn+croak")
OTHER_COUNT = 250


def composed(text: str) -> str:
    """Write ড়, ঢ় and য় as one letter each: eSpeak loses the vowel sign after a nukta."""
    for apart, together in (("ড\u09bc", "\u09dc"), ("ঢ\u09bc", "\u09dd"), ("য\u09bc", "\u09df")):
        text = text.replace(apart, together)
    return text


def cepstra(samples: np.ndarray) -> np.ndarray:
    """Give 13 cepstral coefficients a frame."""
    wave = samples.astype(np.float32) / 32768
    frames = len(wave) // HOP
    padded = np.pad(wave, (384, 384 + HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::HOP][:frames]
    power = np.abs(np.fft.rfft(windows * np.hanning(1024).astype(np.float32), axis=1)) ** 2
    logs = np.log(power @ _BANK + 1e-4)
    return (logs @ _COSINES).astype(np.float32)


def _bank() -> np.ndarray:
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.minimum(512, (700 * (10 ** (mel / 2595) - 1) * 1024 / espeak.RATE))
    bins = np.arange(513)[:, None]
    up = (bins - edges[:-2]) / np.maximum(1e-3, edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / np.maximum(1e-3, edges[2:] - edges[1:-1])
    return np.clip(np.minimum(up, down), 0, None).astype(np.float32)


_BANK = _bank()
_COSINES = np.cos(np.pi / 26 * (np.arange(26)[:, None] + 0.5) * np.arange(13)[None]).astype(np.float32)


@numba.njit(cache=False)
def viterbi(scores: np.ndarray) -> np.ndarray:
    """Give how many frames each state takes in the best path; every state takes at least one."""
    states, frames = scores.shape
    best = np.full((states, frames), -1e30, dtype=np.float32)
    came = np.zeros((states, frames), dtype=np.uint8)
    best[0, 0] = scores[0, 0]
    for frame in range(1, frames):
        best[0, frame] = best[0, frame - 1] + scores[0, frame]
        for state in range(1, min(states, frame + 1)):
            stay, step = best[state, frame - 1], best[state - 1, frame - 1]
            if step > stay:
                best[state, frame] = step + scores[state, frame]
                came[state, frame] = 1
            else:
                best[state, frame] = stay + scores[state, frame]
    taken = np.zeros(states, dtype=np.int64)
    state = states - 1
    for frame in range(frames - 1, -1, -1):
        taken[state] += 1
        if came[state, frame]:
            state -= 1
    return taken


def kinds(text: str) -> tuple[list[str], list[int]]:
    """Name each state's kind by its letter and its neighbours, and give the word that it belongs to."""

    def sort(letter: str | None) -> str:
        if letter is None:
            return "end"
        if letter in " ,.?!|-—।‘’":
            return "gap" if letter == " " else "mark"
        if letter in "়্ংঃঁ":
            return letter
        return "sign" if unicodedata.category(letter) in {"Mc", "Mn"} else "letter"

    around = [None, None, *text, None, None]
    names, positions = [], []
    for at in range(len(text) + 1):
        before2, before, after, after2 = around[at : at + 4]
        names.append(f"_{before}|{sort(before2)}|{sort(after)}|{after if sort(after) == 'sign' else ''}")
        positions.append(at)
        if after is not None:
            names.append(f"{after}|{sort(before)}|{sort(after2)}|{before if sort(after) == 'sign' else ''}")
            positions.append(at)
    return names, positions


class Sentence:
    """A sentence with what is known of its speech."""

    def __init__(
        self, text: str, spoken: espeak.Spoken, inventory: dict[str, int], phones: dict[str, int]
    ) -> None:
        plain = composed(text)
        self.frames = len(spoken.samples) // HOP
        names, positions = kinds(plain)
        self.kinds = np.array([inventory.setdefault(name, len(inventory)) for name in names])
        starts = np.array([position for _, position in spoken.words] or [0])
        times = np.array([sample for sample, _ in spoken.words] or [0]) / HOP
        self.words = np.maximum(0, np.searchsorted(starts, np.array(positions), side="right") - 1)
        middle = np.arange(self.frames) + 0.5
        self.frame_words = np.maximum(0, np.searchsorted(times, middle, side="right") - 1)
        at = np.array([sample for sample, _ in spoken.phonemes] or [0]) / HOP
        codes = np.array([phones.setdefault(name, len(phones)) for _, name in spoken.phonemes] or [0])
        self.phones = codes[np.maximum(0, np.searchsorted(at, middle, side="right") - 1)]
        self.features = cepstra(spoken.samples)
        # The first guess: evenly within each word.
        self.durations = None

    def guess(self) -> np.ndarray:
        """Score each frame for each state: evenly within each word."""
        scores = -4.0 * (self.words[:, None] != self.frame_words[None]).astype(np.float32)
        count = np.bincount(self.words, minlength=self.words.max() + 1)
        span = np.bincount(self.frame_words, minlength=self.words.max() + 1)
        place = np.concatenate([np.arange(n) / max(1, n) for n in count])
        when = np.concatenate([np.arange(n) / max(1, n) for n in span])[: self.frames]
        scores -= np.abs(place[:, None] - when[None]) * 4
        return scores.astype(np.float32)


def align(corpus: list[Sentence], kinds_count: int, phone_count: int, rounds: int) -> None:
    """Train the model on the corpus and leave the durations in it."""
    for one in corpus:
        one.durations = viterbi(one.guess())
    features = np.concatenate([one.features for one in corpus]).astype(np.float64)
    heard = np.concatenate([one.phones for one in corpus])
    everything = features.mean(0)
    spread = features.var(0)
    few = 10.0
    for number in range(rounds):
        states = np.concatenate([np.repeat(one.kinds, one.durations) for one in corpus])
        weight = np.bincount(states, minlength=kinds_count)[:, None]
        sums = lambda values: np.stack(  # noqa: E731
            [np.bincount(states, column, kinds_count) for column in values.T],
            1,
        )
        mean = (sums(features) + few * everything) / (weight + few)
        variance = (sums(features**2) + few * (spread + everything**2)) / (weight + few) - mean**2
        variance = np.maximum(variance, 0.05 * spread)
        phones = np.bincount(states * phone_count + heard, minlength=kinds_count * phone_count) + 0.02
        phones = phones.reshape(kinds_count, phone_count)
        log_phones = np.log(phones / phones.sum(1, keepdims=True))
        score = 0.0
        for one in corpus:
            m, v = mean[one.kinds], variance[one.kinds]
            gauss = -0.5 * (
                (one.features**2) @ (1 / v).T
                - 2 * one.features @ (m / v).T
                + (m**2 / v).sum(1)
                + np.log(v).sum(1)
            )
            scores = 0.3 * gauss.T + log_phones[one.kinds][:, one.phones]
            scores -= 2.0 * (one.words[:, None] != one.frame_words[None])
            one.durations = viterbi(np.ascontiguousarray(scores, dtype=np.float32))
            score += scores[np.repeat(np.arange(len(one.kinds)), one.durations), np.arange(one.frames)].mean()
        print(f"round {number}: {score / len(corpus):.4f}", flush=True)


def main() -> None:
    """Make the corpus that the command line names."""
    import librosa
    from TTS.config import load_config
    from TTS.tts.utils.text.tokenizer import TTSTokenizer

    config = load_config(sys.argv[1])
    tokenizer, _ = TTSTokenizer.init_from_config(config)
    letters = "".join(config.characters[key] for key in ("characters", "punctuations", "eos"))
    texts = sentences(COUNT, 1, letters)
    spoken = espeak.speak([composed(text) for text in texts], VOICE, SPEED, 2)
    inventory, phones, corpus, kept = {}, {}, [], []
    for number, (text, one) in enumerate(zip(texts, spoken, strict=True)):
        ids = tokenizer.text_to_ids(text)
        if len(ids) > MOST_TOKENS or not len(composed(text)) * 2.4 < len(one.samples) // HOP <= MOST_FRAMES:
            continue
        corpus.append(Sentence(text, one, inventory, phones))
        kept.append((number, ids))
    print(len(texts), "sentences,", len(corpus), "kept,", len(inventory), "kinds,", len(phones), "phonemes")
    align(corpus, len(inventory), len(phones), int(sys.argv[3]) if len(sys.argv) > 3 else 12)
    lengths, tokens, durations = [], [], []
    blank = tokenizer.characters.blank_id
    for (number, ids), one in zip(kept, corpus, strict=True):
        taken = list(one.durations)
        text = texts[number]
        if len(ids) != len(taken):  # The nukta is a letter of its own in this spelling: it takes two frames.
            taken = _spread(text, taken)
        assert len(ids) == len(taken), (text, len(ids), len(taken))
        assert (ids[0], sum(taken)) == (blank, one.frames)
        assert min(taken) > 0
        tokens += ids
        durations += taken
        lengths.append(len(ids))
    np.savez_compressed(
        sys.argv[2],
        texts=np.array([composed(text) for text in texts]),
        kept=np.array([number for number, _ in kept], dtype=np.int32),
        tokens=np.array(tokens, dtype=np.uint8),
        durations=np.array(durations, dtype=np.uint16),
        lengths=np.array(lengths, dtype=np.int32),
        samples=np.array([len(spoken[number].samples) for number, _ in kept], dtype=np.int32),
        voice=VOICE,
        speed=SPEED,
        num_chars=tokenizer.characters.num_chars,
        others=np.array(OTHERS),
        other_texts=np.array([composed(text) for text in sentences(OTHER_COUNT, 2, letters)]),
        mel=librosa.filters.mel(sr=espeak.RATE, n_fft=1024, n_mels=80, fmin=0, fmax=None).astype(np.float32),
        spelt=np.array([texts[number] for number, _ in kept]),
    )


def _spread(text: str, taken: list[int]) -> list[int]:
    """Give each nukta and the blank before it a frame of the states around."""
    plain, result, at = composed(text), [], 0
    index = 0
    for letter in plain:
        blank, own = taken[2 * index], taken[2 * index + 1]
        result += [blank, own]
        if letter in "\u09dc\u09dd\u09df" and text[at + 1 : at + 2] == "\u09bc":
            at += 1
            result += [1, 1]
            # Two frames more than the letter had: taken from the longest neighbours, one by one.
            owed = 2
            follow = [2 * index + 2, 2 * index + 3]
            while owed:
                places = [(result[-4], -4), (result[-3], -3)]
                ahead = [(taken[place], place) for place in follow if place < len(taken)]
                (most, where) = max(places)
                (more, place) = max(ahead)
                if most >= more and most > 1:
                    result[where] -= 1
                elif more > 1:
                    taken[place] -= 1
                elif most > 1:
                    result[where] -= 1
                else:
                    longest = max(range(len(result)), key=result.__getitem__)
                    result[longest] -= 1
                owed -= 1
        index += 1
        at += 1
    return [*result, taken[2 * index]]


if __name__ == "__main__":
    main()
