"""Who uses the cores: one operation over all of them, or one image on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

MOST_IMAGES = 8  # at once: each holds the maps of a whole network, and they take turns in Python


@contextmanager
def one_image_per_thread() -> Iterator[int]:
    """Give how many threads shall work on an image each, and let torch use the cores left for every one.

    An operation on one image is too small to be shared well: images side by side, a core for
    each, take less time than one after the other on all cores. The values are the same.
    """
    threads = torch.get_num_threads()
    images = min(threads, MOST_IMAGES)
    torch.set_num_threads(threads // images)  # threads that start from here on take it over
    try:
        yield images
    finally:
        torch.set_num_threads(threads)
