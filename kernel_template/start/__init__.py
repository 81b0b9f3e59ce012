"""From the start of a session to the start of its training: inputs, GPU, installation, takeover."""
