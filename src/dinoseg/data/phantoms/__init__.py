"""Drawn pictures with exact masks, for demos and tests."""
