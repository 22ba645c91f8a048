"""From a folder or a table to a `Dataset`: the layouts people have."""
