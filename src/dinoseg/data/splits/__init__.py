"""Train, validation and test: made, drawn few, and kept free of leaks."""
