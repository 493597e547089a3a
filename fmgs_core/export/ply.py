"""Splats as a PLY file in the layout of 3D Gaussian Splatting (Kerbl et al. 2023), which common viewers open."""

from pathlib import Path

import numpy as np
import torch

from fmgs_core.atomic import replacing
from fmgs_core.geometry import rotation_from_quaternion
from fmgs_core.types import Splats

# Value of the constant spherical harmonic: colour = 0.5 + C0 * f_dc.
_C0 = 0.28209479177387814
# Standard deviation along the normal [m]. The files have three; ours are flat, and a viewer widens it to a pixel anyway.
_FLAT_M = 1e-6
# Opacities are stored as logits, so that 0 and 1 would be infinite.
_MIN_OPACITY = 1e-6

_NAMES = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2",
    "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip


def write_ply(path: str | Path, splats: Splats, *, with_logits: bool = False) -> None:
    """Writes binary little-endian float32: position, normal, f_dc, opacity (logit), log scales, rotation wxyz.

    Class logits are properties logit_0.. of their own when asked for; most viewers skip names they do not know.
    """
    columns = _columns(splats)
    names = list(_NAMES)
    if with_logits and splats.logits is not None:
        columns.append(splats.logits)
        names += [f"logit_{i}" for i in range(splats.logits.shape[1])]
    table = torch.cat([c.detach().to("cpu", torch.float32) for c in columns], 1).numpy().astype("<f4")
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n"
    with replacing(Path(path)) as part:
        part.write_bytes(header.encode("ascii") + table.tobytes())


def read_ply(path: str | Path) -> Splats:
    """Splats of a file that `write_ply` or another program of this layout wrote; higher harmonics are left out.

    Raises:
        ValueError: not such a file, or a cut one.
    """
    path = Path(path)
    content = path.read_bytes()
    names, count, start = _header(path, content)
    missing = set(_NAMES) - {"nx", "ny", "nz", "scale_2"} - set(names)
    if missing:
        raise ValueError(f"{path}: expected float properties {', '.join(sorted(missing))} as well, got {', '.join(names)}")
    if len(content) - start < count * len(names) * 4:
        raise ValueError(f"{path}: expected {count} vertices of {len(names) * 4} bytes, got {len(content) - start} bytes")
    table = np.frombuffer(content, "<f4", count * len(names), start).reshape(count, len(names)).astype(np.float32)

    def columns(*wanted: str) -> torch.Tensor:
        return torch.from_numpy(table[:, [names.index(name) for name in wanted]])

    logits = [name for name in names if name.startswith("logit_")]
    return Splats(
        means=columns("x", "y", "z"),
        quats=columns("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=columns("scale_0", "scale_1").exp(),
        opacities=columns("opacity")[:, 0].sigmoid(),
        colors=0.5 + _C0 * columns("f_dc_0", "f_dc_1", "f_dc_2"),
        logits=columns(*logits) if logits else None,
    )


def _columns(splats: Splats) -> list[torch.Tensor]:
    normals = rotation_from_quaternion(splats.quats)[..., 2]
    flat = torch.full_like(splats.scales[:, :1], _FLAT_M)
    opacity = splats.opacities[:, None].clamp(_MIN_OPACITY, 1 - _MIN_OPACITY)
    scales = torch.cat([splats.scales, flat], 1).log()
    return [splats.means, normals, (splats.colors - 0.5) / _C0, opacity.logit(), scales, splats.quats]


def _header(path: Path, content: bytes) -> tuple[list[str], int, int]:
    """Property names, vertex count and where the data starts."""
    end = content.find(b"end_header\n")
    lines = content[: max(end, 0)].decode("ascii", "replace").split("\n")
    if end < 0 or lines[0] != "ply" or "format binary_little_endian 1.0" not in lines:
        raise ValueError(f"{path}: expected a binary little-endian PLY file, got {content[:40]!r}")
    names = [line.split()[-1] for line in lines if line.startswith("property ")]
    elements = [line.split() for line in lines if line.startswith("element ")]
    floats = all(line.startswith(("property float ", "property float32 ")) for line in lines if line.startswith("property "))
    if len(elements) != 1 or elements[0][1] != "vertex" or not floats:
        raise ValueError(f"{path}: expected one element, vertex, of float properties, got {lines[2:6]}")
    return names, int(elements[0][2]), end + len(b"end_header\n")
