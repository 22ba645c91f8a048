"""Comparing models on the same cases: reading their scores, pairing them, testing, showing."""
