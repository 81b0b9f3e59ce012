"""Renders the kernel's source and metadata; values enter as literals, never as spliced text."""
