"""What all stages use: files, child processes, messages and events."""
