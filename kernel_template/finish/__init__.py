"""What follows the training: voice export, test sentences, state and manifest."""
