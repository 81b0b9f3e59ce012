"""What kgtts writes for GitHub Actions: step outputs, annotations, the job summary."""
