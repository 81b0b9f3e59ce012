"""After the training: the exported voice, spoken sentences, state.json and the manifest."""
