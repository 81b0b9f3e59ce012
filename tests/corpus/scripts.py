"""Training scripts in the ways in which people write them. `@ROOT@` stands for /kaggle."""

# TTS/bin/train_tts.py as it was in 0.22.
OLD_TRAIN_TTS = """
import os
from dataclasses import dataclass, field
from trainer import Trainer, TrainerArgs
from TTS.config import load_config, register_config
from TTS.tts.datasets import load_tts_samples
from TTS.tts.models import setup_model

@dataclass
class Arguments(TrainerArgs):
    config_path: str = field(default=None, metadata={"help": "Path to the config file."})

def main():
    arguments = Arguments()
    parser = arguments.init_argparse(arg_prefix="")
    options, overrides = parser.parse_known_args()
    arguments.parse_args(options)
    path = options.config_path or os.path.join(options.continue_path, "config.json")
    config = load_config(path)
    if overrides:
        config.parse_known_args(overrides, relaxed_parser=True)
    train, evaluation = load_tts_samples(
        config.datasets,
        eval_split=True,
        eval_split_max_size=config.eval_split_max_size,
        eval_split_size=config.eval_split_size,
    )
    model = setup_model(config, train + evaluation)
    trainer = Trainer(
        arguments, model.config, config.output_path, model=model, train_samples=train,
        eval_samples=evaluation, parse_command_line_args=False, training_assets={"audio_processor": None},
    )
    trainer.fit()

if __name__ == "__main__":
    main()
"""

# What the scripts below share: the voice of the configuration, made by hand.
_OWN = """
import json, os, sys
from trainer import Trainer, TrainerArgs
from TTS.tts.configs.shared_configs import BaseDatasetConfig, CharactersConfig
from TTS.tts.configs.vits_config import VitsConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.models.vits import Vits, VitsArgs
base = json.load(open("@ROOT@/input/models/owner/ttsbnng/transformers/default/1/model/config.json"))
DATA = "@ROOT@/input/datasets/owner/datahrbnn/MyTTSDataset"
LETTERS = base["characters"]
SMALL = dict(
    run_name="own", batch_size=2, eval_batch_size=2, num_loader_workers=0, num_eval_loader_workers=0,
    print_step=1, save_step=3, epochs=20, test_delay_epochs=1000, eval_split_size=2, eval_split_max_size=2,
    lr_gen=0.00017, text_cleaner="basic_cleaners", max_audio_len=22050 * 12, min_audio_len=11025,
)
"""
_MODEL_ARGS = "model_args=VitsArgs(**{k: base['model_args'][k] for k in KEYS})"
_KEYS = """
KEYS = ("hidden_channels", "hidden_channels_ffn_text_encoder", "num_heads_text_encoder",
    "num_layers_text_encoder", "num_layers_posterior_encoder", "num_layers_flow",
    "upsample_initial_channel_decoder",
    "periods_multi_period_discriminator", "spec_segment_size", "use_sdp")
"""

# A notebook for a Bangla voice: classes and arguments of 0.22, an own formatter, hard-coded paths, one GPU.
NOTEBOOK = (
    "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '0'\n"
    + _OWN
    + _KEYS
    + f"""
from TTS.tts.models.vits import VitsAudioConfig
from TTS.tts.utils.text.tokenizer import TTSTokenizer
from TTS.utils.audio import AudioProcessor

def formatter(root_path, manifest_file, **kwargs):
    items = []
    with open(os.path.join(root_path, manifest_file), encoding="utf-8") as lines:
        for line in lines:
            name, text, _ = line.split("|")
            items.append(dict(text=text, audio_file=os.path.join(root_path, "wavs", name + ".wav"),
                speaker_name="female", root_path=root_path))
    return items

dataset = BaseDatasetConfig(meta_file_train="metadata.csv", path=DATA)
audio = VitsAudioConfig(sample_rate=22050, win_length=1024, hop_length=256, num_mels=80,
    mel_fmin=0, mel_fmax=None)
characters = CharactersConfig(characters_class="TTS.tts.models.vits.VitsCharacters",
    characters=LETTERS["characters"], punctuations=LETTERS["punctuations"],
    pad=LETTERS["pad"], eos=LETTERS["eos"], bos=LETTERS["bos"],
    blank=LETTERS["blank"], is_unique=True)
config = VitsConfig(audio=audio, characters=characters, datasets=[dataset], output_path="@ROOT@/working/mine",
    use_language_embedding=False, {_MODEL_ARGS}, **SMALL)
ap = AudioProcessor.init_from_config(config)
tokenizer, config = TTSTokenizer.init_from_config(config)
train, evaluation = load_tts_samples(dataset, eval_split=True, formatter=formatter, eval_split_size=2)
model = Vits(config, ap, tokenizer, speaker_manager=None)
arguments = TrainerArgs(
    restore_path="@ROOT@/input/models/owner/ttsbnng/transformers/default/1/model/model_file.pth")
Trainer(arguments, config, config.output_path, model=model, train_samples=train,
    eval_samples=evaluation).fit()
"""
)

# The same, with the paths of an older mount layout and another dataset's name.
HARD_CODED = NOTEBOOK.replace("@ROOT@/input/datasets/owner/datahrbnn", "/kaggle/input/datahrbn").replace(
    "@ROOT@/input/models/owner", "/kaggle/input"
)

# A recipe: writes beside itself; its letters are given by the placeholder.
RECIPE = (
    _OWN
    + _KEYS
    + f"""
output_path = os.path.dirname(os.path.abspath(__file__))
dataset = BaseDatasetConfig(formatter="ljspeech", meta_file_train="metadata.csv", path=DATA)
config = VitsConfig(datasets=[dataset], output_path=output_path,
    phoneme_cache_path=os.path.join(output_path, "cache"), characters=@LETTERS@, {_MODEL_ARGS}, **SMALL)
train, evaluation = load_tts_samples(config, eval_split=True, eval_split_size=2)
Trainer(TrainerArgs(), config, output_path, model=Vits(config), train_samples=train,
    eval_samples=evaluation).fit()
"""
)

# A recipe that makes folders and files beside itself before it trains.
BESIDE = RECIPE.replace(
    "dataset = ",
    """
os.makedirs(os.path.join(output_path, "cache"), exist_ok=True)
json.dump({"me": 0}, open(os.path.join(output_path, "speakers.json"), "w"))
assert len([name for _, _, names in os.walk(output_path) for name in names if name.endswith(".wav")]) > 5
DATA = output_path
dataset = """,
    1,
)

# The same, which goes to its own folder first, and has a module there.
GOES_THERE = "import os, sys\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\n" + RECIPE.replace(
    "dataset = ", "import my_formatter\nDATA = '.'\ndataset = ", 1
).replace("output_path = os.path.dirname(os.path.abspath(__file__))", "output_path = 'output'").replace(
    "load_tts_samples(config,", "load_tts_samples(config, formatter=my_formatter.read,"
)
MY_FORMATTER = """
import os

def read(root_path, meta_file, **kwargs):
    rows = [line.split("|") for line in open(os.path.join(root_path, meta_file), encoding="utf-8")]
    return [dict(text=row[1], audio_file=os.path.join(root_path, "wavs", row[0] + ".wav"), speaker_name="me",
        root_path=root_path) for row in rows]
"""

# Written for Colab, with the paths of another machine.
COLAB = "from google.colab import drive\ndrive.mount('/content/drive')\n" + NOTEBOOK
ELSEWHERE = (
    NOTEBOOK.replace("@ROOT@/input/datasets/owner/datahrbnn", "/content")
    .replace("@ROOT@/input/models/owner/ttsbnng/transformers/default/1", r"C:\\Users\\me")
    .replace("@ROOT@/working/mine", "/content/out")
)
EXPORTED = "get_ipython().system('pip install coqui-tts')\n" + NOTEBOOK
WITH_MAGIC = "!pip install coqui-tts\n" + NOTEBOOK

# Several speakers, in the way of 0.22.
SPEAKERS = (
    _OWN
    + _KEYS
    + f"""
from TTS.tts.utils.speakers import SpeakerManager
from TTS.tts.utils.text.tokenizer import TTSTokenizer
from TTS.utils.audio import AudioProcessor

def formatter(root_path, meta_file, **kwargs):
    items = []
    for number, line in enumerate(open(os.path.join(root_path, meta_file), encoding="utf-8")):
        name, text, _ = line.split("|")
        items.append(dict(text=text, audio_file=os.path.join(root_path, "wavs", name + ".wav"),
            speaker_name=f"speaker{{number % 2}}", root_path=root_path))
    return items

dataset = BaseDatasetConfig(name="mine", meta_file_train="metadata.csv", path=DATA)
config = VitsConfig(datasets=[dataset], output_path="@ROOT@/working/out",
    characters=CharactersConfig(**LETTERS),
    use_speaker_embedding=True, {_MODEL_ARGS}, **SMALL)
config.model_args.use_speaker_embedding = True
ap = AudioProcessor.init_from_config(config)
tokenizer, config = TTSTokenizer.init_from_config(config)
train, evaluation = load_tts_samples(dataset, eval_split=True, formatter=formatter, eval_split_size=2)
speakers = SpeakerManager()
speakers.set_ids_from_data(train + evaluation, parse_key="speaker_name")
config.num_speakers = config.model_args.num_speakers = speakers.num_speakers
model = Vits(config, ap, tokenizer, speakers)
Trainer(TrainerArgs(), config, config.output_path, model=model, train_samples=train,
    eval_samples=evaluation).fit()
"""
)

# Today's script, with places to change.
TODAY = """
import os, sys
from dataclasses import dataclass, field
@BEFORE@
from trainer import Trainer, TrainerArgs
from TTS.config import load_config
from TTS.tts.datasets import load_tts_samples
from TTS.tts.models import setup_model

@dataclass
class Arguments(TrainerArgs):
    config_path: str = field(default=None, metadata={"help": "The configuration."})

arguments = Arguments()
options, _ = arguments.init_argparse(arg_prefix="").parse_known_args()
arguments.parse_args(options)
config = load_config(options.config_path)
@CONFIG@
train, evaluation = load_tts_samples(config, eval_split=True, eval_split_max_size=2, eval_split_size=2)
@SAMPLES@
Kind = Trainer
@KIND@
model = setup_model(config)
@MODEL@
trainer = Kind(arguments, model.config, config.output_path, model=model, train_samples=train,
    eval_samples=evaluation, parse_command_line_args=False)
trainer.@FIT@()
@AFTER@
"""


def today(**changes: str) -> str:
    """Today's script with lines put in: before, config, samples, kind, model, fit and after."""
    script = TODAY
    for name in ("before", "config", "samples", "kind", "model", "after"):
        script = script.replace(f"@{name.upper()}@", changes.get(name, ""))
    return script.replace("@FIT@", changes.get("fit", "fit"))


# A subclass with callbacks of its own, which evaluates first.
SUBCLASS = today(
    config="arguments.start_with_eval = True",
    kind="""
class Kind(Trainer):
    def train_epoch(self):
        print("MY EPOCH", flush=True)
        super().train_epoch()
""",
)
# A subclass for an older trainer, whose methods had other arguments.
OLD_SUBCLASS = today(
    kind="""
class Kind(Trainer):
    def restore_model(self, config, restore_path, model, optimizer, scaler=None):
        return model, optimizer, scaler, 0
"""
)
# Fine-tuning as some tutorials do it: weights loaded by the model, a part of it frozen.
FROZEN = today(
    model="""
model.load_checkpoint(config, options.restore_path)
arguments.restore_path = ""
for parameter in model.text_encoder.parameters():
    parameter.requires_grad = False
"""
)
# Splits the metadata by itself, into files of its own.
SPLITS = today(
    before="FOLDER = '@ROOT@/working/split'\nos.makedirs(FOLDER, exist_ok=True)",
    config="""
data = config.datasets[0]
rows = open(os.path.join(data.path, data.meta_file_train), encoding="utf-8").readlines()
for name, part in (("train", rows[2:]), ("val", rows[:2])):
    open(f"{FOLDER}/{name}.txt", "w", encoding="utf-8").writelines(part)
data.meta_file_train, data.meta_file_val = f"{FOLDER}/train.txt", f"{FOLDER}/val.txt"
""",
)
# Two datasets, of which one has a formatter of the script's own, in the way of 0.22.
TWO_SETS = today(
    before="import TTS.tts.datasets\nfrom TTS.tts.datasets.formatters import ljspeech\n"
    "TTS.tts.datasets.mine = ljspeech",
    config="other = config.datasets[0].copy()\nother.formatter = 'mine'\nconfig.datasets.append(other)",
)
# Neither evaluates nor keeps its best model.
NO_EVALUATION = today(
    config="config.run_eval = False\nconfig.save_best_after = 10**9",
    samples="evaluation = None",
)
# Goes on after the training, with a file that is not there.
GOES_ON = today(after="open(os.path.join(trainer.output_path, 'best_model_of_all.pth'))")
# Hides every failure, and loads its data in processes of their own.
SWALLOWS = today(config="config.num_loader_workers = config.num_eval_loader_workers = 2").replace(
    "trainer.fit()", "try:\n    trainer.fit()\nexcept:\n    print('it failed')"
)
LARGEST_BATCH = today(fit="fit_with_largest_batch_size")
WEIGHTED = today(
    config="config.use_weighted_sampler = True\nconfig.weighted_sampler_attrs = {'speaker_name': 1.0}"
)
_NO_ESPEAK = "os.environ['PATH'] = '/nowhere'"
PHONEMES = today(
    before=_NO_ESPEAK,
    config="config.use_phonemes = True\nconfig.phonemizer = 'espeak'\nconfig.phoneme_language = 'bn'",
)
# The same, where not even the package is.
NO_PHONEMES = PHONEMES.replace(_NO_ESPEAK, _NO_ESPEAK + "; sys.modules['espeakng_loader'] = None")
EVALUATES_OFTEN = today(config="config.run_eval_steps = 3\nconfig.save_step = 1")
RANDOM_SAMPLES = today(
    samples="import random\nrandom.seed()\nrandom.shuffle(train)\ntrain = train[: random.choice((7, 9, 11))]"
)
# Copies the data first: without a guard, after a clean-up, or resampled file by file.
_COPY = """
import shutil
SOURCE, COPY = "@ROOT@/input/datasets/owner/datahrbnn/MyTTSDataset", "@ROOT@/temp/copy"
"""
_USE_COPY = "config.datasets[0].path = COPY"
COPIES = today(before=_COPY + "shutil.copytree(SOURCE, COPY)", config=_USE_COPY)
CLEANS_UP = today(
    before=_COPY + "shutil.rmtree(COPY, ignore_errors=True)\nshutil.copytree(SOURCE, COPY)", config=_USE_COPY
)
RESAMPLES = today(
    before=_COPY
    + """
if not os.path.exists(COPY):
    os.makedirs(COPY + "/wavs")
    shutil.copy(SOURCE + "/metadata.csv", COPY)
    import soundfile
    for name in sorted(os.listdir(SOURCE + "/wavs")):
        samples, rate = soundfile.read(f"{SOURCE}/wavs/{name}")
        soundfile.write(f"{COPY}/wavs/{name}", samples * 0.9, rate)
""",
    config=_USE_COPY,
)
STRICT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.parse_args()
"""
CLICK = """
import click
@click.command()
@click.option("--data", required=True)
def main(data): pass
main()
"""
NEEDS_BOTH = today(
    before="assert '--restore_path' in sys.argv and '--config_path' in sys.argv, 'both are needed'"
)
MISSING_PACKAGE = today(before="import a_package_that_nobody_has")
SYNTAX = "def main(:\n    pass\n"
