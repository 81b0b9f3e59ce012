"""Runs pushed kernels as processes on this machine."""
