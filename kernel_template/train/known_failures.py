"""The failures that trainings are known to end with: what they print, and what to do about each.

tests/kernel/failures.tsv has typical last lines of each, with words of the expected advice.
"""

from dataclasses import dataclass

from kernel_template.contract import EndReason

_OLD_SCRIPT = (
    "The script was written for Coqui TTS 0.22, but the session has {tts}. Set inputs.script = "
    '"kgtts" to train with the script that kgtts brings along, or update the script.'
)


@dataclass(frozen=True, slots=True)
class Known:
    """A known failure: the pattern that it prints, what to do, and the reason for the session's end."""

    pattern: str
    advice: str
    reason: EndReason = EndReason.TRAINING_FAILED


# The words of torch and of the libraries below it: cuBLAS, cuDNN, cuFFT ("CUFFT_ALLOC_FAILED") and NCCL.
# Those
# of the second line do not speak of memory, but come when a library finds none for its work space.
OUT_OF_MEMORY = (
    r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|Cuda failure.{0,30}out of memory|"
    r"CU[A-Z]+_\w*ALLOC(?:ATION)?_FAILED|CUBLAS_STATUS_NOT_INITIALIZED|CUDNN_STATUS_NOT_INITIALIZED|"
    r"CUFFT_INTERNAL_ERROR|[Uu]nable to find (?:a valid cuDNN algorithm|an engine to execute)"
)
_LETTERS = (
    "Letters of the texts are not in the vocabulary (`characters`) of the configuration that was used. A "
    "script "
    "that makes its own configuration must take `characters` from the base voice's config.json."
)
_COLUMNS = (
    "The metadata must have a line `name|text|text` for each recording, with | between the columns and "
    "without "
    "empty lines: correct the file, or set the formatter that fits it in training.coqui "
    "(datasets.0.formatter)."
)
# The first that matches counts.
KNOWN: tuple[Known, ...] = (
    Known(
        r"No space left on device|Errno 28|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc.{0,80}(?:unexpected pos|write failed)",
        "The disk is full. Keep fewer checkpoints with session.keep_checkpoints, or raise session.disk_limit "
        "if it is below what Kaggle allows.",
        EndReason.DISK_FULL,
    ),
    Known(
        OUT_OF_MEMORY,
        "The GPU's memory is too small for the batch: lower training.batch_size, which is {batch_size}.",
    ),
    Known(
        r"not enough memory: you tried to allocate|DefaultCPUAllocator|^MemoryError|Cannot allocate memory|"
        r"Unable to allocate .{1,40} for an array",
        "The machine's memory is full: lower num_loader_workers in training.coqui, or training.batch_size.",
    ),
    # ---- Scripts
    Known(
        r"cannot import name '(?:VitsAudioConfig|VitsAudio)|has no attribute 'init_from_config'|"
        r"need to pass a config instance to\s*`?load_tts_samples|load_tts_samples\(\) (?:got|takes|missing)|"
        r"'list' object has no attribute 'has'|setup_model\(\) (?:takes|got)|"
        r"Vits\.__init__\(\) (?:takes|got)|BaseDatasetConfig\.__init__\(\) got|"
        r"Trainer\.__init__\(\) (?:takes|got)|got an unexpected keyword argument 'training_assets'|"
        r"Config\.__init__\(\) got an unexpected keyword",
        _OLD_SCRIPT,
    ),
    Known(
        r"text\.cleaners' has no attribute '(?P<name>\w+)'",
        "Coqui has no text cleaner {name}: set text_cleaner in training.coqui to one that it has, such as "
        "basic_cleaners or multilingual_cleaners.",
    ),
    Known(
        r"No module named 'TTS\.|cannot import name '\w+' from 'TTS|has no attribute '\w+'.*\bTTS\b|"
        r"cannot import name '\w+' from 'trainer",
        _OLD_SCRIPT,
    ),
    Known(
        r"No module named '(?:google\.colab|google)'|/content/drive",
        "The script was written for Google Colab{line}: remove drive.mount and what else imports "
        "google.colab, and take the data from /kaggle/input.",
    ),
    Known(
        r"name '(?:get_ipython|display)' is not defined",
        "The script is an exported notebook{line}: remove get_ipython() and display(). Packages come from "
        "install.packages.",
    ),
    Known(
        r"api_key not configured|wandb\.(?:errors|sdk)|No API key configured|W&B logger you need|"
        r"No module named '(?:wandb|mlflow|aim|clearml|neptune)\b",
        "The script logs to a service such as Weights & Biases, which needs a package and a key: set "
        'dashboard_logger = "tensorboard" in training.coqui, or remove it from the script{line}.',
    ),
    Known(
        r"NameResolutionError|\bURLError\b|Max retries exceeded with url|Temporary failure in name resolution"
        r"|gaierror|LocalEntryNotFoundError|OfflineModeIsEnabled|ConnectError",
        "The script downloads something{line}, and the session could not reach it: check kernel.internet. "
        "What is uploaded as a dataset, or as a base voice with `kgtts base add`, needs no download.",
    ),
    Known(
        r"No such file or directory: '--(?:config|restore|continue)_path'",
        "The script takes its first argument for a path{line}: kgtts calls it with --config_path FILE and "
        "--restore_path FILE (later also --continue_path FOLDER), as Coqui's scripts are called.",
    ),
    Known(
        r"No user secrets exist for kernel|kaggle_secrets|UserSecretsClient|kaggle_web_client",
        "The script asks for a Kaggle secret{line}, and a kernel that is pushed through the API gets none: "
        "make the script work without it.",
    ),
    Known(
        r"restore_model\(\) missing \d|(?:train_step|train_epoch|eval_epoch|optimize|fit|restore_model)\(\) "
        r"(?:takes|missing|got)",
        "The script's own Trainer replaces a method that had other arguments when it was written: remove "
        "that method, or give it the arguments of coqui-tts-trainer 0.4.",
    ),
    Known(
        r"No module named '(?P<name>[\w.]+)'",
        "The script needs {name}: add the package that has it to install.packages.",
    ),
    Known(
        r"\d+ active GPUs",
        "The script shows more than one GPU to the trainer: remove CUDA_VISIBLE_DEVICES from the script.",
    ),
    Known(
        r"Duplicate GPU detected",
        "The script puts both processes on one GPU: remove CUDA_VISIBLE_DEVICES from the script, or set "
        "speed.gpus = 1.",
    ),
    Known(
        r"unrecognized arguments|error: the following arguments are required|"
        r"^Error: (?:No such option|Missing (?:option|argument)|Got unexpected extra argument)",
        "The script has options of its own: kgtts calls it with --config_path and --restore_path (later "
        "--continue_path), as Coqui's scripts are called. Let it ignore other options (parse_known_args; "
        "with "
        "click: ignore_unknown_options) and give its own ones defaults, or set inputs.script = "
        '"kgtts".',
    ),
    Known(
        r"Read-only file system: ['\"]?(?P<name>[^'\"\n]+)",
        "The script writes to {name}{line}, but the inputs are read-only: let it write below "
        "/kaggle/working, as config.output_path does.",
    ),
    Known(
        r"FileExistsError.{0,60}File exists: ['\"]?(?P<name>[^'\"\n]+)",
        "The script makes {name} again{line}, or each process makes it: use exist_ok=True (copytree: "
        "dirs_exist_ok=True).",
    ),
    Known(
        r"^SyntaxError",
        "The script has a mistake in the line above. Lines of a notebook that begin with ! or % are not "
        "Python.",
    ),
    Known(
        r"^(?:IndentationError|TabError|NameError|UnboundLocalError)",
        "The script has a mistake in the line above.",
    ),
    Known(
        r"WrongVoiceError",
        "The checkpoint is not of the model that the configuration describes: of Hugging Face's MMS, for "
        "example, of the original VITS, or of another architecture. Choose a base voice that fits: "
        "`kgtts base list` names some, and `kgtts base add` checks yours.",
        EndReason.BAD_CONFIG,
    ),
    # ---- Data
    Known(
        r"LJSpeech format expects 3|list index out of range[\s\S]*formatters?|formatters?[\s\S]*list "
        r"index out of "
        r"range|not enough values to unpack[\s\S]*formatters?|formatters?[\s\S]*not enough values to unpack",
        _COLUMNS,
    ),
    Known(
        r"UnicodeDecodeError|codec can't decode",
        'The metadata is not UTF-8 text: save it as "CSV UTF-8", or upload it again with kgtts data.',
    ),
    Known(
        r"(?P<name>\w+) formatter not found",
        "Coqui has no formatter {name}: set datasets.0.formatter in training.coqui to one that it has, "
        "such as "
        "ljspeech.",
    ),
    Known(
        r"enough samples for the evaluation set",
        "The dataset is too small for an evaluation part: raise eval_split_size in training.coqui.",
    ),
    Known(
        r"No samples left|len\(DataLoader\) returns 0|num_samples should be a positive integer",
        "No recording can be used: none can be read (see above), or their lengths are outside min_audio_len "
        "and max_audio_len. Upload the dataset again, or set these in training.coqui.",
    ),
    Known(
        r"No training samples found",
        "None of the recordings in the metadata exists: check datasets.0.path, meta_file_train and "
        "formatter.",
    ),
    Known(
        r"\(x > 1\)\.sum\(\)|in load_audio\n[\s\S]*AssertionError",
        "A recording has samples beyond full scale: save it again as 16-bit WAV.",
    ),
    Known(r"not found in the vocabulary|KeyError: ['\"](?:[^\x00-\x7f]|\\u)", _LETTERS),
    Known(
        r"LibsndfileError|Error opening ['\"]|Format not recognised|Failed to open the input|Could not "
        r"open input file|Invalid data found when processing input|file does not start with RIFF id",
        "A recording cannot be read: check that this file is whole, and upload the dataset again.",
    ),
    Known(
        r"Expected more than 1 value per channel|Calculated padded input size per channel|Padding size "
        r"should be "
        r"less than|stack expects each tensor to be equal size",
        "A recording is too short or too long for the model's segments: set data.shortest and data.longest.",
    ),
    Known(
        r"No espeak backend found|espeak(?:-ng)? (?:not installed|is not installed)|espeak.{0,40}No such "
        r"file",
        'The voice is trained on phonemes, and the image has no eSpeak NG: add "espeakng-loader" to '
        "install.packages, or train on letters (use_phonemes = false in training.coqui).",
    ),
    Known(
        r"(?:bangla|bnnumerizer|bnunicodenormalizer)[\w ]*(?:is not installed|not found|to be installed)",
        'The phonemizer for Bangla is missing: add "coqui-tts[bn]" to install.packages.',
    ),
    # ---- Checkpoints
    Known(
        r"The weights in (?P<name>\S+) are NaN or infinite",
        "Use another base voice: {name} was saved after its training had become unstable.",
    ),
    Known(
        r"KeyError: ['\"](?:model|step|epoch|optimizer)['\"]",
        "The base voice's checkpoint is not one of Coqui's trainer: it needs the keys model, step and "
        "epoch. Load "
        'it with torch.load and save {{"model": weights, "step": 0, "epoch": 0}} again.',
    ),
    Known(
        r"Weights only load failed|Unsupported (?:global|class)|was not an allowed global",
        "The base voice's checkpoint is whole, but it holds Python objects, which are not loaded for "
        "safety. If "
        "you trust it, load it on your machine with torch.load(file, weights_only=False), and save only "
        '{{"model": checkpoint["model"], "step": 0, "epoch": 0}}.',
    ),
    Known(
        r"PytorchStreamReader failed|invalid load key|not a ZIP archive|UnpicklingError|Ran out of input|"
        r"unexpected EOF, expected \d+ more bytes|failed finding central directory",
        "The base voice's checkpoint cannot be loaded: upload model_file.pth again.",
    ),
    Known(
        r"size mismatch for|Error\(s\) in loading state_dict",
        "The checkpoint and the configuration are of different models: use the config.json that belongs "
        "to the "
        "base voice, and leave model_args as they are.",
    ),
    Known(
        r"No such file or directory: ['\"]?(?P<name>[^'\"\n]+)",
        "{name} does not exist: check the paths in the script{line}, in the metadata and in the base voice's "
        "config.json.",
    ),
    Known(
        r"IndexError[\s\S]*coqpit|coqpit[\s\S]*IndexError",
        "Coqui cannot take settings as arguments if a list in config.json is empty: let the script read "
        "--config_path.",
    ),
    # ---- Machines
    Known(
        r"is killed by signal: Bus error|insufficient shared memory|unable to open shared memory object",
        "The data loaders ran out of shared memory: lower num_loader_workers in training.coqui.",
    ),
    Known(
        r"DataLoader worker \(pid.{0,12}\) is killed by signal: Killed",
        "A data loader was killed, probably for memory: lower num_loader_workers in training.coqui.",
    ),
    Known(
        r"DataLoader worker \(pid.{0,12}\) exited unexpectedly with exit code",
        "A data loader ended with an error of its own, which is above in the log. A script that starts "
        "processes with `spawn` must do all that it does below `if __name__ == '__main__':`. Without loaders "
        "(num_loader_workers = 0 in training.coqui) the error is told by itself.",
    ),
    Known(  # The whole traceback: what caused it, if it says, was looked for above.
        r"Traceback[\s\S]*DataLoader worker \(pid.{0,12}\) exited unexpectedly",
        "A data loader was killed, probably for memory: lower num_loader_workers in training.coqui.",
    ),
    Known(
        r"Too many open files",
        "The data loaders opened too many files: lower num_loader_workers in training.coqui.",
    ),
    Known(
        r"device-side assert triggered|index out of range in self|indexSelect",
        "An index is out of range on the GPU, mostly a letter or speaker that the model has no row for: "
        "check that "
        "the checkpoint, its vocabulary and the number of speakers belong together.",
    ),
    Known(
        r"Inference tensors cannot be saved for backward",
        "An evaluation came before the first training step: leave start_with_eval out.",
    ),
    Known(
        r"Connection closed by peer|Connection reset by peer|Broken pipe|Socket Timeout|"
        r"(?:Watchdog caught|collective operation) .{0,40}time-?out|timed out "
        r".{0,40}(?:waiting|all|collective)",
        "One of the processes was gone or late: see train_log_rank1.txt, or set speed.gpus = 1.",
    ),
    Known(
        r"CUDA error|CUDNN_STATUS|CUBLAS_STATUS|cuFFT error|NCCL|no kernel image is available",
        "The GPU or its driver failed: start the session again.",
    ),
)
