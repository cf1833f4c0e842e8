"""What options can be, by name: said here once more, for what knows it needs seconds to be read (a test holds the two together)."""

WORKLOADS = ("fashion_mnist", "fashion_mnist_convnet", "fashion_mnist_mobilenet", "garment_scenes")
CALIBRATIONS = ("mse", "max", "percentile", "entropy", "output")
COSTS = ("total_bits", "activation_traffic", "weight_memory", "peak_activation_memory", "bit_operations")
FORMATS = ("json", "onnx", "qonnx", "state_dict", "code", "modelopt", "aimet")
BY = ("divergence", "score")
DEFAULT_PATIENCE = 20.0
