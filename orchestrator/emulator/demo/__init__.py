"""What the demo rehearses with: its inputs, its base voice and its spoken sentences."""
