"""Images and label maps as a network takes them."""
