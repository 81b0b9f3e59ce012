"""Text rules of a voice, shared by sessions and the laptop (standard library only)."""
