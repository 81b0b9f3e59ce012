"""Write a trained voice as this repository has it: 8 bits a weight, a scale for each row.

    python -m benchmarks.base_voice.ship voice_average.pth

By `measure.py` it speaks as before: the mel distance is the same to the second decimal.
"""

import sys

import torch

from orchestrator.emulator.demo.voice import WEIGHTS

_SMALLEST = 256  # Smaller tensors are kept as halves.


def main() -> None:
    """Read the checkpoint that the command line names, and write the repository's."""
    model, scales = {}, {}
    for name, values in torch.load(sys.argv[1], weights_only=True)["model"].items():
        if values.dim() < 2 or values.numel() <= _SMALLEST:
            model[name] = values.half()
            continue
        rows = values.float().flatten(1)
        scale = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=1e-6).half()
        scales[name] = scale[:, 0]
        model[name] = (rows / scale.float()).round().clamp(-127, 127).to(torch.int8).reshape(values.shape)
    torch.save({"model": model, "scales": scales}, WEIGHTS)


if __name__ == "__main__":
    main()
