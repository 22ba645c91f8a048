"""What would help a run next, in numbers: more labels, more epochs, a larger input."""
