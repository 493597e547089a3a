"""fmgs_core: online 2D-Gaussian avatars from a stream. Knows no ROS."""

__version__ = "0.1.0"
