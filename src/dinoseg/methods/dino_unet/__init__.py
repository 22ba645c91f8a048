"""Dino U-Net: its card, and its network."""
