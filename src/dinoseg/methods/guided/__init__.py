"""Guided: a linear probe of frozen features, sharpened by the image."""
