"""Train a base voice within minutes on a GPU: Coqui's VITS layers in a loop of its own.

    python -m benchmarks.base_voice.train CORPUS.npz CONFIG.json OUT --seconds 360

What makes it fast: the alignment is known beforehand (`prepare.py`), so no step searches for it; all speech
lies on the GPU, and a step draws its batch there; shapes are fixed, so a whole step (both networks, both
optimizers) is one CUDA graph. The first part trains without the discriminators. The weights have the names
that Coqui gives them.
"""

import argparse
import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.base_voice import espeak

BEGAN = time.monotonic()
HOP, FFT = 256, 1024


def say(**what: Any) -> None:
    """Print a line of JSON with the time."""
    print(json.dumps({"t": round(time.monotonic() - BEGAN, 1), **what}, ensure_ascii=False), flush=True)


class Voice(nn.Module):
    """The parts of Coqui's VITS that speak, by the same names."""

    def __init__(self, config: dict[str, Any], characters: int) -> None:
        from TTS.tts.layers.glow_tts.duration_predictor import DurationPredictor
        from TTS.tts.layers.vits.networks import PosteriorEncoder, ResidualCouplingBlocks, TextEncoder
        from TTS.vocoder.models.hifigan_generator import HifiganGenerator

        super().__init__()
        a = config["model_args"]
        hidden = a["hidden_channels"]
        self.text_encoder = TextEncoder(
            characters,
            hidden,
            hidden,
            a["hidden_channels_ffn_text_encoder"],
            a["num_heads_text_encoder"],
            a["num_layers_text_encoder"],
            a["kernel_size_text_encoder"],
            a["dropout_p_text_encoder"],
        )
        self.posterior_encoder = PosteriorEncoder(
            a["out_channels"],
            hidden,
            hidden,
            kernel_size=a["kernel_size_posterior_encoder"],
            dilation_rate=a["dilation_rate_posterior_encoder"],
            num_layers=a["num_layers_posterior_encoder"],
        )
        self.flow = ResidualCouplingBlocks(
            hidden,
            hidden,
            kernel_size=a["kernel_size_flow"],
            dilation_rate=a["dilation_rate_flow"],
            num_layers=a["num_layers_flow"],
        )
        self.duration_predictor = DurationPredictor(hidden, 256, 3, a["dropout_p_duration_predictor"])
        self.waveform_decoder = HifiganGenerator(
            hidden,
            1,
            a["resblock_type_decoder"],
            a["resblock_dilation_sizes_decoder"],
            a["resblock_kernel_sizes_decoder"],
            a["upsample_kernel_sizes_decoder"],
            a["upsample_initial_channel_decoder"],
            a["upsample_rates_decoder"],
            inference_padding=0,
            conv_pre_weight_norm=False,
            conv_post_weight_norm=False,
            conv_post_bias=False,
        )

    @torch.no_grad()
    def speak(
        self, tokens: torch.Tensor, noise: float = 0.4, durations: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Speak one sentence; gives samples and the frames of each letter."""
        x, mean, logs, mask = self.text_encoder(
            tokens[None], torch.tensor([len(tokens)], device=tokens.device)
        )
        if durations is None:
            durations = torch.ceil(torch.exp(self.duration_predictor(x, mask)))[0, 0].clamp(1, 100).long()
        frame = torch.repeat_interleave(torch.arange(len(tokens), device=tokens.device), durations)
        mean, logs = mean[:, :, frame], logs[:, :, frame]
        z = mean + torch.randn_like(mean) * torch.exp(logs) * noise
        z = self.flow(z, torch.ones_like(z[:, :1]), reverse=True)
        return self.waveform_decoder(z)[0, 0], durations


class Period(nn.Module):
    """A period discriminator of HiFi-GAN, of half its width."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        sizes = [1, width // 32, width // 8, width // 2, width, width]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (5, 1), (3 if n < 4 else 1, 1), padding=(2, 0)))
            for n, (i, o) in enumerate(zip(sizes, sizes[1:], strict=False))
        )
        self.post = weight_norm(nn.Conv2d(width, 1, (3, 1), padding=(1, 0)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x = F.pad(x, (0, -x.shape[-1] % self.period))
        x = x.view(x.shape[0], 1, -1, self.period)
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            features.append(x)
        return self.post(x), features


class Judges(nn.Module):
    """All period discriminators."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.all = nn.ModuleList(Period(period, width) for period in (2, 3, 5, 7, 11))

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores, features = [], []
        for judge in self.all:
            score, some = judge(x)
            scores.append(score)
            features += some
        return scores, features


class Spectra(nn.Module):
    """Magnitude spectra as matrix products, which any graph can hold."""

    def __init__(self, size: int, hop: int, device: torch.device) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        at = torch.arange(size, dtype=torch.float64)
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * at / size)
        angle = 2 * math.pi * at[:, None] * torch.arange(size // 2 + 1)[None] / size
        basis = torch.cat([torch.cos(angle), torch.sin(angle)], 1) * window[:, None]
        self.basis = basis.float().to(device)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        pad = (self.size - self.hop) // 2
        frames = F.pad(wave[:, None], (pad, pad), mode="reflect")[:, 0].unfold(1, self.size, self.hop)
        real, imaginary = (frames @ self.basis).chunk(2, -1)
        return torch.sqrt(real * real + imaginary * imaginary + 1e-6)


def spectrogram(wave: torch.Tensor) -> torch.Tensor:
    """Give Coqui's linear spectrogram of a batch of waves."""
    pad = (FFT - HOP) // 2
    wave = F.pad(wave[:, None], (pad, pad), mode="reflect")[:, 0]
    window = torch.hann_window(FFT, device=wave.device)
    spec = torch.stft(wave, FFT, HOP, FFT, window, center=False, return_complex=True)
    return torch.sqrt(spec.real**2 + spec.imag**2 + 1e-6)


class Corpus:
    """All speech and text on the device."""

    def __init__(self, path: Path, device: torch.device, options: argparse.Namespace) -> None:
        workers, most = options.workers, options.most
        with np.load(path) as stored:
            self.held = {key: stored[key] for key in stored.files}
        h = self.held
        texts = [str(text) for text in h["texts"]]
        kept = h["kept"]
        if most:
            texts = texts[: most - most % espeak.PORTION]
            kept = kept[kept < len(texts)]
        speed = int(h["speed"])
        spoken = espeak.speak(texts, str(h["voice"]), speed, workers)
        others = []
        other_texts = [str(text) for text in h["other_texts"]][: 250 if not most else 25]
        for voice in h["others"][: 8 if not most else 1]:
            others += espeak.speak(other_texts, str(voice), speed, workers)
        say(spoken=len(spoken), others=len(others))
        ends = np.cumsum(h["lengths"])
        rows, wrong = [], 0
        for row, number in enumerate(kept):
            good = len(spoken[number].samples) == h["samples"][row]
            wrong += not good
            tokens = h["tokens"][ends[row] - h["lengths"][row] : ends[row]]
            durations = h["durations"][ends[row] - h["lengths"][row] : ends[row]].astype(np.int64)
            difference = len(spoken[number].samples) // HOP - durations.sum()
            if not good and not -3 < difference < 6:
                continue
            durations[-1] = max(1, durations[-1] + difference)
            if 34 <= durations.sum() <= options.frames and len(tokens) <= options.tokens:
                rows.append((tokens, durations, spoken[number].samples, str(h["spelt"][row])))
        say(rows=len(rows), samples_differ=wrong)
        self.test, rows = rows[:40], rows[40:]
        self.most_tokens, self.most_frames = options.tokens, options.frames
        count = len(rows)
        tokens = np.zeros((count, self.most_tokens), dtype=np.int64)
        durations = np.zeros((count, self.most_tokens), dtype=np.float32)
        owner = np.zeros((count, self.most_frames), dtype=np.int64)
        lengths = np.zeros((2, count), dtype=np.int64)
        others = [one.samples for one in others if 34 * HOP < len(one.samples) < self.most_frames * HOP]
        waves = np.zeros((count + len(others), self.most_frames * HOP), dtype=np.int16)
        for row, (ids, taken, samples, _) in enumerate(rows):
            frames = int(taken.sum())
            tokens[row, : len(ids)] = ids
            durations[row, : len(ids)] = taken
            owner[row, :frames] = np.repeat(np.arange(len(ids)), taken)
            lengths[:, row] = len(ids), frames
            waves[row, : frames * HOP] = samples[: frames * HOP]
        all_frames = np.concatenate([lengths[1], [len(one) // HOP for one in others]])
        for row, samples in enumerate(others, count):
            waves[row, : all_frames[row] * HOP] = samples[: all_frames[row] * HOP]
        put = lambda array: torch.from_numpy(array).to(device)  # noqa: E731
        self.tokens, self.durations, self.owner = put(tokens), put(durations), put(owner)
        self.token_lengths, self.frames, self.waves = put(lengths[0]), put(all_frames), put(waves)
        self.count, self.other_count = count, len(others)
        half = torch.bfloat16 if device.type == "cuda" else torch.float32
        spec = torch.empty(len(waves), FFT // 2 + 1, self.most_frames, dtype=half, device=device)
        for at in range(0, len(waves), 64):
            spec[at : at + 64] = spectrogram(self.waves[at : at + 64].float() / 32768).to(half)
        self.spec = spec
        self.mel = put(h["mel"].astype(np.float32))


class Trainer:
    """Networks, optimizers and the step."""

    def __init__(
        self, config: dict[str, Any], corpus: Corpus, device: torch.device, options: argparse.Namespace
    ) -> None:
        self.corpus, self.device, self.options = corpus, device, options
        characters = int(corpus.held["num_chars"])
        torch.manual_seed(7)
        self.voice = Voice(config, characters).to(device)
        self.average = Voice(config, characters).to(device).eval()
        self.average.load_state_dict(self.voice.state_dict())
        self.judges = Judges(options.width).to(device)
        letters = self.voice.text_encoder.emb
        numbers = torch.arange(characters, device=device)
        # The gradient of a look-up may wait for the card, which no graph can hold; a product never does.
        letters.forward = lambda ids: (ids[..., None] == numbers).float() @ letters.weight
        self.own = list(self.voice.parameters())
        self.averaged = list(self.average.parameters())
        for one in self.averaged:
            one.requires_grad_(False)
        cuda = device.type == "cuda"
        make = lambda parameters: torch.optim.AdamW(  # noqa: E731
            parameters,
            lr=torch.tensor(1e-4, device=device) if cuda else 1e-4,
            betas=(0.8, 0.99),
            eps=1e-8,
            weight_decay=0.01,
            **({"fused": True, "capturable": True} if cuda else {}),
        )
        self.speaking, self.judging = make(self.own), make(list(self.judges.parameters()))
        self.spectra = Spectra(FFT, HOP, device)
        self.more_spectra = [
            self.spectra,
            *(Spectra(size, size // 4, device) for size in (512, 2048)),
            Spectra(128, 32, device),
        ]
        self.names = [
            "kl",
            "duration",
            "mel",
            "text_mel",
            "spectra",
            "gen",
            "feature",
            "judges",
            "norm",
            "judge_norm",
        ]
        self.stats = torch.zeros(len(self.names), device=device)
        self.decay = torch.tensor(0.0, device=device)
        self.kl_weight = torch.tensor(1.0, device=device)
        self.half = (
            (lambda: torch.autocast("cuda", dtype=torch.bfloat16))
            if cuda and not options.full
            else contextlib.nullcontext
        )

    def rates(self, voice: float, judges: float) -> None:
        """Set both learning rates."""
        for optimizer, rate in ((self.speaking, voice), (self.judging, judges)):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        c, b, o = self.corpus, self.options.batch, self.options.others
        rows = (torch.rand(b, device=self.device) * c.count).long().clamp_(max=c.count - 1)
        rest = (torch.rand(o, device=self.device) * c.other_count).long().clamp_(max=c.other_count - 1)
        return rows, torch.cat([rows, rest + c.count])

    def step(self, judged: bool) -> None:
        """Make a step of both networks, or of the voice alone."""
        c, v, size = self.corpus, self.voice, self.options.segment
        rows, every = self.draw()
        count = len(rows)
        frames = c.frames[every]
        z, _, logs_q, mask = v.posterior_encoder(c.spec[every].float(), frames)
        z_p = v.flow(z[:count], mask[:count])
        x, m_p, logs_p, x_mask = v.text_encoder(c.tokens[rows], c.token_lengths[rows])
        wanted = torch.log((c.durations[rows] - 0.45).clamp(min=0.35))[:, None] * x_mask
        guessed = v.duration_predictor(x.detach(), x_mask)
        duration = (((guessed - wanted) ** 2) * x_mask).sum() / x_mask.sum()
        owner = c.owner[rows][:, None].expand(-1, m_p.shape[1], -1)
        m_p, logs_p = torch.gather(m_p, 2, owner), torch.gather(logs_p, 2, owner)
        kl = logs_p - logs_q[:count] - 0.5 + 0.5 * (z_p - m_p) ** 2 * torch.exp(-2 * logs_p)
        kl = (kl * mask[:count]).sum() / mask[:count].sum()

        start = (torch.rand(len(every), device=self.device) * (frames - size + 1)).long()
        start = torch.minimum(start, frames - size).clamp_(min=0)
        where = start[:, None] + torch.arange(size, device=self.device)
        # A share of the sentences is spoken from the text as well, as the voice will have to.
        few = self.options.prior
        z_text = m_p[:few] + 0.5 * torch.randn_like(m_p[:few]) * torch.exp(logs_p[:few])
        z_text = v.flow(z_text * mask[:few], mask[:few], reverse=True)
        where = torch.cat([where, where[:few]])[:, None].expand(-1, z.shape[1], -1)
        part = torch.gather(torch.cat([z, z_text]), 2, where)
        spot = start[:, None] * HOP + torch.arange(size * HOP, device=self.device)
        real = torch.gather(c.waves[every], 1, spot).float() / 32768
        with self.half():
            made = v.waveform_decoder(part)
        made, from_text = made[:, 0].float().split([len(every), few])

        judges = judge_norm = torch.zeros((), device=self.device)
        if judged:
            for one in self.judges.parameters():
                one.requires_grad_(True)
            self.judging.zero_grad(set_to_none=True)
            with self.half():
                scores, _ = self.judges(torch.cat([real, made.detach(), from_text.detach()])[:, None])
            judges = 0.0
            for score in scores:
                true, false = score.float().split([len(real), len(made) + few])
                judges = judges + ((1 - true) ** 2).mean() + (false**2).mean()
            judges.backward()
            judge_norm = nn.utils.clip_grad_norm_(self.judges.parameters(), 20.0)
            self.judging.step()

        spectra = 0.0
        for each in self.more_spectra:
            with torch.no_grad():
                target = each(real)
            guess = each(made)
            spectra = spectra + (guess.clamp(min=1e-3).log() - target.clamp(min=1e-3).log()).abs().mean()
            spectra = spectra + (guess - target).norm() / target.norm()
            if each is self.spectra:
                target = self.mel(target)
                mel = (self.mel(guess) - target).abs().mean()
                text_mel = (self.mel(each(from_text)) - target[:few]).abs().mean()
        spectra = spectra / len(self.more_spectra)
        gen = feature = torch.zeros((), device=self.device)
        if judged:
            for one in self.judges.parameters():
                one.requires_grad_(False)
            with self.half():
                with torch.no_grad():
                    _, true = self.judges(real[:, None])
                scores, false = self.judges(torch.cat([made, from_text])[:, None])
            gen = sum(((1 - score.float()) ** 2).mean() for score in scores)
            feature = sum(
                (one.float() - other[: len(one)].float()).abs().mean()
                for one, other in zip(true, false, strict=True)
            )
        loss = 45 * mel + 25 * text_mel + 10 * spectra + self.kl_weight * kl + duration + gen + 2 * feature
        self.speaking.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.own, 50.0)
        self.speaking.step()
        with torch.no_grad():
            torch._foreach_mul_(self.averaged, self.decay)
            torch._foreach_add_(self.averaged, torch._foreach_mul(self.own, 1 - self.decay))
            new = torch.stack(
                [
                    one.detach().float()
                    for one in (kl, duration, mel, text_mel, spectra, gen, feature, judges, norm, judge_norm)
                ]
            )
            self.stats.mul_(0.97).add_(new, alpha=0.03)

    def mel(self, spectrum: torch.Tensor) -> torch.Tensor:
        return (spectrum @ self.corpus.mel.T).clamp(min=1e-5).log()

    def recorded(self, judged: bool) -> Callable[[], Any]:
        """Give a callable step: a CUDA graph, or the plain step where none can be had."""
        if self.device.type != "cuda" or self.options.eager:
            return lambda: self.step(judged)
        try:
            began = time.monotonic()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(4):
                    self.step(judged)
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            warm = time.monotonic() - began
            self.speaking.zero_grad(set_to_none=True)
            self.judging.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.step(judged)
            torch.cuda.synchronize()
            say(graph=judged, warm_s=round(warm, 1), capture_s=round(time.monotonic() - began - warm, 1))
        except Exception as error:
            # A capture that failed leaves the random generator unusable: only a new process can go on.
            raise RuntimeError("no graph") from error
        else:
            self.graph = graph  # Alive as long as it is replayed.
            return graph.replay

    def everything(self) -> list[torch.Tensor]:
        """All tensors that a step changes."""
        tensors = [*self.own, *self.averaged, *self.judges.parameters(), self.stats]
        for optimizer in (self.speaking, self.judging):
            for state in optimizer.state.values():
                tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
        return tensors

    def snapshot(self) -> list[torch.Tensor]:
        with torch.no_grad():
            return [one.detach().clone() for one in self.everything()]

    def go_back(self, kept: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for one, before in zip(self.everything(), kept, strict=False):
                one.copy_(before)

    def store(self, out: Path, progress: list[dict[str, Any]], samples: int) -> None:
        """Write weights as halves, samples and what was measured; each file whole or not at all."""
        with torch.backends.cudnn.flags(enabled=True, benchmark=False):
            self._store(out, progress, samples)

    def _store(self, out: Path, progress: list[dict[str, Any]], samples: int) -> None:
        for name, model in (("average", self.average), ("last", self.voice)):
            state = {key: value.detach().half().cpu() for key, value in model.state_dict().items()}
            target = out / f"voice_{name}.pth"
            torch.save({"model": state}, target.with_suffix(".part"))
            target.with_suffix(".part").replace(target)
        arrays = {}
        for number, (tokens, durations, original, _) in enumerate(self.corpus.test[:samples]):
            ids = torch.from_numpy(tokens.astype(np.int64)).to(self.device)
            wave, _ = self.average.speak(ids)
            forced, _ = self.average.speak(ids, durations=torch.from_numpy(durations).to(self.device))
            for key, value in (("said", wave), ("forced", forced)):
                arrays[f"{key}_{number}"] = (value.float().clamp(-1, 1) * 32767).short().cpu().numpy()
            arrays[f"real_{number}"] = original
        np.savez_compressed(out / "samples.part.npz", **arrays)
        (out / "samples.part.npz").replace(out / "samples.npz")
        part = out / "progress.part"
        part.write_text(json.dumps(progress, indent=1), encoding="utf-8")
        part.replace(out / "progress.json")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description="Train a base voice.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=360, help="of the whole process")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument(
        "--others", type=int, default=16, help="rows of other voices, for posterior and decoder"
    )
    parser.add_argument("--prior", type=int, default=16, help="rows that are also spoken from the text")
    parser.add_argument("--segment", type=int, default=32)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--alone", type=float, default=0.2, help="part of the time without discriminators")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--most", type=int, default=0, help="sentences, for a trial")
    parser.add_argument("--frames", type=int, default=448, help="of the longest sentence")
    parser.add_argument("--tokens", type=int, default=192, help="of the longest sentence")
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--every", type=float, default=60)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--full", action="store_true", help="no bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    train(options)


def train(options: argparse.Namespace) -> None:
    """Make data and networks, and train until the time is up."""
    options.out.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(options.device)
    say(torch=torch.__version__, device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu")
    config = json.loads(options.config.read_text(encoding="utf-8"))
    corpus = Corpus(options.corpus, device, options)
    say(count=corpus.count, others=corpus.other_count, tests=len(corpus.test))
    trainer = Trainer(config, corpus, device, options)
    trainer.rates(1e-5, 1e-5)
    started = time.monotonic()
    end = BEGAN + options.seconds
    whole = end - started
    progress, step, last_store, last_say, kept, scale = [], 0, started, started, None, 1.0
    judged, run = False, None
    waiting = 20 if device.type == "cuda" else 1
    while (now := time.monotonic()) < end - 4:
        share = (now - started) / whole
        if run is None or (share > options.alone and not judged):
            judged = share > options.alone
            run = trainer.recorded(judged)
            kept = trainer.snapshot()
            continue
        warm = min(1.0, (step + 1) / 200)
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, share))
        rate = options.rate * scale * warm * (0.03 + 0.97 * fall)
        trainer.rates(0.6 * rate if judged else rate, 0.3 * options.rate * scale * (0.1 + 0.9 * fall))
        trainer.decay.fill_(min(0.999, (step + 1) / (step + 10)) if share > 0.02 else 0.0)
        for _ in range(waiting):
            run()
        step += waiting
        if device.type == "cuda":
            torch.cuda.synchronize()
        if now - last_say > 10:
            last_say = now
            values = dict(zip(trainer.names, trainer.stats.tolist(), strict=True))
            entry = {"step": step, "judged": judged, "speed": round(step / (now - started), 2)}
            entry |= {key: round(value, 4) for key, value in values.items()}
            say(**entry)
            progress.append({"t": round(now - BEGAN, 1), **entry})
            if not all(math.isfinite(value) for value in values.values()):
                say(gone_wrong=True, kept=kept is not None)
                scale *= 0.5
                if kept is not None:
                    trainer.go_back(kept)
                continue
        if now - last_store > options.every:
            last_store = now
            kept = trainer.snapshot()
            with contextlib.suppress(Exception):
                trainer.store(options.out, progress, 4)
    trainer.store(options.out, progress, options.samples)
    say(done=step, seconds=round(time.monotonic() - BEGAN, 1))


if __name__ == "__main__":
    main()
