"""One run: its folder, its lock, its settings."""
