"""The training kernel: an ordinary package that is sent to Kaggle as files and runs there.

`main` is the session from start to end; `host` runs inside the training process. Nothing here imports
`orchestrator`; only what runs in a process of its own imports more than the standard library.
"""
