"""Which body an avatar sits on, as command line options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fmgs_core.body.default import default_body
from fmgs_core.body.smplx import load_smpl, load_smplx
from fmgs_core.body.template import BodyModel


@dataclass(frozen=True)
class BodyChoice:
    """Which body the avatar sits on."""

    body: Path | None = None
    """A SMPL-X or SMPL model file (npz or pkl) in place of the default body."""
    body_format: Literal["smplx", "smpl"] = "smplx"
    """What kind of file that is."""

    def load(self) -> BodyModel:
        if self.body is None:
            return default_body()
        return load_smplx(self.body) if self.body_format == "smplx" else load_smpl(self.body)
