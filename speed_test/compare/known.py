"""The seven speed tests of this repository, as far as the figures of others leave something unsaid.

The table is optional: a test that is not in it takes its title and the name of its chart from its rows.
"""

from typing import NamedTuple

LLAMA_2_7B = "Llama 2 7B Q4_0"
LLAMA_2_7B_PARAMETERS = "6738415616"

TRAINING_FIGURE = {"figure": "epoch_seconds", "unit": "seconds per epoch", "better": "lower"}
GENERATION_FIGURE = {
    "figure": "tokens_per_second",
    "unit": "tokens per second (answer by total time)",
    "better": "higher",
}

FRAMEWORKS = {
    "pytorch": "PyTorch",
    "tensorflow": "TensorFlow",
    "llamacpp": "llama.cpp",
    "keras": "Keras",
    "jax": "JAX",
    "mlx": "MLX",
    "sklearn": "scikit-learn",
    "xgboost": "XGBoost",
}


class Known(NamedTuple):
    """The columns of a test that is known, its title, the name of its chart (without ".png"), and how many samples an
    epoch has (0: it has no epochs)."""

    framework: str
    model: str
    dataset: str
    input_size: str
    title: str
    chart: str
    samples: int = 0


RESNET50_ON_CIFAR100 = "ResNet50 on CIFAR100"
RESNET50_ON_FOOD101 = "ResNet50 on Food101"
# experiment -> what it is, in the order in which tests are shown
KNOWN = {
    "pytorch_cifar100": Known(
        "pytorch",
        "resnet50",
        "CIFAR100",
        "32",
        f"{RESNET50_ON_CIFAR100}, PyTorch",
        "pytorch_cv_resnet50_cifar100",
        50_000,
    ),
    "pytorch_food101": Known(
        "pytorch",
        "resnet50",
        "FOOD101",
        "224",
        f"{RESNET50_ON_FOOD101}, PyTorch",
        "pytorch_cv_resnet50_food101",
        75_750,
    ),
    "pytorch_imdb": Known(
        "pytorch",
        "distilbert-base-uncased",
        "IMDB",
        "512",
        "DistilBERT on IMDB, PyTorch",
        "pytorch_nlp_distilbert_imdb",
        25_000,
    ),
    "tensorflow_cifar100": Known(
        "tensorflow",
        "ResNet50",
        "CIFAR100",
        "32",
        f"{RESNET50_ON_CIFAR100}, TensorFlow",
        "tensorflow_cv_resnet50_cifar100",
        50_000,
    ),
    "tensorflow_food101": Known(
        "tensorflow",
        "ResNet50",
        "FOOD101",
        "224",
        f"{RESNET50_ON_FOOD101}, TensorFlow",
        "tensorflow_cv_resnet50_food101",
        75_750,
    ),
    "tensorflow_imdb": Known(
        "tensorflow",
        "SmallTransformer",
        "IMDB",
        "200",
        "Small transformer on IMDB, TensorFlow",
        "tensorflow_nlp_imdb",
        25_000,
    ),
    # The model is no part of this test: its tables have a column for each model.
    "llama2": Known("llamacpp", "", "", "", "Text generation, llama.cpp", "llamacpp_tokens_per_second"),
}


def columns_of(experiment: str) -> dict[str, str]:
    """The columns that tell the known test `experiment` from every other one, for rows that do not have them."""
    known = KNOWN[experiment]
    figure = GENERATION_FIGURE if experiment == "llama2" else TRAINING_FIGURE
    return {
        "experiment": experiment,
        "framework": known.framework,
        "model": known.model,
        "dataset": known.dataset,
        "input_size": known.input_size,
        **figure,
    }
