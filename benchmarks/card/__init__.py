"""What kgtts does on a real NVIDIA GPU: speed against Coqui's own command, two ranks, and faults.

Run it from the repository, on a machine with torch, Coqui TTS and a GPU; it needs no network:

    python -m benchmarks.card [PART ...] [--out FOLDER] [--minutes N] [--dry-run]

Parts, in this order without any named:

- `start`: versions, the texts of nvidia-smi, the kernel's start report, and the GPU's own ceilings.
- `speed`: the whole VITS (83 million parameters) in fp16 by Coqui's command and under the kernel's host, with
  batches of 16, 45 s each.
- `compare`: one process, the same batches, each of the host's ways to make a step faster in turn; a profile.
- `lengths`: what a step costs at a length that cuDNN has not seen, and what rounded lengths save.
- `train`: the whole VITS by `kgtts train`: interrupted, gone on with, exported, spoken with and packaged.
- `exact`: a small voice by `kgtts train`, deterministic, whole and interrupted twice: the same weights?
- `ranks`: two ranks on the one GPU over gloo: gradients, weights, and steps that the loss scaler skips.
- `memory`: GPU memory that really runs out, on either rank, in the forward and the backward pass.
- `nan`: losses that are not finite.
- `resume`: sessions that are stopped or killed and resumed, against one that is not.

`count` (only if named) counts operations and bytes of a step; it needs no GPU.

Every result is written at once to `card.jsonl` and `card.txt` in the folder, the ends of logs to
`card-logs.txt`. A part that fails or takes too long ends alone. `--dry-run` does all of it on the CPU with a
small voice. Without a network, bring Coqui TTS and what it needs as wheels; for Python 3.12 on x86-64:

    python -m benchmarks.card --prepare FOLDER
"""
