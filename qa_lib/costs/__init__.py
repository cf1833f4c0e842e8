"""What is minimised beside the error."""

from qa_lib.costs.bits import FLOAT_BITS, TotalBits, WeightedBits, total_bits
from qa_lib.costs.cost import Cost, FunctionCost, check_cost, cost_table, name_and_unit, named_cost

__all__ = [
    "FLOAT_BITS",
    "Cost",
    "FunctionCost",
    "TotalBits",
    "WeightedBits",
    "check_cost",
    "cost_table",
    "name_and_unit",
    "named_cost",
    "total_bits",
]
