"""nnU-Net's raw layout and image folders, one into the other."""
