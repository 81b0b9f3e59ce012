"""The training process: its command, its output, its checkpoints, and why it ended."""
