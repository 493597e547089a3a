"""What the stages cost on this machine, beside a C++ twin of the rasterizer, and against a committed baseline."""
