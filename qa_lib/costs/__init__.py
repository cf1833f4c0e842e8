"""What is minimised beside the error."""

from qa_lib.costs.bits import FLOAT_BITS, TotalBits, WeightedBits, total_bits
from qa_lib.costs.cost import (
    Cost,
    FunctionCost,
    NotASumError,
    amount,
    check_cost,
    cost_table,
    counted_in,
    fewer,
    known_amount,
    name_and_unit,
    named_cost,
)
from qa_lib.costs.dataflow import Dataflow, Products, StoredTensor
from qa_lib.costs.hardware import ActivationTraffic, BitOperations, PeakActivationMemory, WeightMemory
from qa_lib.costs.named import COSTS, checked, cost_of, costs_of, distinct, same
from qa_lib.costs.table import CostTable, write_cost_template
from qa_lib.costs.two import TwoCosts, amounts, parts

__all__ = [
    "COSTS",
    "FLOAT_BITS",
    "ActivationTraffic",
    "BitOperations",
    "Cost",
    "CostTable",
    "Dataflow",
    "FunctionCost",
    "NotASumError",
    "PeakActivationMemory",
    "Products",
    "StoredTensor",
    "TotalBits",
    "TwoCosts",
    "WeightMemory",
    "WeightedBits",
    "amount",
    "amounts",
    "check_cost",
    "checked",
    "cost_of",
    "cost_table",
    "costs_of",
    "counted_in",
    "distinct",
    "fewer",
    "known_amount",
    "name_and_unit",
    "named_cost",
    "parts",
    "same",
    "total_bits",
    "write_cost_template",
]
