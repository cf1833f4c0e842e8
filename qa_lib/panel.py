"""The sliders: one vertical slider for each quantizer, and what the setting scores."""

from typing import Any

import ipywidgets as widgets

from qa_lib.bit_widths import BitWidths, check_limits
from qa_lib.errors import BitWidthError, QAError
from qa_lib.evaluation import Evaluation
from qa_lib.evaluator import Evaluator
from qa_lib.quantized_model import QuantizedActivationsModel

FLOAT = "float"


class BitWidthPanel:
    """A slider for each quantizer, side by side like an equalizer, with accuracy and total bits.

    Shows itself as the last value of a notebook cell. When a slider is released, the model gets
    the widths and is measured on the whole search set. The methods do from Python what the
    sliders do by hand. A slider's top position, "float", switches its quantizer off.

    Args:
        qmodel: The calibrated model; its ``bit_widths`` follow the sliders, which begin where it is.
        evaluator: Measures the settings.
        num_bits_lower_limit: Lowest position of the sliders.
        num_bits_upper_limit: Highest position below "float".

    Raises:
        BitWidthError: A limit is no allowed width, or the model has a width outside the limits.
        NotCalibratedError: A quantizer has no ``amax`` yet.

    Example:
        >>> panel = BitWidthPanel(qmodel, evaluator)
        >>> panel.set_bit_widths({"stem.0": 4})
        >>> panel.evaluation.total_bits
        132
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        evaluator: Evaluator,
        num_bits_lower_limit: int = 2,
        num_bits_upper_limit: int = 8,
    ) -> None:
        lower, upper = check_limits(num_bits_lower_limit, num_bits_upper_limit)
        evaluator.check_measures(qmodel)
        self.qmodel = qmodel
        self.evaluator = evaluator
        self._positions: tuple[int | None, ...] = (*range(lower, upper + 1), None)
        self._check_positions(qmodel.bit_widths)
        self._moving = False
        self._evaluation = evaluator.evaluate(qmodel.bit_widths)
        self._float_evaluation = evaluator.evaluate_uniform(None)

        options = [
            (FLOAT if position is None else str(position), position or 0) for position in self._positions
        ]
        self.sliders = {
            name: widgets.SelectionSlider(
                options=options,
                value=num_bits or 0,
                orientation="vertical",
                continuous_update=False,
                layout=widgets.Layout(width="44px", height="190px", margin="0"),
            )
            for name, num_bits in zip(qmodel.names, qmodel.bit_widths, strict=True)
        }
        self.all_buttons = {
            num_bits: widgets.Button(description=label, layout=widgets.Layout(width="44px"))
            for num_bits, (label, _) in zip(self._positions, options, strict=True)
        }
        self._readout = widgets.HTML()
        self._message = widgets.HTML()
        set_all = widgets.HBox([widgets.Label("set all to"), *self.all_buttons.values()])
        self.widget = widgets.VBox([self._readout, self._equalizer(), set_all, self._message])
        for slider in self.sliders.values():
            slider.observe(self._on_release, names="value")
        for num_bits, button in self.all_buttons.items():
            button.on_click(lambda _, num_bits=num_bits: self._run(lambda: self.set_all(num_bits)))
        self._show()

    @property
    def bit_widths(self) -> tuple[int | None, ...]:
        """Where the sliders are; None is float."""
        return tuple(slider.value or None for slider in self.sliders.values())

    @property
    def evaluation(self) -> Evaluation:
        """The latest measurement, the one that is shown."""
        return self._evaluation

    @property
    def float_evaluation(self) -> Evaluation:
        """The model with every quantizer switched off."""
        return self._float_evaluation

    def set_bit_widths(self, bit_widths: BitWidths) -> Evaluation:
        """Moves the sliders, gives the model these widths and measures them: once.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that change.

        Raises:
            BitWidthError: The widths do not fit the model or the sliders.
        """
        present = dict(zip(self.qmodel.names, self.bit_widths, strict=True))
        asked = present | dict(bit_widths) if hasattr(bit_widths, "keys") else bit_widths
        checked = self.qmodel.check_bit_widths(asked)
        self._check_positions(checked)
        self._moving = True
        try:
            for slider, num_bits in zip(self.sliders.values(), checked, strict=True):
                slider.value = num_bits or 0
        finally:
            self._moving = False
        self._measure()
        return self._evaluation

    def set_all(self, num_bits: int | None) -> Evaluation:
        """Moves every slider to ``num_bits`` (None is float) and measures once."""
        return self.set_bit_widths([num_bits] * len(self.sliders))

    def _on_release(self, change: Any) -> None:
        if not self._moving:
            self._run(self._measure)

    def _run(self, action: Any) -> None:
        """Runs what a slider asked for; an error is shown where the user looks."""
        try:
            action()
        except QAError as error:
            self._message.value = f"<b style='color:#D55E00'>{type(error).__name__}:</b> {error}"

    def _measure(self) -> None:
        asked = self.bit_widths
        self._readout.value = "<i>measuring …</i>"
        self.qmodel.bit_widths = asked
        self._evaluation = self.evaluator.evaluate(asked)
        self._message.value = ""
        self._show()

    def _show(self) -> None:
        evaluation, reference = self._evaluation, self._float_evaluation
        self._readout.value = (
            "<div style='display:flex;gap:2.5em;font-size:110%;line-height:1.6'>"
            f"<span>accuracy <b>{evaluation.accuracy:.2%}</b> ({evaluation.correct} of {evaluation.images})</span>"
            f"<span>float <b>{reference.accuracy:.2%}</b></span>"
            f"<span>drop <b>{100 * (reference.accuracy - evaluation.accuracy):.2f}</b> points</span>"
            f"<span>total bits <b>{evaluation.total_bits}</b></span>"
            f"<span>mean bits <b>{evaluation.mean_bits:.2f}</b></span></div>"
        )

    def _equalizer(self) -> widgets.HBox:
        height = 12 + 7 * max(map(len, self.sliders))  # pixels for the longest name
        columns = [
            widgets.VBox(
                [
                    slider,
                    widgets.HTML(
                        "<div style='writing-mode:vertical-rl;font-size:11px;line-height:1.1;"
                        f"height:{height}px;margin-left:14px'>{name}</div>"
                    ),
                ],
                layout=widgets.Layout(width="52px", flex="0 0 auto", overflow="visible"),
            )
            for name, slider in self.sliders.items()
        ]
        return widgets.HBox(columns, layout=widgets.Layout(overflow="auto hidden", width="100%"))

    def _check_positions(self, bit_widths: tuple[int | None, ...]) -> None:
        for name, num_bits in zip(self.qmodel.names, bit_widths, strict=True):
            if num_bits not in self._positions:
                raise BitWidthError(
                    f"the width of '{name}' is {num_bits}, and the sliders go from "
                    f"{self._positions[0]} to {self._positions[-2]} or to float (None): make the "
                    "panel with wider limits, or change the width"
                )

    def __repr__(self) -> str:
        evaluation = self._evaluation
        return (
            f"BitWidthPanel(accuracy={evaluation.accuracy:.4f}, total_bits={evaluation.total_bits}, "
            f"bit_widths={evaluation.bit_widths})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return data | {"text/plain": repr(self)}, metadata
