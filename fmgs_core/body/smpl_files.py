"""Which of a user's SMPL files is of which gender."""

from pathlib import Path

# Names as the files are published: SMPL_FEMALE.pkl, basicModel_f_lbs_10_207_0_v1.0.0.pkl, and so on.
_MARKS = {"neutral": ("neutral",), "female": ("female", "model_f_"), "male": ("male", "model_m_")}
_SUFFIXES = (".pkl", ".npz")


def smpl_file(path: Path, gender: str) -> Path:
    """`path` itself when it is a file; in a folder, the one SMPL file of "neutral", "female" or "male".

    Raises:
        ValueError: nothing by that name, or not exactly one file of the gender; says what there is.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: expected a SMPL model file, or a folder of them, got nothing by that name")
    files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES)
    fitting = [p for p in files if _gender(p.name) == gender]
    if len(fitting) != 1:
        there = ", ".join(p.name for p in files) or "none"
        raise ValueError(
            f"{path}: expected one {gender} SMPL model (SMPL_{gender.upper()}.pkl), got {len(fitting)} of: {there}"
        )
    return fitting[0]


def _gender(name: str) -> str | None:
    """female is asked for before male, which its name contains."""
    return next((gender for gender, marks in _MARKS.items() if any(mark in name.lower() for mark in marks)), None)
