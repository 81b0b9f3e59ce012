"""What runs on Kaggle: an ordinary package, which is sent as files in the rendered kernel.

`main` runs a session from start to end; `host` runs inside the training process. Nothing here imports
`orchestrator`. The session needs only the standard library, since it starts before anything is installed;
what needs torch runs in a process of its own.
"""
