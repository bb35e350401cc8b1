"""The rate of large matrix products, on a made-up device and its clock."""

import pytest

from speed_test import ceiling


class Device:
    """Multiplies at `rate(size)` operations a second; has nothing done before it is waited for."""

    def __init__(self, rate):
        self.rate = rate
        self.now = self.queued = 0.0
        self.sizes = []

    def make(self, size):
        self.sizes.append(size)

        def multiply():
            self.queued += 2 * size**3 / self.rate(size)
            self.now += 1e-6  # of the call itself

        return multiply

    def wait(self):
        self.now += self.queued
        self.queued = 0.0


@pytest.fixture
def tflops(monkeypatch):
    def measure(device, largest=ceiling.LARGEST):
        monkeypatch.setattr(ceiling.time, "perf_counter", lambda: device.now)
        return ceiling.product_tflops(device.make, device.wait, largest)

    return measure


def test_the_rate_of_the_largest_sizes_is_the_ceiling(tflops):
    gpu = Device(lambda size: 100e12 * min(1, size / 4096))
    assert tflops(gpu) == pytest.approx(100, rel=0.01)
    assert gpu.sizes == [256, 512, 1024, 2048, 4096, 8192]
    assert gpu.now < 2


def test_it_ends_when_the_rate_no_longer_rises(tflops):
    flat = Device(lambda size: 90e12 if size == 1024 else 50e12)
    assert tflops(flat) == pytest.approx(90, rel=0.05)
    assert flat.sizes == [256, 512, 1024, 2048, 4096]


def test_one_size_that_a_neighbour_slows_down_does_not_end_it(tflops):
    disturbed = Device(lambda size: {256: 10e12, 512: 8e12}.get(size, 20e12))
    assert tflops(disturbed) == pytest.approx(20, rel=0.01)


def test_threads_that_wait_for_one_another_at_small_sizes_do_not_end_it(tflops):
    busy = Device(lambda size: 2 * size**3 / (0.05 + 2 * size**3 / 200e9))  # 50 milliseconds too long
    assert tflops(busy) > 0.1
    assert busy.sizes == [256, 512, 1024, 2048]


@pytest.mark.parametrize("rate", [2e9, 6e9, 2e10, 2e11, 2e12])
def test_a_slow_device_is_not_kept_for_long(tflops, rate):
    slow = Device(lambda size: rate)
    assert tflops(slow) == pytest.approx(rate / 1e12, rel=0.01)
    assert slow.now < 2.5


def test_the_memory_limits_the_size(tflops):
    small = Device(lambda size: 1e12 * size)
    tflops(small, largest=1024)
    assert small.sizes == [256, 512, 1024]
    gigabyte = 2**30
    assert ceiling.largest_size(80 * gigabyte, bytes_each=4, on_cpu=False) == 8192
    for free in (0.1, 1, 2, 5):
        size = ceiling.largest_size(free * gigabyte, bytes_each=4, on_cpu=False)
        assert 3 * 4 * size**2 <= free * gigabyte / 8 < 3 * 4 * (2 * size) ** 2
    assert ceiling.largest_size(0, bytes_each=4, on_cpu=False) == 256
    assert ceiling.largest_size(800 * gigabyte, bytes_each=4, on_cpu=True) == 4096
