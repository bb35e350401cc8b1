"""--precision, --compile and --channels_last with PyTorch; operations counted; the ceiling of matrix products."""

import functools
from types import SimpleNamespace

import pytest

from speed_test.command_line import BadInput, Options
from speed_test.frameworks import pytorch, pytorch_limits, pytorch_trial
from speed_test.switches import combinations
from tests.conftest import CIFAR100, rows, run, the_csv

pytestmark = pytest.mark.frameworks


def options(**changed):
    return Options(**{"device": "cpu", "precision": "float32", "compile": False, "channels_last": False} | changed)


def image_step(made, seed=0):
    """Model, optimizer, scaler and training step of a small image network, in the form of the scripts."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    memory_format = torch.channels_last if made.channels_last else torch.contiguous_format
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 5))
    model = pytorch.prepared(nn.Sequential(*layers).to(memory_format=memory_format), made)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    autocast, scaler = pytorch.mixed_precision(made)

    def step(images, labels):
        images = images.to(torch.float32, memory_format=memory_format) / 255
        with autocast:
            logits = model(images)
            loss = cross_entropy(logits, labels)
        step.logits = logits
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return SimpleNamespace(model=model, optimizer=optimizer, scaler=scaler, step=step)


def batch(size=6):
    import torch

    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(0, 256, (size, 3, 8, 8), dtype=torch.uint8, generator=generator),
        torch.randint(0, 5, (size,), generator=generator),
    )


# ---- Training under the switches ----


@pytest.fixture
def tf32_as_before():
    import torch

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_every_eager_combination_trains_in_its_own_precision(tf32_as_before):
    import torch

    losses = {}
    for precision, _, channels_last in combinations(("precision", "channels_last")):
        torch.backends.cuda.matmul.allow_tf32 = False  # PyTorch's default
        made = image_step(options(precision=precision, channels_last=channels_last))
        losses[precision, channels_last] = [float(made.step(*batch())) for _ in range(4)]
        lower = getattr(torch, precision) if precision in ("bfloat16", "float16") else torch.float32
        assert made.step.logits.dtype == lower
        assert {weight.dtype for weight in made.model.parameters()} == {torch.float32}
        assert made.model[0].weight.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert made.scaler.is_enabled() == (precision == "float16")
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
    plain = losses["float32", False]
    assert plain[0] > plain[-1] * 1.05
    for combination, found in losses.items():
        assert found == pytest.approx(plain, rel=0.02), combination
    assert losses["bfloat16", False] != plain


def test_a_compiled_step_compiles_each_shape_once_and_counting_compiles_nothing(monkeypatch):
    """With the graphs that PyTorch makes of a step, but without the C++ that it makes of them: see the next test."""
    import torch
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    made = image_step(options(compile=True, channels_last=True, precision="bfloat16"))
    plain = image_step(options(channels_last=True, precision="bfloat16"))
    assert list(made.model.state_dict()) == list(plain.model.state_dict())
    images, labels = batch()
    assert pytorch.count_flop(made.step, (images, labels)) == pytorch.count_flop(plain.step, (images, labels)) > 0
    assert counters["stats"]["unique_graphs"] == 0
    for _ in range(2):
        for size in (6, 5):
            loss = made.step(images[:size], labels[:size])
            assert float(loss) == pytest.approx(float(plain.step(images[:size], labels[:size])), rel=0.05)
    assert counters["stats"]["unique_graphs"] == 2


def test_compiled_code_computes_the_same(tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    plain = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid())
    expected = plain(torch.ones(2, 3))
    compiled = pytorch.prepared(plain, options(compile=True))
    assert torch.allclose(compiled(torch.ones(2, 3)), expected)
    assert list(tmp_path.rglob("*.so"))


# ---- Back to the start, and a little beside it ----


def test_rewind_brings_the_gradient_scaler_back():
    made = image_step(options(precision="float16"))
    rewind = pytorch.rewind_of(made.model, made.optimizer, made.scaler)

    def four_losses():
        return [float(made.step(*batch())) for _ in range(4)]

    first = four_losses()
    made.scaler.update(new_scale=1e30)  # all gradients overflow, so nothing is learned
    assert len(set(four_losses())) == 1
    rewind()
    assert made.scaler.get_scale() == 65536
    assert four_losses() == first


def test_a_perturbed_start_is_a_rounding_beside_it():
    import torch

    made = image_step(options())
    made.model[4].requires_grad_(False)
    rewind = pytorch.rewind_of(made.model, made.optimizer)
    start = {name: weight.clone() for name, weight in made.model.named_parameters()}
    twins = {}
    for seed in (1, 1, 2):
        made.step(*batch())
        rewind.perturbed(2.0**-24, seed)
        assert torch.initial_seed() == seed
        twin = {name: weight.detach().clone() for name, weight in made.model.named_parameters()}
        assert all(torch.equal(twin[name], twins.setdefault(seed, twin)[name]) for name in twin)
    assert not torch.equal(twins[1]["0.weight"], twins[2]["0.weight"])
    moved = (twins[1]["0.weight"].double() / start["0.weight"].double() - 1).detach()
    assert 0 < moved.abs().max() <= 2.0**-23
    assert (moved > 0).double().mean() == pytest.approx(0.5, abs=0.15)
    assert (moved != 0).double().mean() > 0.9
    assert torch.equal(twins[1]["4.weight"], start["4.weight"])  # frozen
    rewind()
    assert all(torch.equal(weight, start[name]) for name, weight in made.model.named_parameters())


# ---- What a device can do ----


def test_the_defaults_cost_no_trial(monkeypatch):
    monkeypatch.setattr(pytorch_trial, "_train", lambda options: pytest.fail("a trial"))
    for channels_last in (False, True):
        assert pytorch.check_switches(options(channels_last=channels_last)) == []


def test_what_this_cpu_can_do_and_what_not():
    with pytest.raises(BadInput, match=r"^--precision=tf32: .* \(cpu\), it came with NVIDIA's Ampere; use float32"):
        pytorch.check_switches(options(precision="tf32"))
    for precision in ("bfloat16", "float16"):
        warned = pytorch.check_switches(options(precision=precision))
        assert all(sentence.startswith(f"--precision={precision}: this device (cpu)") for sentence in warned)


@pytest.mark.parametrize(
    ("flag", "changed"), [("--precision=float16", {"precision": "float16"}), ("--compile", {"compile": True})]
)
def test_what_fails_in_the_trial_is_refused_in_one_sentence(monkeypatch, flag, changed):
    def fail(tried):
        if tried.compile == (flag == "--compile"):
            raise RuntimeError("\nno such\ninstruction")

    monkeypatch.setattr(pytorch_trial, "_train", fail)
    pytorch_trial._why_not.cache_clear()
    with pytest.raises(BadInput) as refused:
        pytorch.check_switches(options(**changed))
    pytorch_trial._why_not.cache_clear()
    assert str(refused.value).startswith(f"{flag}: PyTorch cannot ")
    assert ": no such;" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_compiler_compile_is_refused(tmp_path):
    changes = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "PATH": str(tmp_path)}
    done = run(CIFAR100, "--data=synthetic", "--device=cpu", "--compile", cwd=tmp_path, **changes)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "--compile: PyTorch cannot compile for this device (cpu): " in done.stderr
    assert "C++ compiler" in done.stderr
    assert done.stderr.rstrip().endswith("leave --compile out, or see docs/speed.md")


@pytest.mark.parametrize(
    ("device", "changed", "chip", "native", "warned"),
    [
        ("mps", {"precision": "bfloat16"}, "Apple M2 Pro", False, "--precision=bfloat16: "),
        ("mps", {"precision": "bfloat16"}, "Apple M3", False, None),
        ("mps", {"precision": "float16"}, "Apple M1", False, None),
        ("mps", {"compile": True}, "Apple M4", False, "--compile: "),
        ("cuda", {"precision": "bfloat16"}, "", False, "--precision=bfloat16: "),
        ("cuda", {"precision": "bfloat16"}, "", True, None),
        ("cuda", {"precision": "float16", "compile": True}, "", False, None),
    ],
)
def test_what_is_known_to_be_slow_is_a_warning(monkeypatch, device, changed, chip, native, warned):
    import torch

    monkeypatch.setattr(pytorch_trial, "_why_not", lambda *asked, **more: None)
    monkeypatch.setattr(pytorch_trial, "_chip", lambda: chip)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    found = pytorch.check_switches(options(device=device, **changed))
    assert [sentence.startswith(warned) for sentence in found] == [True] if warned else found == []


@pytest.mark.parametrize(
    ("major", "cuda", "allowed", "tf32"),
    [(8, "13.0", True, True), (7, "13.0", True, False), (9, None, True, False), (9, "13.0", False, False)],
)
def test_tf32_is_what_the_gpu_has_and_pytorch_allows(monkeypatch, tf32_as_before, major, cuda, allowed, tf32):
    import torch

    gpu = {"name": "GPU", "multi_processor_count": 8, "total_memory": 2**34, "uuid": "u", "major": major, "minor": 0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: SimpleNamespace(**gpu))
    monkeypatch.setattr(torch.version, "cuda", cuda)
    torch.backends.cudnn.allow_tf32 = allowed
    assert pytorch.describe_device("cuda").tf32 is tf32
    if tf32:
        assert pytorch.check_switches(options(device="cuda", precision="tf32")) == []
        pytorch.mixed_precision(options(precision="tf32"))
        assert pytorch.describe_device("cuda").tf32


# ---- Operations, and the ceiling ----


def test_resnet50_has_the_published_operations():
    """On the meta device, where nothing is computed. 4.09 billion multiply-adds in a forward pass at 224x224:
    https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.resnet50.html"""
    import torch
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.resnet50()
        images = torch.rand(8, 3, 224, 224)
    forward = pytorch.count_flop(lambda images: model(images).detach(), (images,)) / 8
    assert forward / 2 == pytest.approx(4.09e9, rel=0.002)
    training = pytorch.count_flop(lambda images: model(images).sum().backward(), (images,)) / 8
    # Backward has two products for each of forward, but the first convolution needs no gradient of the images.
    first_convolution = 2 * 64 * 3 * 7 * 7 * 112 * 112
    assert training == 3 * forward - first_convolution


def test_distilbert_with_frozen_layers_has_the_operations_of_a_calculation_by_hand():
    import torch

    import pytorch_test_nlp as script

    model = script.load_model(options(data="synthetic"))
    ids = torch.ones(1, 512, dtype=torch.long)

    def step(ids):
        model(input_ids=ids, attention_mask=ids, labels=ids[:, 0]).loss.backward()

    width, inner, tokens, layers = 768, 3072, 512, 6
    linear = tokens * (4 * width**2 + 2 * width * inner)  # multiply-adds of a layer's six matrices
    attention = 2 * tokens**2 * width  # queries times keys, and their weights times values
    head = width**2 + 2 * width
    # Backward reaches the last layer alone: for all of its weights, and for its inputs except those of queries, keys
    # and values, below which all is frozen.
    backward = 2 * linear - tokens * 3 * width**2 + 2 * attention
    by_hand = 2 * (layers * (linear + attention) + backward + 3 * head)
    assert pytorch.count_flop(step, (ids,)) == pytest.approx(by_hand, rel=1e-6)


def test_a_few_samples_are_counted_for_all_and_attention_on_a_cpu_too():
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    seen = []

    def step(queries):
        seen.append(len(queries))
        queries.requires_grad_()
        scaled_dot_product_attention(queries, queries, queries).sum().backward()

    heads, tokens, width = 2, 16, 8
    counted = pytorch.count_flop(step, (torch.rand(100, heads, tokens, width),))
    assert seen == [4]
    product = 2 * tokens**2 * width * heads * 100
    # Forward has two products. A fused backward pass has five, for it computes one of them again.
    assert counted == (2 + 5) * product


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_ceiling_of_the_cpu_leaves_nothing_behind(monkeypatch, precision):
    import torch

    monkeypatch.setattr(pytorch_limits, "_free_memory", lambda device: 0.0)  # the smallest size only
    products = []
    multiply = torch.mm
    monkeypatch.setattr(
        torch,
        "mm",
        lambda a, b, out: products.append((a, torch.backends.cuda.matmul.allow_tf32)) or multiply(a, b, out=out),
    )
    before = torch.random.get_rng_state()
    assert pytorch.matmul_tflops(options(precision=precision)) > 0
    assert {(tuple(a.shape), a.dtype, tf32) for a, tf32 in products} == {((256, 256), getattr(torch, precision), True)}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.backends.cuda.matmul.allow_tf32 is False


def test_a_row_says_how_it_was_done_and_how_near_the_limit_it_is(tmp_path):
    switches = ("--precision=bfloat16", "--channels_last")
    short = ("--device=cpu", "--data=synthetic", "--epochs=1", "--batch_sizes=4", "--max_steps=1")
    done = run(CIFAR100, *short, *switches, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = rows(the_csv(tmp_path))
    shown = {
        name: row[name] for name in ("status", "precision", "compiled", "channels_last", "tf32", "compile_seconds")
    }
    assert list(shown.values()) == ["ok", "bfloat16", "False", "True", "False", ""]
    # 4.09 billion multiply-adds at 224x224 are a 49th at 32x32.
    assert float(row["gflop_per_sample"]) == pytest.approx(3 * 2 * 4.09 / 49, rel=0.01)
    tflops = float(row["samples_per_second"]) * float(row["gflop_per_sample"]) / 1000
    assert float(row["tflops"]) == pytest.approx(tflops, rel=1e-3)
    assert float(row["matmul_share"]) == pytest.approx(tflops / float(row["matmul_tflops"]), rel=1e-3)
