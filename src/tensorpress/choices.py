"""What is chosen by name, and what is taken where nothing is said.

The things themselves stand in tables (``METHODS``, ``RUNTIMES``, ...), which need PyTorch; a
command line tells their names without it. The tests hold the names against the tables.
"""

ALL, AUTO = "all", "auto"
"""All of the names; and in place of a method or of a precision what is best for each layer, or the
runtime's own."""
TTPWT = "ttpwt"
KNOW_VBMF = ("spatial-svd", "spatial-svd-reversed", "tucker2", "channel-svd", "input-svd")
"""The methods that take ranks by variational Bayes."""
DECOMPOSITIONS = (
    TTPWT,
    "ttpwt-reversed",
    "pointwise-spatial",
    "pointwise-spatial-reversed",
    "spatial-pointwise",
    "spatial-pointwise-reversed",
    *KNOW_VBMF,
    "depthwise-separable",
    "cp",
    "kronecker",
    "tt",
    "tensor-ring",
    "hierarchical-tucker",
)
METHODS = (*DECOMPOSITIONS, "deep-k-means", "tt-conv", "tt-conv-naive")
CRITERIA = ("l1", "sfp", "fpgm", "bn-scale", "taylor", "random")
COMPARED = (AUTO, *DECOMPOSITIONS, *CRITERIA)
"""What can be compared: the best of all for each layer, decompositions, criteria to prune by."""
RUNTIMES = ("torch", "torch-compiled", "onnxruntime", "openvino", "torch-cuda", "torch-cuda-graphs")
INT8 = "int8"
INPUT_DTYPES = ("float32", "int64", "int32")
"""What a network may take: values, or whole numbers such as those of words."""
TABLES = (
    *("table1", "table2", "table3", "table4", "table5"),
    *("resnet20-cifar10", "resnet56-cifar10"),
)
"""Those of the paper, and further ones."""
FEWEST = 16
"""Images that a network can be calibrated on."""
FLOOR = 0.95
"""The least share of images with the same class in int8 as in float32."""
RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""PCR and FCR at which a network is explored."""

DATA_NAMES = ("digits", "digits16", "cifar10", "cifar100")
"""Data that goes by a name; else it is a folder."""
