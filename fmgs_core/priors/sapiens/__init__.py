"""Sapiens (Khirodkar et al., 2024) and Sapiens2: normals, relative depth, 28 classes and keypoints from a user's files."""
