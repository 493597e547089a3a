"""Names that carry a body's id."""

HUMANS = "/humans/bodies"
"""Where REP-155 has the topics of bodies."""


def check_body_id(body_id: str) -> None:
    """Raises ValueError unless the id can be part of topic, frame and joint names: letters, digits and _, a letter first."""
    if not (body_id.isascii() and body_id.replace("_", "a").isalnum() and body_id[0].isalpha()):
        raise ValueError(f"body_id: expected letters, digits and _, a letter first, got {body_id!r}")


def avatar_topic(body_id: str, name: str) -> str:
    """Where topics of ours go that REP-155 does not know."""
    return f"{HUMANS}/{body_id}/avatar/{name}"
