"""What people may ask a model about, opened."""
