"""The algorithm that ``explore()`` uses unless it is given another."""

from pymoo.operators.crossover.pntx import TwoPointCrossover

from qa_lib.costs import Cost, total_bits
from qa_lib.search.mutation import StepMutation
from qa_lib.search.screening import ScreenedNSGA2
from qa_lib.search.seeding import SensitivitySampling
from qa_lib.sensitivities.table import SensitivityTable


def default_algorithm(
    table: SensitivityTable, population_size: int, cost: Cost = total_bits
) -> ScreenedNSGA2:
    """NSGA-II that begins with what the sensitivities predict, takes small steps, and learns as it goes."""
    return ScreenedNSGA2(
        table,
        pop_size=population_size,
        sampling=SensitivitySampling(table, cost),
        crossover=TwoPointCrossover(),
        mutation=StepMutation(table),
    )
