"""What a setting scores, in one line: measured, or predicted and said to be so."""

import math
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, amount, total_bits
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.view import View
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.pareto import Standing

# On a light page, and on a dark one.
_ERROR = {False: "#a84300", True: "#ff9a5c"}
_LINE = "grid-area:1/1;display:flex;flex-wrap:wrap;align-content:flex-start;gap:0 1.4em"
_TAG = re.compile("<[^>]*>")
_LONGEST_STATE = "dominated by #88 and 88 more"


def _measured(text: str, images: int, expected: str) -> str:
    found = f"<b class='qa-score' style='font-size:15px'>{text}</b> <b>measured</b> on {images:,} images"
    luckless = f", <i title='without the luck of these images; an estimate'>expected {expected}</i>"
    return found + luckless if expected else found


class Readout(View):
    """Score, drop against the float model, and bits of the present setting.

    Args:
        float_evaluation: The float model.
        costs: What is shown beside the total bits.
        checked: A front on a hold-out set: what its settings are worth there is shown.

    Attributes:
        widget: What to show.
        message: Where errors and news are shown.
    """

    def __init__(
        self,
        float_evaluation: Evaluation,
        costs: Sequence[Cost] = (total_bits,),
        checked: CheckedFront | None = None,
    ) -> None:
        self.float_evaluation, self.costs = float_evaluation, costs
        self._held_out = {} if checked is None else checked.texts()
        self._longest = ""
        self.widget = ipywidgets.HTML()
        # One line of it is always there, so that nothing moves when it says something.
        self.message = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="20px", margin="0"))
        self._message = self._preparing = self._elsewhere = ""
        self._dark = False

    def set_dark(self, dark: bool) -> None:
        """Colours that are seen on a dark page, or on a light one."""
        self._message = self._message.replace(_ERROR[self._dark], _ERROR[dark])
        self._dark = dark
        self._say(self._message)

    def take(self, checked: CheckedFront) -> None:
        """Shows with these settings what they are worth on the hold-out set."""
        self._held_out |= checked.texts()

    def show_float(self, evaluation: Evaluation) -> None:
        self.float_evaluation, self._held_out = evaluation, {}

    def show_measured(self, evaluation: Evaluation, standing: Standing) -> None:
        known = standing.expected_score == standing.expected_score
        expected = evaluation.scale.text(standing.expected_score) if known else ""
        found = _measured(evaluation.text, evaluation.images, expected)
        state = "not on the model now" if self._elsewhere else str(standing)
        self._show(found, evaluation.score, evaluation.bit_widths, state, standing.error)

    def show_predicted(self, bit_widths: Widths, score: float, state: str, error: float) -> None:
        scale = self.float_evaluation.scale
        number = "?" if score != score else f"≈ {scale.text(score, 1)}"
        if score == score and error == error:
            title = "what the latest predictions were off by: the root of their mean square"
            number += f" <span title='{title}'>± {scale.difference(error)}</span>"
        guess = f"<i class='qa-score' style='font-size:15px'>{number}</i> <i>predicted</i>"
        self._show(guess, score, bit_widths, state)

    def show_error(self, error: BaseException) -> None:
        name, text = type(error).__name__, escape(str(error))
        self._say(
            f"<div role='alert' style='color:{_ERROR[self._dark]};line-height:1.4'><b>{name}:</b> {text}</div>"
        )

    def show_elsewhere(self, text: str) -> None:
        self._elsewhere = (
            f"<div role='status' style='line-height:1.4'><b>{escape(text)}</b></div>" if text else ""
        )
        self._say(self._message)

    def show_message(self, text: str) -> None:
        self._say(f"<div role='status' style='line-height:1.4'>{escape(text)}</div>" if text else "")

    def show_preparing(self, text: str) -> None:
        self._preparing = (
            f"<div role='status' style='line-height:1.4'><i>{escape(text)} …</i></div>" if text else ""
        )
        self._say(self._message)

    def _say(self, message: str) -> None:
        self._message = message
        self.message.value = self._elsewhere + (message or self._preparing)

    def _show(self, text: str, score: float, bit_widths: Widths, state: str, error: float = math.nan) -> None:
        line = self._line(text, score, bit_widths, state, error)
        # As high as for the longest that is to be expected, which lies behind it unseen: nothing below moves under a hand.
        images = self.float_evaluation.images
        most = _measured(self.float_evaluation.text, images, self.float_evaluation.text)
        longest = self._line(most, 0.0, bit_widths, _LONGEST_STATE, 0.1 * abs(self.float_evaluation.score))
        self._longest = max(self._longest, longest, line, key=lambda each: len(_TAG.sub("", each)))
        self.widget.value = (
            f"<div style='display:grid;font-size:13px;line-height:1.7'><div class='qa-readout' role='status' aria-live='polite' style='{_LINE}'>{line}"
            f"</div><div aria-hidden='true' style='{_LINE};visibility:hidden'>{self._longest}</div></div>"
        )

    def _line(self, text: str, score: float, bit_widths: Widths, state: str, error: float) -> str:
        float_model, scale = self.float_evaluation, self.float_evaluation.scale
        drop = "?" if score != score else scale.difference(float_model.score - score)
        if error == error:
            within = scale.difference(2 * error)
            title = "two standard errors at most, of sampling alone, for this setting by itself"
            drop = f"<span title='{title}'>{drop.replace(' ', f' ± {within.split()[0]} ', 1)}</span>"
        bits = total_bits(bit_widths)
        parts = [
            f"{escape(scale.name)} {text}",
            f"drop <b>{drop}</b> from float {float_model.text}",
            f"total bits <b class='qa-bits'>{bits}</b>, mean <b>{bits / len(bit_widths):.2f}</b>",
            *(
                f"{escape(cost.name)} <b>{escape(amount(cost, bit_widths))}</b>"
                for cost in self.costs
                if cost != total_bits
            ),
            *([escape(self._held_out[bit_widths])] if bit_widths in self._held_out else []),
            f"<span class='qa-state'>{escape(state)}</span>",
        ]
        return "".join(f"<span>{part}</span>" for part in parts)

    def guarded(self, action: Callable[[Any], object]) -> Callable[[Any], None]:
        """``action`` for a hand: what it raises is shown in the panel."""

        def run(argument: Any) -> None:
            try:
                action(argument)
            except Exception as error:
                self.show_error(error)

        return run
