"""The demo's base voice: a VITS small enough to fine-tune on a laptop's CPU within seconds.

It is an untrained voice: weights drawn from a fixed seed, at step 0 and epoch 0. The demo shows the way from
a base checkpoint to a trained one. The few steps that a laptop makes do not give intelligible speech.

Sizes with coqui-tts 0.28: 5.9 million parameters, 24 MB; trained checkpoints 71 MB. It has no period
discriminators (`periods_multi_period_discriminator`), since they are what makes VITS slow on a CPU.
"""

import hashlib
import importlib
import importlib.metadata
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

SAMPLE_RATE = 22_050  # Hz
LANGUAGE = "bn-Bangladesh"
DATASET_FOLDER = "/kaggle/input/datahrbnn/MyTTSDataset"  # The path in Kaggle's oldest mount layout.
TEST_SENTENCES = (
    "আপনাকে স্বাগতম, আমি বাংলায় কথা বলতে শিখছি।",
    "আজ সকালে নদীর ধারে ঠান্ডা হাওয়া বইছে।",
)

_RECIPE = 1  # Increase it if the code below builds something else from the same settings.
_SEED = 54_321


def _bangla_characters() -> str:
    """All assigned characters of the Bengali block, the joiners, and Latin letters and digits.

    The joiners (ZWNJ, ZWJ) belong to the spelling of words such as র‍্যাব. Coqui's cleaner makes Latin
    text lower case.
    """
    bengali = [chr(code) for code in range(0x0980, 0x0A00) if unicodedata.category(chr(code)) != "Cn"]
    latin = [chr(code) for code in (*range(ord("0"), ord("9") + 1), *range(ord("a"), ord("z") + 1))]
    return "".join([*bengali, *latin, "\u200c", "\u200d"])


CHARACTERS = _bangla_characters()
PUNCTUATION = " ।॥,;:.?!-–—…'\"‘’“”()[]/%+=&*"


def settings() -> dict[str, Any]:
    """The config of the base voice: the Coqui keys that differ from the defaults of VITS, as strict JSON."""
    return {
        "model": "vits",
        "run_name": "bangla",
        "run_description": "A small Bangla voice for trying things out on a CPU.",
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
        "lr_gen": 0.001,
        "lr_disc": 0.001,
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
        "text_cleaner": "basic_cleaners",
        "use_phonemes": False,
        "add_blank": True,
        "characters": {
            "characters_class": "TTS.tts.utils.text.characters.Graphemes",
            "pad": "<PAD>",
            "eos": "<EOS>",
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
            "hidden_channels": 16,
            "hidden_channels_ffn_text_encoder": 32,
            "num_heads_text_encoder": 2,
            "num_layers_text_encoder": 1,
            "num_layers_posterior_encoder": 2,
            "num_layers_flow": 1,
            "upsample_initial_channel_decoder": 32,
            "periods_multi_period_discriminator": [],
            "spec_segment_size": 16,
            "use_sdp": False,
        },
    }


def recipe_key() -> str:
    """A name that changes with everything the voice depends on: settings, code, and installed libraries.

    Raises:
        importlib.metadata.PackageNotFoundError: torch or coqui-tts is not installed.
    """
    made_from = {
        "recipe": _RECIPE,
        "seed": _SEED,
        "settings": settings(),
        "libraries": {name: importlib.metadata.version(name) for name in ("torch", "coqui-tts")},
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def build_voice(folder: Path) -> None:
    """Write `config.json` (every key that Coqui knows) and `model_file.pth` into an existing folder.

    Imports torch and TTS, which takes seconds and hundreds of megabytes: run it in a process of its own with
    `python -m orchestrator.emulator.demo.voice FOLDER`. The checkpoint contains only tensors, numbers and
    text, and loads with `weights_only=True`.
    """
    torch = importlib.import_module("torch")
    vits_config = importlib.import_module("TTS.tts.configs.vits_config").VitsConfig
    setup_model = importlib.import_module("TTS.tts.models").setup_model

    config = vits_config()
    config.from_dict(settings())
    torch.manual_seed(_SEED)
    model = setup_model(config)
    (folder / "config.json").write_text(
        json.dumps(model.config.to_dict(), ensure_ascii=False, indent=2, allow_nan=False), encoding="utf-8"
    )
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    torch.save(
        {"model": model.state_dict(), "config": stored, "step": 0, "epoch": 0}, folder / "model_file.pth"
    )


if __name__ == "__main__":
    build_voice(Path(sys.argv[1]))
