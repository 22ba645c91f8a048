"""More scans than one machine does: a cluster computes, an object store holds them."""
