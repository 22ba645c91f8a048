"""Teaching: a folder of images is labelled by strokes, and a model learns from each of them."""
