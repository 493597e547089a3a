"""Pictures of an avatar: where cameras stand, and what is drawn for people to look at."""
