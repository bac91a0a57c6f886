"""Draws where the labels of an alignment stand."""

import numpy as np
from matplotlib.axes import Axes

import jnnops as nn


def mark_labels(axes: Axes, alignment: nn.CTCAlignment, row: int, names: str, frame_width: float) -> None:
    """Shades the frames of each label of a row, from the first to the last, and writes its name below them.

    Args:
        axes: Where an image is drawn whose first column is at 0.
        alignment: Of a batch.
        row: Which of the batch.
        names: A letter for each label.
        frame_width: How many columns of the image a frame stands for.
    """
    bottom, _ = axes.get_ylim()
    starts, ends = np.asarray(alignment.start[row]), np.asarray(alignment.end[row])
    # Where no path spells the labels there is nothing to draw.
    for name, start, end in zip(names, starts[starts >= 0], ends[starts >= 0], strict=False):
        left, right = start * frame_width - 0.5, end * frame_width - 0.5
        axes.axvspan(left, right, color="tab:orange", alpha=0.3, linewidth=0)
        axes.text((left + right) / 2, bottom, name, ha="center", va="top", color="tab:red", fontsize=8)
