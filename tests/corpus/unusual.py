"""Training scripts of less usual kinds: in stages, in child processes, with loggers and data of others."""

from tests.corpus.scripts import NOTEBOOK, OLD_TRAIN_TTS, today

# Calls Coqui's own script as a program, as cells of a notebook do; and its launcher for several GPUs.
AS_PROGRAM = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-m", "TTS.bin.train_tts", *sys.argv[1:]]).returncode)
"""
BY_SHELL = """
import os, sys
os.system(f"CUDA_VISIBLE_DEVICES=0 {sys.executable} -m TTS.bin.train_tts " + " ".join(sys.argv[1:]))
"""
SHELL_FILE = """
import os, subprocess, sys
subprocess.run(["bash", os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.sh"), *sys.argv[1:]])
"""
DISTRIBUTED = """
import os, sys
os.system(f"{sys.executable} -m trainer.distribute --script {__file__.replace('train_tts', 'train_one')} "
    + " ".join(sys.argv[1:]))
"""
# Loaders in processes that import the script again, as on Windows.
SPAWNS = today(
    before="import torch\ntorch.multiprocessing.set_start_method('spawn', force=True)",
    config="config.num_loader_workers = config.num_eval_loader_workers = 1",
)
SPAWNS_GUARDED = OLD_TRAIN_TTS.replace(
    'if __name__ == "__main__":\n    main()',
    "if __name__ == '__main__':\n    import torch\n"
    "    torch.multiprocessing.set_start_method('spawn', force=True)\n    main()",
).replace(
    "    train, evaluation",
    "    config.num_loader_workers = config.num_eval_loader_workers = 1\n    train, evaluation",
)
# Begins again after each failure.
RETRIES = today().replace(
    "trainer.fit()",
    "while True:\n    try:\n        trainer.fit()\n        break\n"
    "    except BaseException as error:\n        print('again', error)",
)
# Fails, and hides it.
HIDES = today(
    kind="""
class Kind(Trainer):
    def train_step(self, *args):
        if self.total_steps_done == 2:
            raise ValueError("it broke")
        return super().train_step(*args)
"""
).replace("trainer.fit()", "try:\n    trainer.fit()\nexcept BaseException:\n    pass")
# Trains in stages: a part of the model first, then all of it.
STAGES = today(
    after="""
import glob
newest = sorted(glob.glob(os.path.join(trainer.output_path, "checkpoint_*.pth")))
second = Kind(TrainerArgs(restore_path=newest[-1] if newest else ""), model.config, config.output_path,
    model=setup_model(config), train_samples=train, eval_samples=evaluation, parse_command_line_args=False)
second.fit()
"""
)
WANDB = today(config="config.dashboard_logger = 'wandb'\nconfig.wandb_entity = 'me'")
DOWNLOADS = today(
    before="import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/model_file.pth', timeout=3)"
)
MODEL_MANAGER = today(
    before="from TTS.utils.manage import ModelManager\n"
    "ModelManager().download_model('tts_models/bn/custom/vits-female')"
)
# Speakers by vectors that were computed before.
D_VECTORS = today(
    before="import json, random",
    config="""
data = config.datasets[0]
draw = random.Random(1)
names = sorted(os.listdir(os.path.join(data.path, "wavs")))
vectors = {f"{data.dataset_name}#wavs/{os.path.splitext(name)[0]}":
    {"name": "female", "embedding": [draw.random() for _ in range(16)]} for name in names}
with open("@ROOT@/working/d_vectors.json", "w") as file:
    json.dump(vectors, file)
config.use_d_vector_file = config.model_args.use_d_vector_file = True
config.d_vector_file = config.model_args.d_vector_file = ["@ROOT@/working/d_vectors.json"]
config.d_vector_dim = config.model_args.d_vector_dim = 16
""",
)
# A corpus in the form of Common Voice: a TSV whose names end in .mp3, beside folders of WAV files.
COMMON_VOICE = today(
    config="data = config.datasets[0]\ndata.formatter, data.meta_file_train = 'common_voice', 'validated.tsv'"
)
# The trainer when it was a part of TTS.
FIRST_TRAINER = """
import os
from TTS.trainer import Trainer, TrainingArgs
from TTS.tts.configs import BaseDatasetConfig, VitsConfig
"""
TRAINING_ARGS = NOTEBOOK.replace("import Trainer, TrainerArgs", "import Trainer, TrainingArgs").replace(
    "TrainerArgs(", "TrainingArgs("
)
POSITIONAL = "import json, sys\nsettings = json.load(open(sys.argv[1]))\n"
LOAD_JSON = today(
    config="""
from TTS.tts.configs.vits_config import VitsConfig
config = VitsConfig()
config.load_json(options.config_path)
"""
)
# Speaks its test sentences after each epoch, in the form of some tutorials.
SPEAKS = today(
    config="config.test_delay_epochs = -1\n"
    "config.test_sentences = [['আমি ভাত খাই।', None, None, 'bn'], ['আমি']]"
)
