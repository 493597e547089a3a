"""The avatar: one 2D Gaussian per template face, its learnable attributes, and its file."""
