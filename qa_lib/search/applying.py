"""A setting of a search, written back into a model of NVIDIA's toolkit."""

from typing import TYPE_CHECKING, Any

from qa_lib.bit_widths import BitWidths, check_bit_widths
from qa_lib.checks import shown
from qa_lib.errors import BitWidthError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.quantization.handing_back import write_into_toolkit

if TYPE_CHECKING:
    from qa_lib.search.exploration import Exploration


def apply_setting(exploration: "Exploration", setting: Evaluation | BitWidths, target: Any) -> None:
    """What ``Exploration.apply`` does."""
    known = {
        each.name: each.quantizer
        for each in (exploration.made.quantizers if exploration.made else ())
        if each.quantizer
    }
    if set(known) != set(exploration.names):
        raise SearchError(
            "this exploration does not say which amax its quantizers had: it was not made by explore"
        )
    if isinstance(setting, Evaluation):
        if setting.fingerprint != exploration.float_evaluation.fingerprint:
            raise SearchError(
                "this evaluation is of another model or search set than the search: take one of exploration.front_evaluations"
            )
        setting = setting.bit_widths
    if isinstance(setting, dict) and (missing := [name for name in exploration.names if name not in setting]):
        raise BitWidthError(
            f"the setting names no width of {shown(missing)}: give one for each quantizer, None for float"
        )
    widths = check_bit_widths(setting, dict.fromkeys(exploration.names))
    others = exploration.made.others if exploration.made else {}
    write_into_toolkit(dict(zip(exploration.names, widths, strict=True)), known, target, others)
