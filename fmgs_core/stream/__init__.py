"""Frames from cameras, videos, folders, bags and sequences, behind one protocol."""

from fmgs_core.stream.source import Clock, FrameSource, OnWarning, SourceConfig, SourceError, open_source

__all__ = ["Clock", "FrameSource", "OnWarning", "SourceConfig", "SourceError", "open_source"]
