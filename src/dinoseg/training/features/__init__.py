"""The features that a training learns from, computed once."""
