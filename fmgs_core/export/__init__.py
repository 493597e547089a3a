"""Avatars and views as files that other programs open."""
