# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "torch>=2.13,<2.16",
#     "torchvision>=0.28,<0.30",
#     "datasets>=4.0",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
# ]
# ///
"""How fast does this machine train ResNet50 on Food101 with PyTorch?

  python pytorch_test_computer_vision_food101.py --epochs=1 --batch_sizes="32"

Every epoch decodes 75,750 JPEGs, resizes them to 224x224, trains on them, and
appends a row to a CSV in results/results_pytorch_cv/. Decoding is part of the
work, and done in processes of its own (--num_workers). Without options it
trains 3 epochs at each of 3 batch sizes. On a slow machine, --time_limit=60
measures 60 seconds of every epoch and estimates the rest.
"""

from typing import TYPE_CHECKING, Any

from speed_test import Epochs, Experiment, Options, main
from speed_test.command_line import Parser, whole_number
from speed_test.data.photographs import synthetic_photographs
from speed_test.data.sources import hugging_face

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = 101
IMAGE_SIZE = 224
LEARNING_RATE = 0.001
SEED = 42

# Mean and standard deviation of ImageNet's red, green and blue, as torchvision's own weights expect them:
# https://docs.pytorch.org/vision/stable/models.html
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

EXPERIMENT = Experiment(
    framework="pytorch",
    model="resnet50",
    dataset="FOOD101",
    input_size=IMAGE_SIZE,
    samples=75_750,
    samples_are="JPEGs, resized to 224x224",
    results="results_pytorch_cv",
    memory_gb=4.0,
    epochs=3,
    switches=("precision", "compile", "channels_last", "processes"),
    batch_sizes=(32, 64, 128),
)


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--num_workers",
        type=whole_number(0),
        metavar="N",
        help="how many processes decode images; 0: none but the training itself (default: one for each CPU core; with "
        "several processes, so many of each of them)",
    )


# ---- Data: JPEGs, decoded by worker processes ----


def load_data(options: Options) -> "Images":
    """The training set, as `Images` of (JPEG bytes, label, file name).

    Raises DataUnavailable if options.data is "real" and Food101 can be neither read nor downloaded (5 GB).
    """
    if options.data == "synthetic":
        return Images(synthetic_jpegs(), EXPERIMENT.samples)

    with hugging_face("ethz/food101"):
        import datasets

        food101 = datasets.load_dataset("ethz/food101", split="train")
        return Images(food101.cast_column("image", datasets.Image(decode=False)), len(food101))


def synthetic_jpegs() -> list[dict[str, Any]]:
    """JPEGs as Food101 has them, each with a label, in the form of the real data set."""
    import torch
    from torchvision.io import encode_jpeg

    jpegs = []
    for number, picture in enumerate(synthetic_photographs(SEED)):
        jpeg = encode_jpeg(torch.from_numpy(picture).permute(2, 0, 1).contiguous(), quality=75).numpy().tobytes()
        jpegs.append({"image": {"bytes": jpeg, "path": f"synthetic_{number}.jpg"}, "label": number % CLASSES})
    return jpegs


class Images:
    """What a DataLoader reads: sample `index` is (image uint8 [3, 224, 224], label).

    If `samples` is more than there are `stored`, those are repeated.
    """

    def __init__(self, stored: Any, samples: int) -> None:
        self.stored = stored
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> "tuple[Tensor, int]":
        sample = self.stored[index % len(self.stored)]
        return decode(sample["image"]["bytes"], sample["image"]["path"]), sample["label"]


def decode(jpeg: bytes, name: str) -> "Tensor":
    """A JPEG as RGB, uint8 [3, 224, 224]; grayscale and CMYK become RGB. Raises ValueError with the file's name."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2.functional import resize

    try:
        image = decode_jpeg(torch.frombuffer(bytearray(jpeg), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise ValueError(f"the image {name} cannot be decoded ({error})") from None
    # Resized as bytes: 1.7 times as fast as PIL and floats.
    return resize(image, [IMAGE_SIZE, IMAGE_SIZE], antialias=True)


def share_by_files(worker: int) -> None:
    """Let a worker process share tensors through the file system, by their names.

    The default way needs an open file for each tensor, and the system limits how many there may be.
    """
    import torch

    torch.multiprocessing.set_sharing_strategy("file_system")


# ---- Model and training step ----


def training(batch_size: int, options: Options) -> Epochs:
    """ResNet50 at one batch size; runs in a fresh process of its own."""
    import torch
    import torchvision
    from torch.nn.functional import cross_entropy

    from speed_test.frameworks.pytorch import mixed_precision, prepared, rewind_of
    from speed_test.frameworks.pytorch_group import ShareOfBatches, own_cores

    torch.manual_seed(SEED)
    device = torch.device(options.device)
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    model = torchvision.models.resnet50(num_classes=CLASSES).to(device, memory_format=memory_format)
    model = prepared(model, options)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    autocast, scaler = mixed_precision(options)

    images = load_data(options)
    workers = own_cores() if options.num_workers is None else options.num_workers
    generator = torch.Generator().manual_seed(SEED)
    order = torch.utils.data.RandomSampler(images, generator=generator)
    loader = torch.utils.data.DataLoader(
        images,
        batch_sampler=ShareOfBatches(order, batch_size),
        generator=generator,
        num_workers=workers,
        worker_init_fn=share_by_files if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(STD, device=device).view(3, 1, 1)

    def to_device(images: "Tensor", labels: "Tensor") -> "tuple[Tensor, Tensor]":
        # Only a copy from pinned memory may go on in the background: other memory may be freed before it is done.
        pinned = device.type == "cuda"
        return images.to(device, non_blocking=pinned), labels.to(device, non_blocking=pinned)

    def step(images: "Tensor", labels: "Tensor") -> "Tensor":
        images = (images.to(torch.float32, memory_format=memory_format) / 255 - mean) / std
        with autocast:
            loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    rewind = rewind_of(model, optimizer, scaler)
    return Epochs(step, lambda: loader, samples=len(images), rewind=rewind, to_device=to_device)


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training, add_options)
