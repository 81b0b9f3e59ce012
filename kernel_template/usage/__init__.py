"""What the session uses: time, GPU, memory and disk."""
