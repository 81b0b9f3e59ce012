"""Measures the voice: sentences that nothing was trained on, spoken by base voice and checkpoints."""
