"""What GitHub Actions reads of kgtts: step outputs, annotations, the job summary."""
