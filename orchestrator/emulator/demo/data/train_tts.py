"""Fine-tune a Bangla VITS voice with Coqui TTS (written for coqui-tts 0.28).

    python train_tts.py --config_path config.json --restore_path model_file.pth

`--continue_path RUN_FOLDER` continues an earlier run instead. The trainer's other options work too.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from trainer import Trainer, TrainerArgs
from TTS.config import load_config
from TTS.tts.datasets import load_tts_samples
from TTS.tts.models import setup_model
from TTS.utils.generic_utils import ConsoleFormatter, setup_logger


@dataclass
class Arguments(TrainerArgs):  # type: ignore[misc] # The trainer ships no type information.
    """The trainer's options and the path of the config."""

    config_path: str | None = field(default=None, metadata={"help": "Path of the voice's config.json."})


def main() -> None:
    """Read the options, load config and samples, and train."""
    setup_logger("TTS", stream=sys.stdout, formatter=ConsoleFormatter())
    arguments = Arguments()
    options, overrides = arguments.init_argparse(arg_prefix="").parse_known_args()
    arguments.parse_args(options)

    if options.config_path:
        config_path = Path(options.config_path)
    elif options.continue_path:
        config_path = Path(options.continue_path, "config.json")
    else:
        sys.exit("train_tts.py: give --config_path (and --restore_path), or --continue_path")
    config = load_config(str(config_path))
    if overrides:
        config.parse_known_args(overrides, relaxed_parser=True)

    train_samples, eval_samples = load_tts_samples(
        config,
        eval_split=True,
        eval_split_max_size=config.eval_split_max_size,
        eval_split_size=config.eval_split_size,
    )
    model = setup_model(config)
    trainer = Trainer(
        arguments,
        model.config,
        config.output_path,
        model=model,
        train_samples=train_samples,
        eval_samples=eval_samples,
        parse_command_line_args=False,
    )
    trainer.fit()


if __name__ == "__main__":
    main()
