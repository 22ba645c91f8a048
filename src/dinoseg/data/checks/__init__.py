"""What would spoil a training, found before it starts."""
