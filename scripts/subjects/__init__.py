"""Dressed people of our own making: what scripts/make_subjects.py puts together and draws."""
