"""The command `fmgs`: a thin shell that turns arguments into calls, and events into lines on a terminal."""
