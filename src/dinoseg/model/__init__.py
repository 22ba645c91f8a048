"""A model: frozen backbone, decoder, and the preprocessing between them; saved, loaded, described."""
