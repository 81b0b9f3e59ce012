"""Small base voices, as Coqui's trainer saves them and as people have them."""

import json
from pathlib import Path
from typing import Any

LETTERS = {
    "characters": "অআকখগ",
    "punctuations": "।?! ",
    "pad": "<PAD>",
    "eos": "<EOS>",
    "bos": "<BOS>",
    "blank": "<BLNK>",
}
ROWS = 13
# As coqui-tts 0.22 wrote it, on another machine.
OLD_CONFIG: dict[str, Any] = {
    "model": "vits",
    "audio": {"sample_rate": 22050, "fft_size": 1024},
    "characters": {**LETTERS, "characters_class": None, "is_unique": True, "is_sorted": True},
    "use_phonemes": False,
    "test_sentences": ["আমি", "তুমি"],
    "max_text_len": float("inf"),
    "datasets": [{"formatter": "", "path": "/home/somebody/bn/", "meta_file_train": "/home/somebody/m.txt"}],
    "output_path": "/home/somebody/out",
    "restore_path": "C:\\voices\\x.pth",
}


def state(*, old: bool = False, discriminator: bool = True) -> dict[str, Any]:
    """Return a trainer's state with the parts of a VITS, each of a few values."""
    import torch  # noqa: PLC0415 - the extra `local` has it.

    today = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    norm = ("weight_g", "weight_v") if old else today
    weights = {
        "text_encoder.emb.weight": torch.rand(ROWS, 4),
        "posterior_encoder.pre.weight": torch.rand(2, 3, 1),
        "flow.flows.0.pre.weight": torch.rand(6)[1:5].reshape(2, 2).t(),
        "duration_predictor.log_flow.scale": torch.rand(2).half(),
        f"waveform_decoder.ups.0.{norm[0]}": torch.rand(2, 1, 1),
        f"waveform_decoder.ups.0.{norm[1]}": torch.rand(2, 1, 3),
        "waveform_decoder.counter": torch.tensor(7),
    }
    if discriminator:
        weights["disc.nets.0.weight"] = torch.rand(3)
    return {
        "model": weights,
        "optimizer": [{"state": {0: {"exp_avg": torch.rand(1000)}}, "param_groups": []}],
        "scaler": None,
        "config": {"model": "vits", "rate": 2.5, "list": [True, None, -3, "ক"]},
        "step": 845_500,
        "epoch": 12,
        "date": "May 02, 2023",
    }


def write_voice(
    folder: Path, content: Any = None, config: Any = None, *, name: str = "model_file.pth", **options: Any
) -> Path:
    """Write a base voice into a folder; `options` are those of torch.save."""
    import torch  # noqa: PLC0415 - as above.

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state(old=True) if content is None else content, folder / name, **options)
    (folder / "config.json").write_text(
        json.dumps(OLD_CONFIG if config is None else config), encoding="utf-8"
    )
    return folder
