"""SegDINO, first version: its card, and its network."""
