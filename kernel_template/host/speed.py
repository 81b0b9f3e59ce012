"""Makes a training step of Coqui's VITS faster.

What is in `SpeedRules.exact` gives the same numbers, bit for bit: fewer waits for the GPU, and no work whose
result nobody uses. cuDNN's search may choose otherwise in each session, which changes rounding, so it is a
setting. So are batches padded to rounded lengths: what is padded is masked, but the encoders draw more random
numbers. Deterministic algorithms, which cost time, are a setting too.

Coqui-tts 0.28 waits for the GPU about 9 times a sample to cut segments out of a batch, and once for each loss
that it logs; and the generator's loss also computes the gradients of the discriminator's weights, which are
then dropped.
"""

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from kernel_template.host.coqui import Trainer, patch
from kernel_template.host.protocol import SpeedRules

_VITS = "TTS.tts.models.vits"
_HELPERS = "TTS.tts.utils.helpers"
_LOSSES = "TTS.tts.layers.losses"
_SEGMENT = ("x", "segment_indices", "segment_size", "pad_short")
_TEXT_STEP = 16  # Letters;
_FRAME_STEP = 64  # frames of a spectrogram: 0.7 s. Half of each is what a batch grows by on average.


class SpeedHooks:
    """Hooks of one training process.

    Args:
        rules: which of them work; may be replaced between two steps, to compare them.
    """

    def __init__(self, rules: SpeedRules) -> None:
        self.rules = rules
        self._patched = False

    def install(self, trainer: type) -> None:
        """Patch the Trainer; what it lacks in another release stays as it is."""
        if self.rules.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it begins.
        if hasattr(trainer, "_detach_loss_dict"):
            patch(trainer, "_detach_loss_dict", self.read_losses)
            trainer._detach_loss_dict = staticmethod(trainer._detach_loss_dict)  # noqa: SLF001 - as it was.

    def after_trainer(self, trainer: Trainer) -> None:
        """Patch what the model of a new Trainer consists of, if that is Coqui's VITS."""
        if self.rules.deterministic:
            be_deterministic()
        vits: Any = sys.modules.get(_VITS)
        if vits is None or not isinstance(trainer.model, vits.Vits):
            return
        decoder = getattr(trainer.model, "waveform_decoder", None)
        if decoder is not None:
            decoder.register_forward_pre_hook(self.search_algorithms)
        if self._patched:
            return
        self._patched = True
        discriminator: Any = getattr(vits, "VitsDiscriminator", None)
        if discriminator is not None and _parameters(discriminator.forward) == ("self", "x", "x_hat"):
            patch(discriminator, "forward", self.discriminate)
        for module in (vits, sys.modules.get(_HELPERS)):
            if _parameters(getattr(module, "segment", None)) == _SEGMENT:
                patch(module, "segment", self.segment)
        losses: Any = sys.modules.get(_LOSSES)
        generator_loss: Any = getattr(losses, "VitsGeneratorLoss", None)
        if _parameters(getattr(generator_loss, "kl_loss", None))[-1:] == ("z_mask",):
            patch(generator_loss, "kl_loss", self.kl_loss)
            generator_loss.kl_loss = staticmethod(generator_loss.kl_loss)
            patch(vits.Vits, "format_batch_on_device", self.round_lengths)
        loss: Any = getattr(losses, "VitsDiscriminatorLoss", None)
        if _parameters(getattr(loss, "discriminator_loss", None)) == ("scores_real", "scores_fake"):
            patch(loss, "discriminator_loss", self.discriminator_loss)
            loss.discriminator_loss = staticmethod(loss.discriminator_loss)

    # ---- Exact

    def read_losses(self, original: Callable[..., Any], losses: dict[str, Any]) -> dict[str, Any]:
        """Hook of `Trainer._detach_loss_dict`: wait once for all losses instead of once for each."""
        packed = [name for name, value in losses.items() if _is_scalar(value)]
        if not self.rules.exact or len(packed) < 2:  # noqa: PLR2004 - one is read as before.
            return original(losses)  # type: ignore[no-any-return]
        read = torch.stack([losses[name].detach().reshape(()) for name in packed]).tolist()
        values = dict(zip(packed, read, strict=True))
        return original({name: values.get(name, value) for name, value in losses.items()})  # type: ignore[no-any-return]

    def discriminator_loss(
        self, original: Callable[..., Any], scores_real: list[Any], scores_fake: list[Any]
    ) -> Any:
        """Hook of `VitsDiscriminatorLoss.discriminator_loss`: return tensors, to be read with the others."""
        if not self.rules.exact:
            return original(scores_real, scores_fake)
        loss: Any = 0
        of_real, of_fake = [], []
        for real, fake in zip(scores_real, scores_fake, strict=False):
            real_loss = torch.mean((1 - real.float()) ** 2)
            fake_loss = torch.mean(fake.float() ** 2)
            loss += real_loss + fake_loss
            of_real.append(real_loss.detach())
            of_fake.append(fake_loss.detach())
        return loss, of_real, of_fake

    def segment(
        self,
        original: Callable[..., Any],
        x: torch.Tensor,
        segment_indices: torch.Tensor,
        segment_size: int = 4,
        pad_short: bool = False,  # noqa: FBT001, FBT002 - Coqui's signature.
    ) -> Any:
        """Hook of `segment`: cut all segments of (batch, channels, time) at once; zeros follow the end."""
        if not self.rules.exact or not pad_short or x.dim() != 3:  # noqa: PLR2004 - as above.
            return original(x, segment_indices, segment_size, pad_short)
        length = x.size(2)
        times = segment_indices.view(-1, 1, 1) + torch.arange(segment_size, device=x.device)
        index = times.clamp(max=length - 1).expand(-1, x.size(1), -1)
        return x.gather(2, index).masked_fill(times >= length, 0.0)

    def discriminate(self, original: Callable[..., Any], model: Any, x: Any, x_hat: Any = None) -> Any:
        """Hook of `VitsDiscriminator.forward`: compute what the half of the step that calls it needs.

        In the generator's half `x` is the generator's output and needs a gradient; the discriminator's
        weights do not, and neither do the features of the recording, which are what the output is compared
        with.
        """
        needs_gradient = x.requires_grad and torch.is_grad_enabled()
        if x_hat is None or not (needs_gradient and self.rules.exact):
            return original(model, x, x_hat)
        with _frozen(model):
            scores, features, _, _ = original(model, x)
            with torch.no_grad():
                real_scores, real_features, _, _ = original(model, x_hat)
        return scores, features, real_scores, real_features

    # ---- Not exact

    def search_algorithms(self, decoder: Any, arguments: tuple[Any, ...]) -> None:
        """Before the decoder's forward pass: let cuDNN search from here to the end of its backward pass.

        All shapes in between are those of the segment: decoder, discriminator, and their backward passes. The
        encoders and the flow have another shape in each batch, so a search for them would never end.
        """
        if not (self.rules.cudnn_search and decoder.training and torch.is_grad_enabled()):
            return
        if self.rules.deterministic:
            return
        before = torch.backends.cudnn.benchmark
        if before or not arguments[0].requires_grad:
            return

        def ended(_gradient: Any) -> None:
            torch.backends.cudnn.benchmark = False

        arguments[0].register_hook(ended)
        torch.backends.cudnn.benchmark = True

    def round_lengths(self, original: Callable[..., Any], model: Any, batch: dict[str, Any]) -> Any:
        """Hook of `Vits.format_batch_on_device`: pad the batch to one of a few lengths.

        cuDNN chooses an algorithm for each convolution at each length, and torch keeps 10,000 of these
        choices (TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT). Nearly each batch has lengths of its own.
        """
        batch = original(model, batch)
        if self.rules.round_lengths and not model.args.encoder_sample_rate:
            frames = -batch["spec"].size(2) % _FRAME_STEP
            more = {
                "tokens": -batch["tokens"].size(1) % _TEXT_STEP,
                "spec": frames,
                "mel": frames,
                "waveform": frames * model.config.audio.hop_length,
            }
            batch |= {name: torch.nn.functional.pad(batch[name], (0, size)) for name, size in more.items()}
        return batch

    def kl_loss(self, original: Callable[..., Any], *values: Any, **named: Any) -> Any:
        """Hook of `VitsGeneratorLoss.kl_loss`, which makes its mask as long as the longest recording."""
        arguments = dict(zip(("z_p", "logs_q", "m_p", "logs_p", "z_mask"), values, strict=False)) | named
        missing = arguments["z_p"].size(2) - arguments["z_mask"].size(2)
        arguments["z_mask"] = torch.nn.functional.pad(arguments["z_mask"], (0, missing))
        return original(**arguments)


def be_deterministic() -> None:
    """Let torch use deterministic algorithms; the few operations that have none only warn.

    On an H200 a training that was repeated, stopped or killed was then the same to the bit; without it
    atomic additions made even the repeated one differ after some steps, by up to 0.3 % of a loss.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # It costs time.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """Compute no gradients of the model's weights."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32 and value.numel() == 1


def _parameters(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters) if callable(function) else ()
