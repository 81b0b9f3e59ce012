"""The training process as the session sees it: command, output, progress, cause of a failure."""
