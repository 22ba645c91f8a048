"""DINO-AugSeg: its card, and its network."""
