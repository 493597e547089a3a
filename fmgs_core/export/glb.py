"""A coloured mesh as binary glTF 2.0, for viewers, engines and RViz.

Written here and not by a mesh library, because colours matter: those of the avatar hold the light of the room already and
are sRGB, while glTF's COLOR_0 is linear and lit again unless the material is said to be unlit. Eight linear bits would
band in the dark, so colours are stored as floats.
"""

import json
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.atomic import replacing

# glTF 2.0 specification: component types, buffer targets, chunk names.
_FLOAT, _UINT32 = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_MAGIC, _JSON_CHUNK, _BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


def write_glb(
    path: str | Path,
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    colors: Float[np.ndarray, "V 3"],
    *,
    normals: Float[np.ndarray, "V 3"] | None = None,
    name: str = "avatar",
) -> None:
    """Writes a triangle mesh with a colour per vertex, unlit.

    Args:
        vertices: metres, y up, +z front, which are glTF's own axes.
        colors: sRGB in [0, 1], as everywhere in this project.
        normals: unit, for programs that relight; optional.

    Raises:
        ValueError: sizes that do not match, values that are not finite, or face indices out of range.
    """
    content = glb_bytes(vertices, faces, colors, normals=normals, name=name)
    with replacing(Path(path)) as part:
        part.write_bytes(content)


def glb_bytes(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    colors: Float[np.ndarray, "V 3"],
    *,
    normals: Float[np.ndarray, "V 3"] | None = None,
    name: str = "avatar",
) -> bytes:
    """The file's bytes; see `write_glb`. RViz takes them as `embedded://` mesh."""
    attributes = {"POSITION": vertices, "COLOR_0": linear_from_srgb(np.asarray(colors, dtype=np.float64))}
    if normals is not None:
        attributes["NORMAL"] = normals
    _check(attributes, faces)
    arrays = [np.ascontiguousarray(values, dtype="<f4") for values in attributes.values()]
    arrays.append(np.ascontiguousarray(faces, dtype="<u4").reshape(-1))
    document = _document(list(attributes), arrays, name)
    return _packed(document, b"".join(array.tobytes() for array in arrays))


def linear_from_srgb(colors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """IEC 61966-2-1 decoding; values outside [0, 1] are clipped."""
    c = np.clip(colors, 0.0, 1.0)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _check(attributes: dict[str, np.ndarray], faces: np.ndarray) -> None:
    count = len(attributes["POSITION"])
    for name, values in attributes.items():
        if values.shape != (count, 3) or not np.isfinite(values).all():
            raise ValueError(f"glb {name}: expected finite values of shape {(count, 3)}, got shape {values.shape}")
    if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
        raise ValueError(f"glb faces: expected at least one row of three indices, got shape {faces.shape}")
    if faces.min() < 0 or faces.max() >= count:
        raise ValueError(f"glb faces: expected indices below {count}, got {faces.min()} to {faces.max()}")


def _document(names: list[str], arrays: list[np.ndarray], name: str) -> dict:
    """One buffer view and one accessor per array, the last one the indices."""
    views, accessors, offset = [], [], 0
    for array in arrays:
        indices = array.ndim == 1
        target = _ELEMENT_ARRAY_BUFFER if indices else _ARRAY_BUFFER
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes, "target": target})
        kind = {"componentType": _UINT32, "type": "SCALAR"} if indices else {"componentType": _FLOAT, "type": "VEC3"}
        accessors.append({"bufferView": len(accessors), "count": len(array), **kind})
        offset += array.nbytes
    # The specification asks for the bounds of positions.
    accessors[0] |= {"min": arrays[0].min(0).tolist(), "max": arrays[0].max(0).tolist()}
    primitive = {"attributes": {n: i for i, n in enumerate(names)}, "indices": len(names), "material": 0}
    return {
        "asset": {"version": "2.0", "generator": "fmgs_ros"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0.0}, "extensions": {"KHR_materials_unlit": {}}}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }


def _packed(document: dict, binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    assert len(binary) % 4 == 0, len(binary)
    total = 12 + 8 + len(text) + 8 + len(binary)
    header = struct.pack("<III", _MAGIC, 2, total)
    return header + struct.pack("<II", len(text), _JSON_CHUNK) + text + struct.pack("<II", len(binary), _BIN_CHUNK) + binary
