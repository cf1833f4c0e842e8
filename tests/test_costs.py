from qa_lib.costs import total_bits


def test_total_bits_is_the_sum_and_float_counts_32():
    assert total_bits([8, 4, 2]) == 14
    assert total_bits([8, None]) == 40
