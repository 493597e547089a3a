"""Class lists of segmentation heads, by their number of channels, and how they become the 28 classes used here."""

from fmgs_core.body.parts import SAPIENS28_NAMES

LABEL_SET = "sapiens28"
# Sapiens2 puts Eyeglass after Apparel and leaves the rest (its model card).
SAPIENS2_NAMES = (*SAPIENS28_NAMES[:2], "Eyeglass", *SAPIENS28_NAMES[2:])
# v1 was trained with eyeglasses left out of every class. Apparel is the class of things worn that are no clothes.
_BY_ANOTHER_NAME = {"Eyeglass": "Apparel"}

_REFUSED = {
    19: " (19 are the parts of a face)",
    20: " (20 are those of LIP or of CIHP, whose orders differ, and nothing in a file tells which)",
}


def sapiens28_table(channels: int) -> tuple[int, ...]:
    """Id among the 28 classes for each of a head's channels.

    Raises:
        ValueError: a number of channels that names no known list of classes.
    """
    names = {len(SAPIENS28_NAMES): SAPIENS28_NAMES, len(SAPIENS2_NAMES): SAPIENS2_NAMES}.get(channels)
    if names is None:
        reason = _REFUSED.get(channels, "")
        raise ValueError(f"segmentation: expected 28 classes of Sapiens or 29 of Sapiens2, got {channels}{reason}")
    return tuple(SAPIENS28_NAMES.index(_BY_ANOTHER_NAME.get(name, name)) for name in names)
