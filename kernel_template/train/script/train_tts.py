"""Fine-tune a voice with Coqui TTS (written for coqui-tts 0.28). It trains if the dataset has no script.

    python train_tts.py --config_path config.json --restore_path model_file.pth

`--continue_path RUN_FOLDER` continues an earlier run instead. The trainer's other options work too. Copied
into a dataset as `MyTTSDataset/train_tts.py`, it can be changed there.
"""

import functools
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer import Trainer, TrainerArgs
from TTS.config import get_from_config_or_model_args, load_config
from TTS.tts.datasets import _FORMATTER_REGISTRY, load_tts_samples
from TTS.tts.models import setup_model
from TTS.utils.generic_utils import ConsoleFormatter, setup_logger

FORMATTER = "ljspeech"  # Rows of `name|text|text`, and recordings in wavs/.
SPEAKER = 3  # The column that `kgtts data prepare` adds if there are several speakers.
LEAST_EVAL = 2  # Coqui takes a number above 1 for a count, and others for a share.
LEAST_SAMPLES = LEAST_EVAL + 1


@dataclass
class Arguments(TrainerArgs):  # type: ignore[misc] # The trainer ships no type information.
    """The trainer's options and the path of the configuration."""

    config_path: str | None = field(default=None, metadata={"help": "Path of the voice's config.json."})


def read_arguments() -> tuple[Arguments, Any]:
    """Return the trainer's options and the configuration that they name."""
    arguments = Arguments()
    options, overrides = arguments.init_argparse(arg_prefix="").parse_known_args()
    arguments.parse_args(options)
    if options.config_path:
        path = Path(options.config_path)
    elif options.continue_path:
        path = Path(options.continue_path, "config.json")
    else:
        sys.exit("train_tts.py: give --config_path (and --restore_path), or --continue_path")
    config = load_config(str(path))
    if overrides:
        config.parse_known_args(overrides, relaxed_parser=True)
    return arguments, config


def name_formatters(config: Any) -> None:
    """Replace formatters that this Coqui does not have: those of a notebook are functions of its own."""
    for dataset in config.datasets:
        if str(dataset.formatter).lower() not in _FORMATTER_REGISTRY:
            print(f" > Coqui has no formatter {dataset.formatter!r}: {dataset.path} is read as {FORMATTER}.")
            dataset.formatter = FORMATTER


def with_speakers(original: Any, root_path: Any, meta_file: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """Read rows as the ljspeech formatter does, and the speaker from a fourth column if all rows have one."""
    items: list[dict[str, Any]] = original(root_path, meta_file, **kwargs)
    rows = Path(root_path, meta_file).read_text(encoding="utf-8").splitlines()
    columns = [row.split("|") for row in rows if row.strip()]
    speakers = [row[SPEAKER].strip() for row in columns if len(row) == SPEAKER + 1]
    if len(speakers) == len(items) and all(speakers):
        for item, speaker in zip(items, speakers, strict=True):
            item["speaker_name"] = speaker
    return items


def load_samples(config: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the samples to train on and those to evaluate on; of few samples, two are for evaluation."""

    def load(size: float) -> Any:
        return load_tts_samples(
            config,
            eval_split=True,
            eval_split_max_size=config.eval_split_max_size,
            eval_split_size=size,
        )

    try:
        train, evaluation = load(config.eval_split_size)
    except AssertionError as error:
        if "evaluation set" not in str(error):
            raise
        train, evaluation = load(LEAST_EVAL)
    if not train:
        sys.exit(f"The dataset has {len(evaluation)} samples; a training needs at least {LEAST_SAMPLES}.")
    return train, evaluation


def describe(config: Any, train: list[dict[str, Any]], evaluation: list[dict[str, Any]]) -> None:
    """Say what is trained on, and when several speakers become one voice."""
    speakers = Counter(str(sample.get("speaker_name")) for sample in train + evaluation)
    print(f" > {len(train)} samples to train on, {len(evaluation)} to evaluate on, {len(speakers)} speakers")
    several = ("use_speaker_embedding", "use_d_vector_file")
    if len(speakers) > 1 and not any(get_from_config_or_model_args(config, key) for key in several):
        print(
            " > The voice has no speakers of its own, so all of them become one. To keep them apart, set\n"
            '   "model_args.use_speaker_embedding" = true in training.coqui.'
        )


def main() -> None:
    """Read the options, the configuration and the samples, and train."""
    setup_logger("TTS", stream=sys.stdout, formatter=ConsoleFormatter())
    arguments, config = read_arguments()
    name_formatters(config)
    _FORMATTER_REGISTRY[FORMATTER] = functools.partial(with_speakers, _FORMATTER_REGISTRY[FORMATTER])
    train, evaluation = load_samples(config)
    describe(config, train, evaluation)
    model = setup_model(config)
    trainer = Trainer(
        arguments,
        model.config,
        config.output_path,
        model=model,
        train_samples=train,
        eval_samples=evaluation,
        parse_command_line_args=False,
    )
    trainer.fit()


if __name__ == "__main__":
    main()
