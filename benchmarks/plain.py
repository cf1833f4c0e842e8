"""The search as one would first write it: toolkit quantizers, a DataLoader, pymoo, nothing else.

No stop, no archive, no replicas; but nothing wasted on purpose either: the model in eval() and no_grad(), a
batch size of 64, all torch threads, no work between candidates. Prints its front and the seconds.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from PIL import Image
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import ElementwiseProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize
from side_by_side import work
from toolkit_model import ToolkitModel, with_toolkit_quantizers
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from qa_lib import QuantizedActivationsModel, Workload, calibrate, load_workload

BATCH_SIZE = 64


class PictureDataset(Dataset):
    """Images as torchvision's FashionMNIST hands them out: one picture at a time, through a transform."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable) -> None:
        self.images, self.labels, self.transform = (images * 255).round().byte(), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        label = self.labels[index]
        picture = self.transform(Image.fromarray(self.images[index, 0].numpy()))
        return picture, label if label.dim() else int(label)


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    return sum(int((model(x).argmax(dim=1) == y).sum()) for x, y in loader) / len(loader.dataset)


def mean_iou(model: nn.Module, loader: DataLoader) -> float:
    counts: Tensor | int = 0  # of pixels: their class, and what they are taken for
    for x, y in loader:
        outputs = model(x)
        classes = outputs.shape[1]
        pairs = (y * classes + outputs.argmax(dim=1)).flatten()
        counts = counts + torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    right = counts.diag()
    return float((right / (counts.sum(0) + counts.sum(1) - right)).nanmean())


class PlainProblem(ElementwiseProblem):
    """The score against total bits, one candidate at a time."""

    def __init__(
        self,
        model: ToolkitModel,
        loader: DataLoader,
        loss_allowed: float,
        measure: Callable[[nn.Module, DataLoader], float],
    ) -> None:
        self.model, self.loader, self.measure = model, loader, measure
        self.evaluated: list[tuple[tuple[int, ...], float, float]] = []  # widths, score, seconds
        self.images = len(loader.dataset)
        quantizers = len(model.quantizers)
        self.min_score = self.score([None] * quantizers) - loss_allowed
        super().__init__(n_var=quantizers, n_obj=2, n_ieq_constr=1, xl=2, xu=8, vtype=int)

    @torch.no_grad()
    def score(self, bit_widths: list[int | None]) -> float:
        self.model.set_bit_widths(bit_widths)
        return self.measure(self.model, self.loader)

    def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        start = time.perf_counter()
        score = self.score(x.tolist())
        self.evaluated.append((tuple(x.tolist()), score, time.perf_counter() - start))
        out["F"] = [-score, sum(x)]
        out["G"] = [self.min_score - score]


def calibrated(workload: Workload, method: str = "max") -> QuantizedActivationsModel:
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader(), method=method)
    return qmodel


def plain_problem(workload: Workload, images: int | None = None, loss_allowed: float = 0.05) -> PlainProblem:
    """The reference network with toolkit quantizers, on the first ``images`` of the search set."""
    model = with_toolkit_quantizers(load_workload(workload.name).model, calibrated(workload))
    pictures = PictureDataset(
        workload.search_images[:images], workload.search_labels[:images], torchvision.transforms.ToTensor()
    )
    measure = accuracy if workload.metric.name == "accuracy" else mean_iou
    return PlainProblem(model, DataLoader(pictures, batch_size=BATCH_SIZE), loss_allowed, measure)


def plain_algorithm(population_size: int = 15) -> NSGA2:
    return NSGA2(
        pop_size=population_size,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="128 images and 2 generations")
    options = parser.parse_args()
    problem = plain_problem(load_workload("fashion_mnist"), 128 if options.quick else None)
    generations = 2 if options.quick else 30
    work(f"plain NSGA-II, 15 x {generations} candidates, {problem.images} images, bits 2..8")
    result = minimize(problem, plain_algorithm(), ("n_gen", generations), seed=1)
    for loss, total_bits in sorted(result.F.tolist() if result.F is not None else [], key=lambda f: f[1]):
        print(f"  {-loss:.2%} at {total_bits:.0f} total bits")
    seconds = [s for _, _, s in problem.evaluated]
    print(f"{len(seconds)} evaluations, median {np.median(seconds):.3f} s each, {sum(seconds):.1f} s in all")


if __name__ == "__main__":
    main()
