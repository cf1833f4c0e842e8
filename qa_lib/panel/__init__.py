"""The sliders and linked views, the only part of this library that needs a notebook."""

from qa_lib.panel.bit_width_panel import BitWidthPanel
from qa_lib.panel.comparison import Comparison
from qa_lib.panel.equalizer import Equalizer
from qa_lib.panel.front_view import FrontView
from qa_lib.panel.layer_view import LayerView
from qa_lib.panel.readout import Readout
from qa_lib.search.pareto import Standing

__all__ = ["BitWidthPanel", "Comparison", "Equalizer", "FrontView", "LayerView", "Readout", "Standing"]
