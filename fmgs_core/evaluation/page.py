"""HTML of a run's report: one function for each kind of section, and the page around them. It loads nothing."""

import math
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fmgs_core.evaluation.curves import NUM_COLOURS, Curve, curve_svg
from fmgs_core.evaluation.page_style import STYLE
from fmgs_core.evaluation.timeline import Timeline, timeline_svg

_HEADLINES = 6
_UNITS = {"db": "dB", "mm": "mm", "m": "m", "ms": "ms", "s": "s", "deg": "°", "hz": "Hz", "fps": "fps", "px": "px", "mb": "MB"}
_SPELLING = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "flip": "FLIP",
    "iou": "IoU",
    "miou": "mIoU",
    "mpjpe": "MPJPE",
    "pa": "PA",
    "gpu": "GPU",
}


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows."""

    caption: str
    image: UInt8[np.ndarray, "h w 3"]


def page(title: str, source: str, sections: list[str]) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    top = f'<header><h1>{escape(title)}</h1><p class="soft">{escape(source)}</p></header>'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    body = "\n".join([top, *filter(None, sections)])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def figures_section(figures: dict[str, float | int | str]) -> str:
    """The first six set large, the others as a list."""
    rows = [_figure_row(name, value) for name, value in figures.items()]
    headlines, more = "".join(rows[:_HEADLINES]), "".join(rows[_HEADLINES:])
    return f'<section><dl class="headlines">{headlines}</dl>' + (f'<dl class="more">{more}</dl>' if more else "") + "</section>"


def warnings_section(warnings: list[str]) -> str:
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>' if warnings else ""


def pictures_section(name: str, pictures: list[Picture]) -> str:
    """One row of up to eight pictures; on a phone two of a few, four of many."""
    columns = min(len(pictures), 8)
    style = f"--columns: {max(columns, 2)}; --phone-columns: {4 if columns > 4 else 2}"
    shown = "".join(map(_figure, pictures))
    return f'<section><h2>{escape(name)}</h2><div class="pictures" style="{style}">{shown}</div></section>'


def curves_section(curves: dict[str, Curve]) -> str:
    drawn = "".join(f"<div><h3>{escape(name)}</h3>{_legend(curve)}{curve_svg(curve)}</div>" for name, curve in curves.items())
    return f'<section><h2>Over the run</h2><div class="curves">{drawn}</div></section>' if curves else ""


def timeline_section(timeline: Timeline | None) -> str:
    return "" if timeline is None else f"<section><h2>When each part switched on</h2>{timeline_svg(timeline)}</section>"


def timings_section(timings_ms: dict[str, float]) -> str:
    longest = max(timings_ms.values(), default=0.0)
    rows = "".join(_timing_row(stage, ms, ms / longest if longest > 0 else 0.0) for stage, ms in timings_ms.items())
    head = '<tr><th>Stage</th><th class="number">ms per frame</th><th></th></tr>'
    return f'<section><h2>Time by stage</h2><table class="timings">{head}{rows}</table></section>' if timings_ms else ""


def config_section(config: dict) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in _flattened(config))
    return f"<section><details><summary>Configuration</summary><table>{rows}</table></details></section>" if config else ""


def label_and_unit(name: str) -> tuple[str, str]:
    """("Novel view PSNR", "dB") of "novel_view_psnr_db"."""
    words = name.split("_")
    unit = ""
    if words[-2:] == ["per", "s"]:
        words, unit = words[:-2], "/s"
    elif len(words) > 1 and words[-1] in _UNITS:
        words, unit = words[:-1], _UNITS[words[-1]]
    first = _SPELLING.get(words[0], words[0].capitalize())
    return " ".join([first, *(_SPELLING.get(word, word) for word in words[1:])]), unit


def number_text(value: float | int | str) -> str:
    """Four significant digits, whole numbers in full."""
    if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _figure_row(name: str, value: float | int | str) -> str:
    label, unit = label_and_unit(name)
    shown = f' <span class="unit">{unit}</span>' if unit else ""
    return f"<div><dt>{escape(label)}</dt><dd>{escape(number_text(value))}{shown}</dd></div>"


def _figure(picture: Picture) -> str:
    caption = escape(picture.caption)
    return f'<figure><img src="{_data_uri(picture.image)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _timing_row(stage: str, ms: float, share: float) -> str:
    bar = f'<div class="bar" style="width: {100 * share:.1f}%"></div>'
    return f'<tr><td>{escape(stage)}</td><td class="number">{ms:.1f}</td><td>{bar}</td></tr>'


def _legend(curve: Curve) -> str:
    """Names of the series and where they ended; a single series is named by its axis."""
    if len(curve.ys) == 1:
        return ""
    dash = ["solid" if i < NUM_COLOURS else "dashed" for i in range(len(curve.ys))]
    items = (
        f'<li style="--line: var(--line-{i % NUM_COLOURS}); --dash: {dash[i]}">{escape(n)}{_last(y)}</li>'
        for i, (n, y) in enumerate(curve.ys.items())
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _last(y: list[float]) -> str:
    finite = [value for value in y if math.isfinite(value)]
    return f' <span class="soft">{number_text(float(finite[-1]))}</span>' if finite else ""


def _data_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """PNG where flat colours make it the smaller one (masks, labels), else JPEG without chroma subsampling."""
    png, jpeg = _encoded(image, "PNG", optimize=True), _encoded(image, "JPEG", quality=90, subsampling=0)
    kind, data = ("png", png) if len(png) <= len(jpeg) else ("jpeg", jpeg)
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def _encoded(image: UInt8[np.ndarray, "h w 3"], kind: str, **options: int | bool) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def _flattened(config: dict, prefix: str = "") -> list[tuple[str, object]]:
    rows = []
    for name, value in config.items():
        rows += _flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows
