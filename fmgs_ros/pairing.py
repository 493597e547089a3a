"""Which CameraInfo belongs to a picture. No ROS needed."""

from collections import OrderedDict
from typing import Any

from fmgs_ros.convert import stamp_ns

# Topics come interleaved within a frame or two.
_KEPT = 8


class CameraInfos:
    """The newest few. A picture takes the one of its own stamp, else the newest: calibrations hardly ever change, and waiting
    for equal stamps loses every picture of a driver that stamps the two differently, or that says camera_info once only.

    One thread adds, another asks.
    """

    def __init__(self):
        self._infos: OrderedDict[int, Any] = OrderedDict()
        self._newest: Any | None = None

    def add(self, info: Any) -> None:
        """Takes in a sensor_msgs/CameraInfo."""
        infos = OrderedDict(self._infos)
        infos[stamp_ns(info.header.stamp)] = info
        while len(infos) > _KEPT:
            infos.popitem(last=False)
        # Replaced, not changed, so that whoever asks meanwhile needs no lock.
        self._infos, self._newest = infos, info

    def of(self, picture: Any) -> Any | None:
        """For a sensor_msgs/Image or CompressedImage; None before the first."""
        return self._infos.get(stamp_ns(picture.header.stamp), self._newest)
