"""Scoring masks that are there already, whoever made them: no model, and no torch."""
