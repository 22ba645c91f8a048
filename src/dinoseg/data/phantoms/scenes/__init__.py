"""Drawn scenes with exact masks; pictures of no patient. See `dinoseg.data.phantoms.phantoms`."""
