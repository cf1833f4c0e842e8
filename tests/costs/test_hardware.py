"""Costs of hardware on a network that is small enough to be counted by hand."""

import pytest

from qa_lib import QuantizedActivationsModel, conv2d_predicate
from qa_lib.costs import (
    COSTS,
    ActivationTraffic,
    BitOperations,
    Dataflow,
    PeakActivationMemory,
    Products,
    StoredTensor,
    cost_of,
)
from qa_lib.errors import BitWidthError, LayerError, NotCalibratedError, SearchError

# input 1 x 6 x 6; shortcut, conv1, conv2 4 x 6 x 6 each; then the sum, and a classifier that no quantizer follows.
ELEMENTS = (36, 144, 144, 144)


def test_activation_traffic_is_elements_times_bits(qmodel):
    cost = ActivationTraffic.of(qmodel)
    assert qmodel.names == ("input", "shortcut", "conv1", "conv2") and cost.elements == ELEMENTS
    assert cost((8, 4, 2, None)) == (36 * 8 + 144 * 4 + 144 * 2 + 144 * 32) / 8000
    assert cost.is_sum and (cost.name, cost.unit) == ("activation traffic", "kB")


def test_peak_activation_memory_is_the_largest_sum_of_what_lives_at_a_time(qmodel):
    """By hand, step by step: what each operation reads and writes, and the shortcut, until it is added."""
    cost = PeakActivationMemory.of(qmodel)
    for i, s, a, b in [(8, 8, 8, 8), (2, 3, 8, 4), (8, 2, 2, 2), (4, 8, 2, 3), (None, 2, 5, 2)]:
        bits = [32 if width is None else width for width in (i, s, a, b)]
        in_, shortcut, conv1, conv2 = (n * width for n, width in zip(ELEMENTS, bits, strict=True))
        added = 144 * max(bits[1], bits[3])  # no quantizer writes the sum
        steps = [
            in_,  # given
            in_ + shortcut,
            in_ + shortcut + conv1,
            shortcut + conv1 + conv2,
            shortcut + conv2 + added,
            added + 5 * 32,  # the classifier's result is float
        ]
        assert cost((i, s, a, b)) == max(steps) / 8000
        assert [kb for _, kb in cost.timeline((i, s, a, b))] == [step / 8000 for step in steps]
    assert [name for name, _ in cost.timeline((8, 8, 8, 8))] == [*qmodel.names, "", "classifier"]
    assert cost.is_sum is False


def test_bit_operations_are_multiply_adds_times_both_widths(qmodel):
    i, s, a, b = 8, 3, 5, 2
    macs = {"shortcut": 4 * 36, "conv1": 4 * 9 * 36, "conv2": 16 * 9 * 36, "classifier": 144 * 5}
    by_hand = macs["shortcut"] * i + macs["conv1"] * i + macs["conv2"] * a + macs["classifier"] * max(s, b)
    assert BitOperations.of(qmodel)((i, s, a, b)) == by_hand * 32 / 1e9
    assert BitOperations.of(qmodel, weight_num_bits=4)((i, s, a, b)) == by_hand * 4 / 1e9
    assert BitOperations.of(qmodel).is_sum is False  # the classifier reads a sum


def test_bit_operations_are_a_sum_where_each_layer_reads_what_one_quantizer_writes():
    def product(*operands):
        return Products("layer", 1000, 10, operands, "")

    alone = Dataflow((), (product(("a",)), product(("b",))))
    cost = BitOperations(alone, ("a", "b"), 8)
    assert cost.is_sum and cost((4, 2)) == 1000 * (4 + 2) * 8 / 1e9
    of_two = BitOperations(Dataflow((), (product(("a",), ("b",)),)), ("a", "b"), 8)
    assert of_two.is_sum is False and of_two((4, 2)) == 1000 * 4 * 2 / 1e9
    assert BitOperations(Dataflow((), ()), ("a",))((8,)) == 0


def test_a_width_of_weights_is_in_the_name_and_has_to_be_one():
    alone = Dataflow((), ())
    assert BitOperations(alone, ("a",)).name == "bit operations"
    assert BitOperations(alone, ("a",), 4).name == "bit operations, 4-bit weights"
    for none in (None, 0, 64):
        with pytest.raises(BitWidthError, match="weight_num_bits is"):
            BitOperations(alone, ("a",), none)


def test_what_a_network_does_not_multiply_for_sure_is_refused():
    unknown = Dataflow((), (), ("attention (fused)",))
    with pytest.raises(SearchError, match=r"multiply-adds of \['attention \(fused\)'\].*CostTable"):
        BitOperations(unknown, ("a",))


def test_costs_by_name(qmodel):
    for name in set(COSTS) - {"weight_memory"}:
        cost = cost_of(qmodel, name)
        assert cost.name == name.replace("_", " ") and cost((8, 8, 8, 8)) > cost((2, 2, 2, 2)) > 0
    assert cost_of(qmodel, max) is max
    with pytest.raises(SearchError, match="cost is 'latency'; give one of total_bits, activation_traffic"):
        cost_of(qmodel, "latency")


@pytest.mark.parametrize("name", ["activation_traffic", "peak_activation_memory", "bit_operations"])
def test_before_calibration_costs_of_hardware_say_what_to_do(tiny_model, name):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    with pytest.raises(NotCalibratedError, match=r"call calibrate\(qmodel, batches\) first"):
        cost_of(qmodel, name)


def test_a_model_that_cannot_be_watched_has_costs_without_a_dataflow(qmodel):
    qmodel._dataflow = Dataflow((), ())
    assert cost_of(qmodel, "activation_traffic")((2, 2, 2, 2)) > 0
    with pytest.raises(LayerError, match="take a cost that needs no dataflow"):
        cost_of(qmodel, "peak_activation_memory")


@pytest.mark.parametrize("name", sorted(set(COSTS) - {"total_bits", "weight_memory"}))
def test_another_number_of_widths_is_refused(qmodel, name):
    with pytest.raises(SearchError, match="of 4 quantizers, but there are 3 widths"):
        cost_of(qmodel, name)((8, 8, 8))


def test_a_tensor_that_is_read_again_later_lives_until_then():
    tensors = (
        StoredTensor("a", 10, ("a",), 0, 3),
        StoredTensor("b", 10, ("b",), 1, 2),
        StoredTensor("c", 10, ("c",), 2, 3),
        StoredTensor("sum", 10, ("a", "c"), 3, 3),
    )
    cost = PeakActivationMemory(tensors, ("a", "b", "c"))
    assert cost((8, 8, 8)) == 240 / 8000
    assert cost((2, 8, 2)) == (20 + 80 + 20) / 8000
    assert cost((8, 2, 2)) == (80 + 20 + 80) / 8000
