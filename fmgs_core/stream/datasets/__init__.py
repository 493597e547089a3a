"""Published datasets in the folders they are published in: ZJU-MoCap, PeopleSnapshot, NeuMan. All use SMPL poses."""

from fmgs_core.stream.datasets.split import DatasetSource, DatasetSplit, DatasetSubject, Shot

__all__ = ["DatasetSource", "DatasetSplit", "DatasetSubject", "Shot"]
