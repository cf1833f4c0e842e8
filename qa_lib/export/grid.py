"""What one fake quantizer does, in numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qa_lib.quantization.fake_quantize import SMALLEST_AMAX, grid_bounds
from qa_lib.quantization.tensor_quantizer import TensorQuantizer


@dataclass(frozen=True)
class Grid:
    """What one quantizer does: ``clamp(round(x / scale), smallest, largest) * scale``; zero is level 0.

    Attributes:
        num_bits: Its width; None leaves the tensor in float.
        amax: The largest magnitude that it represents, the value of ``largest``, float32, of each channel; None where nothing was calibrated.
        unsigned: Whether it begins at zero.
        narrow_range: Whether the lowest level of a signed grid is left out.
        axis: That of the channels, which have a scale each; None has one for the whole tensor.
    """

    num_bits: int | None
    amax: tuple[float, ...] | None
    unsigned: bool
    narrow_range: bool
    axis: int | None = None

    @property
    def levels(self) -> tuple[int, int]:
        """The lowest and the highest level; a signed grid has one more below zero than above."""
        low, high = grid_bounds(self.num_bits or 2, unsigned=self.unsigned, narrow_range=self.narrow_range)
        return int(low), int(high)

    @property
    def scale(self) -> tuple[float, ...] | None:
        """The value of one level, of each channel; 0 where ``amax`` is so small that the toolkit returns zeros."""
        if self.num_bits is None or self.amax is None:
            return None
        return tuple(0.0 if amax <= SMALLEST_AMAX else amax / self.levels[1] for amax in self.amax)

    def quantizer(self, weight: Tensor | None) -> TensorQuantizer:
        """One that does this; with an axis, of this ``weight``."""
        made = TensorQuantizer(
            self.num_bits, unsigned=self.unsigned, narrow_range=self.narrow_range, axis=self.axis
        )
        if self.amax is not None:
            dims = 0 if self.axis is None or weight is None else weight.dim()
            made.amax = torch.tensor(self.amax).reshape(
                [-1 if dim == self.axis else 1 for dim in range(dims)]
            )
        return made

    def said(self, numbers: tuple[float, ...] | None) -> float | list[float] | None:
        """``amax`` or ``scale`` as the file has it: a number, or a list of those of the channels."""
        return None if numbers is None else numbers[0] if self.axis is None else list(numbers)


def grid_of(quantizer: TensorQuantizer, num_bits: int | None) -> Grid:
    """That of ``quantizer`` at this width."""
    amax = tuple(quantizer.amax_at(num_bits).flatten().tolist()) if quantizer.calibrated else None
    axis = None if amax is None or quantizer.axis is None else int(quantizer.axis)
    return Grid(num_bits, amax, bool(quantizer.unsigned), bool(quantizer.narrow_range), axis)
