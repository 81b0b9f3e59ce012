"""Before the training: inputs, GPU, installation, configuration, and the session to continue from."""
