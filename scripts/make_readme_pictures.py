"""Makes docs/turntable.jpg and docs/overlay.jpg from the results of `make demo`."""

import sys
from pathlib import Path

import av
import cv2
import numpy as np

TURNTABLE_VIEWS, HEIGHT_PX, JPEG_QUALITY = 8, 360, 88


def frames(path: Path, count: int) -> list[np.ndarray]:
    """`count` pictures spread evenly over a video."""
    with av.open(str(path)) as video:
        pictures = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    return [pictures[i] for i in np.linspace(0, len(pictures), count, endpoint=False).astype(int)]


def middle(picture: np.ndarray, width: int) -> np.ndarray:
    """The middle columns of a picture."""
    x0 = (picture.shape[1] - width) // 2
    return picture[:, x0 : x0 + width]


def write(path: Path, row: list[np.ndarray]) -> None:
    picture = np.concatenate(row, 1)
    picture = cv2.resize(picture, (picture.shape[1] * HEIGHT_PX // picture.shape[0], HEIGHT_PX), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def main(demo: Path, docs: Path) -> None:
    write(docs / "turntable.jpg", [middle(f, 256) for f in frames(demo / "turntable.mp4", TURNTABLE_VIEWS)])
    overlay, masks = (frames(demo / name, 4)[1] for name in ("overlay.mp4", "masks.mp4"))
    write(docs / "overlay.jpg", [overlay, masks[:, masks.shape[1] // 2 :]])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_readme_pictures.py FOLDER_OF_THE_DEMO")
    main(Path(sys.argv[1]), Path(__file__).parents[1] / "docs")
