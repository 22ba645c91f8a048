"""The baseline: its card, and its network."""
