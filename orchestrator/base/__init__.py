"""Base voices: what is known to work, and checking, converting and fetching a checkpoint of one's own."""
