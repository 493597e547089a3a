"""`fmgs eval`: figures on ground truth."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from rich.console import Console

from fmgs_core.cli.display import Display
from fmgs_core.config import SessionConfig
from fmgs_core.evaluation.evaluate import EvaluationConfig, evaluate


@dataclass(frozen=True)
class Eval:
    """Stream the train split of an avatar_gt/1 sequence online, then measure novel views and novel poses."""

    sequence: Annotated[Path, tyro.conf.Positional]
    """Folder with meta.json, canonical.ply, train, test_view and test_pose."""
    poses: Literal["true", "tracked"] = "tracked"
    """Body states: the sequence's own, or the tracker's."""
    priors: Literal["auto", "true"] = "auto"
    """Maps: MediaPipe's mask and the template, or the sequence's own mask, depth, normals and labels."""
    budget_s: float = 60.0
    """Wall seconds of streaming and training."""
    height: Literal["known", "unknown"] = "known"
    """Whether the tracker is told the true body height."""
    json: Path | None = None
    """File for the figures, flat JSON."""
    pictures: Path | None = None
    """Folder for pictures of truth beside rendering."""
    config: SessionConfig = field(default_factory=SessionConfig)

    def run(self) -> int:
        settings = EvaluationConfig(self.poses, self.priors, self.budget_s, self.height)
        with Display(Console(stderr=True)) as display:
            evaluation = evaluate(self.sequence, settings, self.config, display)
        for name, value in evaluation.figures.items():
            print(f"{name:20} {value:.4f}")
        if self.json is not None:
            self.json.parent.mkdir(parents=True, exist_ok=True)
            self.json.write_text(json.dumps(evaluation.figures, indent=1) + "\n")
        if self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            for key, pictures in evaluation.comparisons.items():
                sheet = cv2.cvtColor(np.concatenate(pictures, 0), cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(self.pictures / f"{key}.png"), sheet)
        return 0
