"""Masks after the model: cleaned, taken apart, averaged over planes."""
