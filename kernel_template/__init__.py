"""The training kernel in parts: plain modules, tested one by one and joined to the one file of a push.

A push to Kaggle carries a single code file, so `kernel.py.j2` writes the parts named in `PARTS` one after
another, without their imports of each other. They therefore share one namespace: a top-level name stands in
one part only.
"""

# The order in which the parts are joined: each stands after all that it uses.
PARTS: tuple[str, ...] = (
    "failure",
    "files",
    "report",
    "lines",
    "process",
    "gpu",
    "environment",
    "mounts",
    "inputs",
    "history",
    "resume",
    "hosting",
    "usage",
    "meter",
    "packages",
    "install_failures",
    "probe",
    "install",
    "dataset_paths",
    "config_file",
    "progress",
    "diagnosis",
    "checkpoints",
    "notices",
    "training",
    "voice_program",
    "samples",
    "export",
    "outputs",
    "session",
    "record",
    "starting",
    "train_stage",
    "voice_stage",
    "main",
)
