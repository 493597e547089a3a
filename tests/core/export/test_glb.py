"""Meshes as glTF. Kinds: round trip through another program's reader, properties of the file, poison."""

import json
import struct

import numpy as np
import pytest
import trimesh

from fmgs_core.body.default import default_body
from fmgs_core.export.glb import glb_bytes, linear_from_srgb, write_glb

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
COLORS = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5], [0.02, 0, 1]])


def parsed(content: bytes) -> tuple[dict, bytes]:
    magic, version, total, length, kind = struct.unpack_from("<IIIII", content)
    assert (magic, version, total, kind) == (0x46546C67, 2, len(content), 0x4E4F534A)
    document = json.loads(content[20 : 20 + length])
    binary_length, binary_kind = struct.unpack_from("<II", content, 20 + length)
    assert binary_kind == 0x004E4942 and length % 4 == 0
    return document, content[28 + length :][:binary_length]


def accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    dtype = {5126: "<f4", 5125: "<u4"}[entry["componentType"]]
    values = np.frombuffer(binary, dtype, view["byteLength"] // 4, view["byteOffset"])
    return values.reshape(entry["count"], -1)


def test_another_reader_gets_the_mesh(tmp_path):
    write_glb(tmp_path / "a.glb", VERTICES, FACES, COLORS)
    mesh = trimesh.load(tmp_path / "a.glb", process=False, force="mesh")
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, FACES)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.glb"]


def test_colours_are_linear_floats_and_unlit():
    document, binary = parsed(glb_bytes(VERTICES, FACES, COLORS, normals=VERTICES))
    primitive = document["meshes"][0]["primitives"][0]
    assert set(primitive["attributes"]) == {"POSITION", "COLOR_0", "NORMAL"}
    colors = accessor(document, binary, primitive["attributes"]["COLOR_0"])
    # 0.2140 is sRGB 0.5 in linear light (IEC 61966-2-1).
    np.testing.assert_allclose(colors[2], 0.21404, atol=1e-4)
    np.testing.assert_allclose(colors[3], [0.02 / 12.92, 0, 1], atol=1e-7)
    assert "KHR_materials_unlit" in document["materials"][primitive["material"]]["extensions"]
    np.testing.assert_array_equal(accessor(document, binary, primitive["indices"]).reshape(-1, 3), FACES)


def test_srgb_decoding_is_monotonic_and_clips():
    values = linear_from_srgb(np.linspace(-0.1, 1.1, 400)[:, None].repeat(3, 1))[:, 0]
    assert (np.diff(values) >= 0).all() and values[0] == 0 and values[-1] == 1


def test_the_body(tmp_path):
    body = default_body()
    write_glb(tmp_path / "body.glb", body.v_template, body.faces, np.full((body.num_vertices, 3), 0.5))
    mesh = trimesh.load(tmp_path / "body.glb", process=False, force="mesh")
    assert (len(mesh.vertices), len(mesh.faces)) == (body.num_vertices, body.num_faces)
    np.testing.assert_array_equal(mesh.bounds, [body.v_template.min(0), body.v_template.max(0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": np.full((4, 3), np.nan)}, "POSITION: expected finite"),
        ({"colors": COLORS[:3]}, r"COLOR_0: expected finite values of shape \(4, 3\), got shape \(3, 3\)"),
        ({"faces": np.array([[0, 1, 4]])}, "faces: expected indices below 4, got 0 to 4"),
        ({"faces": np.array([[0, 1, -1]])}, "faces: expected indices below 4"),
        ({"faces": np.zeros((0, 3), int)}, "faces: expected at least one row"),
    ],
)
def test_bad_meshes(tmp_path, change: dict, message: str):
    arguments = {"vertices": VERTICES, "faces": FACES, "colors": COLORS} | change
    with pytest.raises(ValueError, match=message):
        write_glb(tmp_path / "a.glb", **arguments)
    assert list(tmp_path.iterdir()) == []
