"""A few images of a set, with what they are called."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from qa_lib.plots import style


def plot_images(images: Tensor, titles: Sequence[str]) -> Figure:
    """Grey images in one row.

    Args:
        images: Shape ``(N, 1, height, width)``, values in [0, 1].
        titles: N names.
    """
    with style.new_figure(size=(1.0 * len(images), 1.3), ncols=len(images), squeeze=False) as (figure, grid):
        for axes, image, title in zip(grid[0], images, titles, strict=True):
            axes.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(title, fontsize=8, loc="center")
            axes.set_axis_off()
    return figure
