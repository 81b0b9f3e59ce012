"""What all parts of the kernel use: files, child processes, reporting."""
