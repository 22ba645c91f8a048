"""What a prediction gives back, and how it is written."""
