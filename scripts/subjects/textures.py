"""Patterns of skin, cloth and hair: sRGB colours as functions of a point on the T-pose body, finer than its triangles."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "n 3"]
Colors = Float[np.ndarray, "n 3"]


def color(hexadecimal: str) -> Float[np.ndarray, "3"]:
    return np.array([int(hexadecimal[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def grain(p: Points, wave_m: float, seed: int) -> Float[np.ndarray, " n"]:
    """Smooth noise in [-1, 1] with features of about `wave_m`."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(6, 3))
    directions *= 2 * np.pi / (wave_m * rng.uniform(0.7, 1.8, (6, 1)) * np.linalg.norm(directions, axis=1, keepdims=True))
    return np.sin(p @ directions.T + rng.uniform(0, 6.3, 6)).mean(1) * 1.5


def stripes(x: Float[np.ndarray, " n"], period_m: float, share: float = 0.5) -> Float[np.ndarray, " n"]:
    """1 on the stripes, 0 between them."""
    return ((x / period_m) % 1.0 < share).astype(np.float64)


def mixed(a: np.ndarray, b: np.ndarray, share: Float[np.ndarray, " n"]) -> Colors:
    return a * (1 - share[:, None]) + b * share[:, None]


def around(p: Points) -> Float[np.ndarray, " n"]:
    """Angle about the body's axis [rad]."""
    return np.arctan2(p[:, 0], p[:, 2])


@cache
def _print(text: str, front: str, back: str) -> Float[np.ndarray, "256 256 3"]:
    """A badge with a word on it; outside the circle the colour is NaN."""
    picture = np.full((256, 256, 3), np.nan)
    disc, ink = np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.uint8)
    cv2.circle(disc, (128, 128), 120, (255,), -1)
    size = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 2.4, 9)[0]
    cv2.putText(ink, text, (128 - size[0] // 2, 128 + size[1] // 2), cv2.FONT_HERSHEY_DUPLEX, 2.4, (255,), 9)
    cv2.circle(ink, (128, 128), 108, (255,), 6)
    picture[disc > 0], picture[(disc > 0) & (ink > 0)] = color(back), color(front)
    return picture


def printed(base: Colors, p: Points, text: str, center: tuple[float, float], side_m: float, front: str, back: str) -> Colors:
    """The badge on the chest (`side_m` > 0) or, read from behind, on the back (< 0)."""
    picture, facing = _print(text, front, back), np.sign(side_m)
    column = ((p[:, 0] - center[0]) / side_m + 0.5) * 256
    row = ((center[1] - p[:, 1]) / abs(side_m) + 0.5) * 256
    inside = (np.abs(column - 127.5) < 127) & (np.abs(row - 127.5) < 127) & (p[:, 2] * facing > 0) & (np.abs(p[:, 0]) < 0.2)
    found = picture[row[inside].astype(int), column[inside].astype(int)]
    base[inside] = np.where(np.isnan(found), base[inside], found)
    return base


def skin(p: Points, tone: str) -> Colors:
    """Tone with blotches, and a face: brows, eyes, lips, cheeks, at the places the template has them."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    out = color(tone) * (1 + 0.05 * grain(p, 0.05, 1) + 0.03 * grain(p, 0.012, 2))[:, None]
    face = z > 0.06

    def spot(cx: float, cy: float, rx: float, ry: float) -> Float[np.ndarray, " n"]:
        return np.clip(1.6 - 1.6 * np.hypot((x - cx) / rx, (y - cy) / ry), 0, 1) * (face & (y > 0.6))

    out = mixed(out, color("b5544c"), 0.35 * spot(0.045, 0.69, 0.03, 0.025))
    out = mixed(out, color("9c3a3f"), spot(0.0, 0.6585, 0.03, 0.012))
    out = mixed(out, color("2a1c14"), spot(0.033, 0.762, 0.024, 0.006))
    out = mixed(out, color("e8e4df"), spot(0.0315, 0.733, 0.016, 0.009))
    out = mixed(out, color("2b2014"), spot(0.0315, 0.733, 0.0075, 0.0075))
    knuckles = (np.abs(p[:, 0]) > 0.74) * 0.12 * (grain(p, 0.02, 3) > 0.4)
    return mixed(out, color("8c4a3c"), knuckles)


def hair(p: Points, dark: str, light: str) -> Colors:
    strands = 0.5 + 0.5 * np.sin(around(p) * 70 + 2 * grain(p, 0.05, 4))
    return mixed(color(dark), color(light), strands * (0.6 + 0.4 * grain(p, 0.04, 5)).clip(0, 1))


def sailor_shirt(p: Points) -> Colors:
    """Stripes 14 mm apart, along the body and along the sleeves, and a badge."""
    along = np.where(np.abs(p[:, 0]) > 0.2, np.abs(p[:, 0]), p[:, 1])
    out = mixed(color("f0ede2"), color("1d2f5e"), stripes(along, 0.028, 0.42))
    return printed(out, p, "E7", (0.0, 0.36), 0.17, "f7d548", "a3202c")


def plaid_skirt(p: Points) -> Colors:
    """A tartan that goes around the body, so it widens with the skirt."""
    a, y = around(p), p[:, 1]
    out = mixed(color("7b1f2b"), color("23452f"), 0.5 * stripes(a, 0.35, 0.5) + 0.5 * stripes(y, 0.1, 0.5))
    return mixed(out, color("e6d9a8"), np.maximum(stripes(a + 0.08, 0.35, 0.07), stripes(y + 0.02, 0.1, 0.09)))


def coat(p: Points) -> Colors:
    """Herringbone, pockets' seams, a row of buttons."""
    x, y = p[:, 0], p[:, 1]
    zigzag = y + 0.5 * np.abs(((np.where(np.abs(x) > 0.22, y + p[:, 2], x) / 0.03) % 1.0) - 0.5) * 0.06
    out = mixed(color("6a5a46"), color("92805f"), stripes(zigzag, 0.016))
    front = p[:, 2] > 0
    button = front & (np.hypot(x - 0.03, ((y / 0.11) % 1.0 - 0.5) * 0.11) < 0.013) & (np.abs(x) < 0.1)
    seam = front & (np.abs(x) < 0.004)
    out[seam], out[button] = color("3a2f22"), color("14110d")
    return out


def dots(p: Points, ground: str, dot: str, period_m: float) -> Colors:
    """Dots on a lattice in x, y (z on the sides of a limb would smear them, so it shifts the lattice)."""
    u, v = (p[:, 0] + 0.7 * p[:, 2]) / period_m, p[:, 1] / period_m
    u = u + 0.5 * (np.floor(v) % 2)
    inside = np.hypot(u % 1.0 - 0.5, v % 1.0 - 0.5) < 0.27
    return mixed(color(ground), color(dot), inside.astype(np.float64))


def denim(p: Points, base: str) -> Colors:
    worn = np.clip(0.5 + 0.5 * grain(p * (1, 0.4, 1), 0.12, 6), 0, 1) * 0.35
    out = mixed(color(base), color("b9c6d6"), worn + 0.06 * grain(p, 0.008, 7).clip(0, 1))
    seam = np.abs(np.abs(p[:, 0]) - 0.17 - 0.1 * np.clip(-p[:, 1] - 0.3, 0, None)) < 0.003
    return mixed(out, color("c98a3c"), seam.astype(np.float64))


def hoodie(p: Points) -> Colors:
    out = mixed(color("2f6f73"), color("285f63"), stripes(p[:, 1], 0.008))
    out = mixed(out, color("e7793c"), ((np.abs(p[:, 1] - 0.22) < 0.03) & (np.abs(p[:, 0]) < 0.22)).astype(np.float64))
    return printed(out, p, "K2", (0.0, 0.4), -0.2, "1c1c1c", "f2f2f2")


def sneaker(p: Points, upper: str) -> Colors:
    """White sole, laces; y is the height over the ground."""
    sole = (p[:, 1] < 0.022).astype(np.float64)
    out = mixed(color(upper), color("f4f4f0"), stripes(p[:, 2], 0.018, 0.3) * (np.abs(np.abs(p[:, 0]) - 0.148) < 0.018))
    return mixed(out, color("f4f4f0"), sole)


MATERIALS: dict[str, Callable[[Points], Colors]] = {
    "skin_light": lambda p: skin(p, "d9a184"),
    "skin_dark": lambda p: skin(p, "7d4d35"),
    "skin_olive": lambda p: skin(p, "b9835c"),
    "hair_red": lambda p: hair(p, "3d150a", "a4532a"),
    "hair_black": lambda p: hair(p, "100d0c", "352c28"),
    "hair_blond": lambda p: hair(p, "7c5a2a", "d8b871"),
    "sailor_shirt": sailor_shirt,
    "plaid_skirt": plaid_skirt,
    "coat": coat,
    "dark_trousers": lambda p: dots(p, "22252b", "4b525e", 0.03),
    "dotted_top": lambda p: printed(dots(p, "d8c23a", "3a2a6a", 0.034), p, "03", (0.0, 0.33), 0.16, "ffffff", "181818"),
    "denim": lambda p: denim(p, "3b5683"),
    "hoodie": hoodie,
    "red_shoe": lambda p: sneaker(p, "b3262a"),
    "black_shoe": lambda p: sneaker(p, "1b1b1d"),
    "green_shoe": lambda p: sneaker(p, "3d7a4c"),
}
