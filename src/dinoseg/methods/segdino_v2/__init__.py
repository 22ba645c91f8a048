"""SegDINO, second version: its card, and its network."""
