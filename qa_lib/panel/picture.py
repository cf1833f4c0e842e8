"""A widget, and the picture that stands in its place where no kernel runs."""

from html import escape

import ipywidgets
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.figure import Figure

# A page takes a widget for the best that there is, and says that it has none when the kernel is gone. So the picture is an output of its
# own: seen wherever the widget beside it is not, and then without what is said of that.
_RULES = """\
.jp-OutputArea:has(.qa-equalizer) .qa-picture, body:not(:has(.jp-OutputArea)):has(.qa-equalizer) .qa-picture { display: none; }
.jp-OutputArea-child:has(+ .jp-OutputArea-child .qa-picture) > .jp-OutputArea-output.jupyter-widgets:not(:has(*)) { display: none; }
"""


def show_with_picture(widget: ipywidgets.Widget, figure: Figure, text: str) -> None:
    """Shows ``widget`` in a notebook, and ``figure`` wherever it is opened without its kernel.

    Args:
        widget: What is shown while the kernel runs.
        figure: What is shown without.
        text: What both say, for who sees neither.
    """
    bundle = widget._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    display(data | {"text/plain": ""}, metadata=metadata, raw=True)
    picture = str(print_figure(figure, "png", base64=True))
    shown = f'<img class="qa-picture" alt="{escape(text)}" style="max-width: 100%" src="data:image/png;base64,{picture}">'
    display(
        {"text/plain": text, "image/png": picture, "text/html": f"<style>{_RULES}</style>{shown}"}, raw=True
    )
