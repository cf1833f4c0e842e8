import pytest
from torch import nn

from qa_lib import all_of, any_of, conv2d_predicate, linear_predicate, name_matches, not_
from qa_lib.errors import PredicateError
from qa_lib.quantization.predicates import choose_modules


@pytest.fixture
def model():
    block = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Linear(2, 2))
    return nn.ModuleDict({"layers": block, "head": nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(2, 2))})


@pytest.mark.parametrize(
    ("predicate", "names"),
    [
        (conv2d_predicate, ["layers.0", "head.0"]),
        (linear_predicate, ["layers.2", "head.1"]),
        (any_of(conv2d_predicate, linear_predicate), ["layers.0", "layers.2", "head.0", "head.1"]),
        (all_of(conv2d_predicate, name_matches("layers.*")), ["layers.0"]),
        (name_matches("layers.*"), ["layers.0", "layers.1", "layers.2"]),
        (name_matches("layers.0", "head.?"), ["layers.0", "head.0", "head.1"]),
        (all_of(linear_predicate, not_(name_matches("head.*"))), ["layers.2"]),
        (not_(any_of(conv2d_predicate, name_matches("layers*"))), ["head", "head.1"]),
        (lambda module: isinstance(module, nn.ReLU), ["layers.1"]),
    ],
)
def test_predicates_choose(model, predicate, names):
    assert list(choose_modules(model, predicate)) == names


def test_a_module_that_stands_twice_is_chosen_once():
    shared = nn.Conv2d(1, 1, 1)
    assert list(choose_modules(nn.Sequential(shared, nn.ReLU(), shared), conv2d_predicate)) == ["0"]


def test_choosing_nothing_says_what_there_is(model):
    with pytest.raises(
        PredicateError, match="chooses no module .* contains Conv2d, Linear, ReLU, Sequential"
    ):
        choose_modules(model, name_matches("nothing"))


def test_a_model_without_modules_says_how_to_wrap_it():
    with pytest.raises(PredicateError, match=r"torch.nn.Sequential\(model\)"):
        choose_modules(nn.Linear(2, 2), linear_predicate)


@pytest.mark.parametrize("predicate", [None, "layers.*", nn.Conv2d, nn.ReLU()], ids=repr)
def test_what_is_no_predicate_is_refused(model, predicate):
    with pytest.raises(PredicateError, match="a predicate is a function"):
        choose_modules(model, predicate)
    with pytest.raises(PredicateError, match="a predicate is a function"):
        any_of(conv2d_predicate, predicate)


def test_an_answer_that_is_no_bool_is_refused(model):
    with pytest.raises(PredicateError, match="answered None for 'layers'"):
        choose_modules(model, lambda module: None)


def test_names_need_patterns_and_a_model():
    with pytest.raises(PredicateError, match="one or more patterns"):
        name_matches()
    with pytest.raises(PredicateError, match="bind"):
        name_matches("layers.*")(nn.ReLU())
