"""What a session uses: GPU, memory, disk, and time."""
