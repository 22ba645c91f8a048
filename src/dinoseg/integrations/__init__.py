"""Objects that other programs load to use a model of ours."""
