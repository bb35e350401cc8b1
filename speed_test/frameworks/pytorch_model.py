"""PyTorch: a model and its training step under --precision and --compile, and the way back to its start."""

import logging
from typing import TYPE_CHECKING

from speed_test.frameworks.pytorch_group import parallel

if TYPE_CHECKING:
    import torch

    from speed_test.command_line import Options


def prepared(model: "torch.nn.Module", options: "Options") -> "torch.nn.Module":
    """The model, which lies on its device already, as the options want it to be trained, and as all processes that
    train together do."""
    if options.compile:
        # In place, so that the weights keep their names. Without dynamic=False PyTorch compiles the second shape that
        # it meets, the last and smaller batch, for batches of any size, and that code is slower. This way each shape
        # of the warm-up is compiled on its own, and an epoch meets no other.
        # A note on CUDA's compiler, where that is installed and no GPU is there.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        model.compile(dynamic=False)
    return parallel(model)


def mixed_precision(options: "Options") -> "tuple[torch.autocast, torch.amp.GradScaler]":
    """What a training step needs for --precision; with float32 and tf32 neither of the two does anything.

    `with autocast:` around forward pass and loss does convolutions, matrix products and some more in 16 bits, and
    leaves to float32 what needs its range; weights stay float32. `scaler` is for float16, in which many gradients would
    be 0: `scaler.scale(loss).backward()`, `scaler.step(optimizer)`, `scaler.update()`, as in
    https://docs.pytorch.org/tutorials/recipes/recipes/amp_recipe.html

    With "tf32" all convolutions and matrix products of this process may use TF32; by default only convolutions may.
    """
    import torch

    if options.precision == "tf32":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    lower = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(options.precision)
    # Autocast keeps the 16-bit copy of a trained weight until the end of the `with`, so a weight that is used twice is
    # copied once. A frozen weight is copied at each use.
    autocast = torch.autocast(options.device, dtype=lower, enabled=lower is not None)
    # In each step the scaler reads on the CPU whether a gradient overflowed, and so waits for the device. Only a fused
    # optimizer looks that up on the device; Adam's default is not fused, and the speed tests keep the defaults.
    scaler = torch.amp.GradScaler(options.device, enabled=options.precision == "float16")
    return autocast, scaler


class Rewind:
    """Brings model, optimizer, gradient scaler and random numbers back to where they were when this was made.

    It undoes warm-up and compute limit, so that the loss of an epoch is the same on every machine, however many
    steps came before. No memory is freed: the optimizer's averages are set to zero where they lie.
    """

    def __init__(
        self,
        model: "torch.nn.Module",
        optimizer: "torch.optim.Optimizer",
        scaler: "torch.amp.GradScaler | None" = None,
    ) -> None:
        import torch

        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._start = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        self._scale = scaler.state_dict() if scaler else {}
        self._seed = torch.initial_seed()

    def __call__(self) -> None:
        """Go back."""
        import torch

        self._model.load_state_dict(self._start)
        for averages in self._optimizer.state.values():
            for value in averages.values():
                value.zero_()
        if self._scaler and self._scale:  # it is empty for a scaler that is switched off
            self._scaler.load_state_dict(self._scale)
        torch.manual_seed(self._seed)

    def perturbed(self, relative: float, seed: int) -> None:
        """Go back, multiply each trained weight by 1 + `relative` or 1 - `relative`, and start the random numbers from
        `seed`.

        The sign is drawn from `seed`, on the CPU, so it is the same on every machine. The product is made in float64:
        with the unit roundoff of float32, 1 + 2^-24 would be 1 in float32 itself.
        """
        import torch

        self()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self._model.parameters():
                if weight.requires_grad:
                    sign = 1 - 2 * torch.randint(0, 2, weight.shape, generator=generator).double()
                    weight.copy_(weight.cpu().double() * (1 + relative * sign))
        torch.manual_seed(seed)


def rewind_of(
    model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", scaler: "torch.amp.GradScaler | None" = None
) -> Rewind:
    """What brings all of these, and the random numbers, back to where they are now."""
    return Rewind(model, optimizer, scaler)
