"""A model behind HTTP: REST, the page, and the protocols of other viewers."""
