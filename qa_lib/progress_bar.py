"""A progress bar where the user looks."""

import sys

from IPython import get_ipython
from tqdm import tqdm


def progress_bar(total: float, unit: str, *, shown: bool) -> tqdm:
    """A bar on standard error, or in a notebook under the cell."""
    return tqdm(
        total=total,
        unit=unit,
        # JupyterLab shows standard error on red, as if something were wrong.
        file=sys.stdout if hasattr(get_ipython(), "kernel") else sys.stderr,
        disable=not shown,
        mininterval=0.5,
        # With what a search says it fits one line of a notebook 1280 pixels wide.
        bar_format="{percentage:3.0f}%|{bar:6}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )
