"""How a decoder learns: losses, steps, optimisers, checkpoints."""
