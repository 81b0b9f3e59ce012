"""Two base voices that a laptop's CPU fine-tunes within seconds, both at step 0 and epoch 0.

- One speaks: a VITS of 3.3 million parameters, trained on the speech of eSpeak NG's `bn` voice
  (see `benchmarks/base_voice`). This package has only the part that speaks, with 8 bits a weight; the
  discriminator is drawn anew from a fixed seed.
- The small one hums: 0.2 million untrained parameters. Tests and benchmarks train it.

Both have the text settings of the released Bangla voices, and the form of their time: 82 characters, no
cleaner, ড়, ঢ় and য় in both spellings, neither ৭ nor ৯, `characters_class` null, plain test sentences,
`Infinity`, and weights named `weight_g` and `weight_v`.

Neither has period discriminators (`periods_multi_period_discriminator`), since they are what makes VITS slow
on a CPU. The scale discriminator that remains has 5.6 million parameters, which a checkpoint holds too.
"""

import gc
import hashlib
import importlib
import importlib.metadata
import json
import math
import sys
from pathlib import Path
from typing import Any

SAMPLE_RATE = 22_050  # Hz
LANGUAGE = "bn-Bangladesh"
DATASET_FOLDER = "/kaggle/input/datahrbnn/MyTTSDataset"  # The path in Kaggle's oldest mount layout.
TEST_SENTENCES = (
    "আপনাকে স্বাগতম, আমি বাংলায় কথা বলতে শিখছি।",
    "আজ সকালে নদীর ধারে ঠান্ডা হাওয়া বইছে।",
)

_RECIPE = 2  # Increase it if the code below builds something else from the same settings.
_SEED = 54_321
WEIGHTS = Path(__file__).resolve().parent / "data" / "base_voice.pth"
_SPEAKING = "--speaking"


CHARACTERS = "ইগং\u09bc’ুঃন১ঝূও‘ঊোছপফৈ৮ষযৎঢঈকঠিজ০৬ীটডএঅঋধচে২৩ণউ\u09df\u09ddখলভৗসহ্\u09dcদথবঔাঞশরৌম—ঐআৃঘঙ\u200cঁ৪৫ত"
PUNCTUATION = ".?-!|, "
_SMALL = {
    "hidden_channels": 16,
    "hidden_channels_ffn_text_encoder": 32,
    "num_heads_text_encoder": 2,
    "num_layers_text_encoder": 1,
    "num_layers_posterior_encoder": 2,
    "num_layers_flow": 1,
    "upsample_initial_channel_decoder": 32,
}
_LARGE = {
    "hidden_channels": 96,
    "hidden_channels_ffn_text_encoder": 256,
    "num_heads_text_encoder": 2,
    "num_layers_text_encoder": 4,
    "num_layers_posterior_encoder": 4,
    "num_layers_flow": 2,
    "resblock_type_decoder": "2",
    "resblock_kernel_sizes_decoder": [3, 5, 7],
    "resblock_dilation_sizes_decoder": [[1, 2], [2, 6], [3, 12]],
    "upsample_rates_decoder": [8, 8, 4],
    "upsample_kernel_sizes_decoder": [16, 16, 8],
    "upsample_initial_channel_decoder": 192,
}


def settings(*, speaking: bool = False) -> dict[str, Any]:
    """The config of a voice: the Coqui keys that differ from the defaults of VITS, as strict JSON.

    Args:
        speaking: of the voice that speaks; otherwise of the small one.
    """
    return {
        "model": "vits",
        "run_name": "bangla",
        "run_description": "A Bangla voice for trying things out on a CPU.",
        "output_path": "/kaggle/working/training",
        "training_seed": _SEED,
        "epochs": 2,
        "batch_size": 2,  # Seven steps an epoch: enough for the mel loss to fall clearly within two.
        "eval_batch_size": 2,
        "num_loader_workers": 0,
        "num_eval_loader_workers": 0,
        "mixed_precision": False,
        "precision": "fp32",
        "cudnn_benchmark": False,
        "lr_gen": 0.0005 if speaking else 0.001,
        "lr_disc": 0.0002 if speaking else 0.001,
        "run_eval": True,
        "eval_split_size": 2,
        "eval_split_max_size": 2,
        "test_delay_epochs": 1_000,  # The kernel makes the samples; the trainer's plots would take seconds.
        "print_step": 1,
        "print_eval": False,
        "plot_step": 1_000,
        "save_step": 6,
        "save_n_checkpoints": 2,
        "save_best_after": 0,
        "log_model_step": 1_000,
        "dashboard_logger": "tensorboard",
        # Finite limits keep config.json strict JSON (the defaults are written as Infinity) and batches small.
        "min_audio_len": SAMPLE_RATE // 2,
        "max_audio_len": SAMPLE_RATE * 12,
        "max_text_len": 250,
        "text_cleaner": None,
        "use_phonemes": False,
        "add_blank": True,
        "characters": {
            "characters_class": None,
            "pad": "<PAD>",
            "eos": "।",
            "bos": "<BOS>",
            "blank": "<BLNK>",
            "characters": CHARACTERS,
            "punctuations": PUNCTUATION,
            "is_unique": True,
            "is_sorted": True,
        },
        "audio": {"sample_rate": SAMPLE_RATE, "fft_size": 1024, "win_length": 1024, "hop_length": 256},
        "datasets": [
            {
                "formatter": "ljspeech",
                "dataset_name": "datahrbnn",
                "path": DATASET_FOLDER,
                "meta_file_train": "metadata.csv",
                "language": LANGUAGE,
            }
        ],
        "test_sentences": [[sentence] for sentence in TEST_SENTENCES],
        "model_args": {
            **(_LARGE if speaking else _SMALL),
            "periods_multi_period_discriminator": [],
            "spec_segment_size": 16,
            "use_sdp": False,
        },
    }


# As the released voices' config.json has them; they mean the same as in `settings`.
_OLD_FORM = {"test_sentences": list(TEST_SENTENCES), "max_text_len": math.inf, "max_audio_len": math.inf}


def recipe_key(*, speaking: bool = False) -> str:
    """A name that changes with everything the voice depends on: settings, code, and installed libraries.

    Args:
        speaking: of the voice that speaks; otherwise of the small one.

    Raises:
        importlib.metadata.PackageNotFoundError: torch or coqui-tts is not installed.
    """
    made_from = {
        "recipe": _RECIPE,
        "seed": _SEED,
        "settings": settings(speaking=speaking),
        "weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() if speaking else None,
        "libraries": {name: importlib.metadata.version(name) for name in ("torch", "coqui-tts")},
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def build_command(folder: Path, *, speaking: bool) -> list[str]:
    """The command that runs `build_voice` in a process of its own: torch and TTS take seconds to import."""
    command = [sys.executable, "-P", "-m", "orchestrator.emulator.demo.voice", str(folder)]
    return [*command, _SPEAKING] if speaking else command


def build_voice(folder: Path, *, speaking: bool) -> None:
    """Write `config.json` (every key that Coqui knows) and `model_file.pth` into an existing folder.

    The checkpoint contains only tensors, numbers and text, and loads with `weights_only=True`.

    Args:
        folder: where to.
        speaking: the voice that speaks; otherwise the small one.
    """
    torch = importlib.import_module("torch")
    vits_config = importlib.import_module("TTS.tts.configs.vits_config").VitsConfig
    setup_model = importlib.import_module("TTS.tts.models").setup_model

    config = vits_config()
    config.from_dict(settings(speaking=speaking))
    torch.manual_seed(_SEED)
    model = setup_model(config)
    if speaking:
        missing, unknown = model.load_state_dict(_trained(torch), strict=False)
        if unknown or not all(name.startswith("disc.") for name in missing):
            raise SystemExit(f"{WEIGHTS} does not fit this release of coqui-tts: {[*unknown, *missing][0]}")
    written = model.config.to_dict() | _OLD_FORM
    written["characters"]["characters_class"] = None  # Coqui has filled it in.
    (folder / "config.json").write_text(json.dumps(written, ensure_ascii=False, indent=2), encoding="utf-8")
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {_old_name(name): values for name, values in model.state_dict().items()}
    torch.save({"model": weights, "config": stored, "step": 0, "epoch": 0}, folder / "model_file.pth")


def _old_name(name: str) -> str:
    """A weight's name as torch had it before its weight norm became a parametrization."""
    for number, letter in enumerate("gv"):
        name = name.replace(f".parametrizations.weight.original{number}", f".weight_{letter}")
    return name


def _trained(torch: Any) -> dict[str, Any]:
    """The trained weights. Those of 8 bits have a scale for each row; `benchmarks/base_voice` writes them."""
    stored = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    weights = {}
    for name, values in stored["model"].items():
        scales = stored["scales"].get(name)
        weights[name] = (
            values.float()
            if scales is None
            else values.float() * scales.float().reshape(-1, *[1] * (values.dim() - 1))
        )
    return weights


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):  # noqa: PLR2004 - the program and the folder.
        raise SystemExit(f"usage: python -m orchestrator.emulator.demo.voice FOLDER [{_SPEAKING}]")
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    gc.disable()  # To look through what the imports leave takes a second.
    build_voice(place, speaking=_SPEAKING in sys.argv[2:])
    gc.freeze()
