"""The body template: its data, its skinning, its parts and its drawing."""
