"""Scenes of several garments on a textured ground, made of single ones: images and exact masks for semantic segmentation."""

import numpy as np

SIZE = 64  # pixels, of a scene's side
GROUND = "ground"
_MOST_GARMENTS, _FEWEST_GARMENTS = 5, 2
_SMALLEST, _LARGEST = 20, 40  # pixels, of a garment's side
# Darker than that is the garment's own black background.
_VISIBLE = 24
_FIXED = 256  # fixed-point ones: whole numbers give the same scene on every machine


def compose(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes, each with 2 to 5 of these garments at random places and sizes, the later ones in front.

    Args:
        images: Garments, uint8 of shape ``(N, 28, 28)``, bright on black.
        labels: Their classes, shape ``(N,)``, from 0 on.
        count: How many scenes.
        seed: The same seed gives the same scenes.

    Returns:
        Scenes, uint8 of shape ``(count, 64, 64)``, and for each pixel its class, uint8 of the same shape: 0 is the ground, 1 the
        garments' class 0, and so on.
    """
    random = np.random.default_rng(seed)
    scenes, masks = np.empty((2, count, SIZE, SIZE), np.uint8)
    for scene, mask in zip(scenes, masks, strict=True):
        scene[:], mask[:] = _ground(random), 0
        for _ in range(random.integers(_FEWEST_GARMENTS, _MOST_GARMENTS + 1)):
            chosen, side = int(random.integers(len(images))), int(random.integers(_SMALLEST, _LARGEST + 1))
            garment = resized(images[chosen].astype(np.int64), side)
            if random.integers(2):
                garment = garment[:, ::-1]
            brightness = random.integers(160, _FIXED + 1)
            # A quarter of it may lie outside.
            top, left = (int(random.integers(-side // 4, SIZE - 3 * side // 4)) for _ in range(2))
            rows, columns = (
                slice(max(top, 0), min(top + side, SIZE)),
                slice(max(left, 0), min(left + side, SIZE)),
            )
            seen = garment[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            visible = seen > _VISIBLE
            scene[rows, columns][visible] = (seen * brightness // _FIXED)[visible]
            mask[rows, columns][visible] = labels[chosen] + 1
    return scenes, masks


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """``image``, square and of whole numbers, with another side, in between linearly; whole numbers again."""
    places = (np.arange(side) * (len(image) - 1) * _FIXED) // max(side - 1, 1)
    below, rest = places // _FIXED, places % _FIXED
    above = np.minimum(below + 1, len(image) - 1)
    rows = (image[below] * (_FIXED - rest)[:, None] + image[above] * rest[:, None]) // _FIXED
    return (rows[:, below] * (_FIXED - rest) + rows[:, above] * rest) // _FIXED


def _ground(random: np.random.Generator) -> np.ndarray:
    """Blotches of some brightness, and grain."""
    blotches = resized(random.integers(-45, 46, (9, 9)), SIZE)
    grain = random.integers(-14, 15, (SIZE, SIZE))
    return np.clip(random.integers(40, 120) + blotches + grain, 0, 255)
