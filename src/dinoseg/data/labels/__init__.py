"""From the values that masks hold to class ids."""
