"""Which machine it is, more finely: made-up files and commands of each system."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from speed_test import machine
from speed_test.machine import Device, describe
from speed_test.sensors import identity, windows
from tests.test_state_linux import write


@pytest.fixture
def system(monkeypatch):
    def use(name, architecture="x86_64", commands=None):
        monkeypatch.setattr(identity.platform, "system", lambda: name)
        monkeypatch.setattr(identity.platform, "machine", lambda: architecture)
        monkeypatch.setattr(identity, "output", lambda *command: (commands or {})[command[0]])

    return use


MILAN = "AuthenticAMD family 25 model 1 stepping 1"
EPYC = """processor\t: {number}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 1
microcode\t: 0x1000065
cpu MHz\t\t: 2596.{number}
cache size\t: 512 KB
flags\t\t: fpu vme de pse {flags}

"""
GRACE = """processor\t: {number}
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: {part}
CPU revision\t: 1

"""


def caches(cpu, *sizes):
    """Of the first level two, of each other one; in KB."""
    folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index"
    files = {}
    for number, size in enumerate(sizes):
        files |= {f"{folder}{number}/size": f"{size}K", f"{folder}{number}/level": max(1, number)}
    return files


def epyc(number=2, flags="hypervisor"):
    return {"proc/cpuinfo": "".join(EPYC.format(number=cpu, flags=flags) for cpu in range(number))}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (epyc() | caches(0, 32, 32, 512, 32768), f"{MILAN}, 32 MB cache"),
        (epyc(64) | caches(7, 32, 32, 512, 32768), f"{MILAN}, 32 MB cache"),
        (epyc() | caches(0, 32, 32, 512, 32768) | caches(8, 32, 32, 512, 98304), f"{MILAN}, 96 MB cache"),
        (epyc() | caches(0, 48, 32, 1280), f"{MILAN}, 1.25 MB cache"),
        (epyc(), MILAN),
        (
            {"proc/cpuinfo": GRACE.format(number=0, part="0xd0c")} | caches(0, 64, 64, 1024),
            "implementer 0x41 part 0xd0c variant 0x3 revision 1, 1 MB cache",
        ),
        (
            {"proc/cpuinfo": "".join(GRACE.format(number=cpu, part=f"0xd0{'bb5'[cpu]}") for cpu in range(3))},
            "implementer 0x41 part 0xd05+0xd0b variant 0x3 revision 1",
        ),
        ({"proc/cpuinfo": "processor\t: 0\nhart\t\t: 2\nisa\t\t: rv64imafdc"}, None),
        ({}, None),
    ],
)
def test_processor_on_linux(tmp_path, system, files, expected):
    system("Linux")
    write(tmp_path, files)
    assert identity.cpu_model(tmp_path) == expected


def dmi(vendor, product):
    return {"sys/class/dmi/id/sys_vendor": vendor, "sys/class/dmi/id/product_name": product}


CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"
BARE = epyc(flags="")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (epyc() | dmi("QEMU", "Standard PC (Q35 + ICH9, 2009)"), "QEMU"),
        (epyc() | dmi("VMware, Inc.", "VMware Virtual Platform"), "VMware"),
        (epyc() | dmi("innotek GmbH", "VirtualBox"), "VirtualBox"),
        (epyc() | dmi("Microsoft Corporation", "Virtual Machine"), "Hyper-V"),
        (epyc() | dmi("Amazon EC2", "c7a.4xlarge"), "Amazon EC2"),
        (BARE | dmi("Amazon EC2", "c7a.metal-48xl"), None),
        (epyc() | dmi("Google", "Google Compute Engine"), "Google Compute Engine"),
        (epyc() | dmi("Xen", "HVM domU"), "Xen"),
        (epyc() | {"sys/hypervisor/type": "xen"}, "Xen"),
        (BARE | {"sys/hypervisor/type": "xen", "proc/xen/capabilities": "control_d"}, None),
        (epyc() | {CLOCKS: "tsc kvm-clock acpi_pm"}, "KVM"),
        (epyc() | {CLOCKS: "hyperv_clocksource_tsc_page acpi_pm"}, "Hyper-V"),
        (epyc() | {CLOCKS: "tsc acpi_pm"}, "unknown hypervisor"),
        (epyc() | dmi("Dell Inc.", "PowerEdge R7525"), "unknown hypervisor"),
        (BARE | dmi("Dell Inc.", "PowerEdge R7525") | {CLOCKS: "tsc hpet acpi_pm"}, None),
        (BARE | dmi("Microsoft Corporation", "Surface Laptop 4"), None),
        (BARE | dmi("Google", "Eve"), None),
        (BARE, None),
        (epyc() | {"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2"}, "WSL"),
        (epyc() | {"proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft"}, "WSL"),
    ],
)
def test_hypervisor_on_linux(tmp_path, system, files, expected):
    system("Linux")
    write(tmp_path, files)
    assert identity.virtual(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (dmi("Amazon EC2", "c7g.4xlarge"), "Amazon EC2"),
        (dmi("Amazon EC2", "c7g.metal"), None),
        (dmi("Apple Inc.", "Apple Virtualization Generic Platform"), "Apple Virtualization"),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "KVM"),
        ({"proc/device-tree/hypervisor/compatible": "xen,xen-4.17\0xen,xen\0"}, "Xen"),
        ({"proc/device-tree/compatible": "linux,dummy-virt\0"}, "QEMU"),
        ({"proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0"}, None),
    ],
)
def test_hypervisor_on_arm(tmp_path, system, files, expected):
    system("Linux", "aarch64")
    write(tmp_path, {"proc/cpuinfo": GRACE.format(number=0, part="0xd0c")} | files)
    assert identity.virtual(tmp_path) == expected


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "expected"),
    [
        ("x86_64", epyc()["proc/cpuinfo"], False),
        ("x86_64", GRACE.format(number=0, part="0xd0c"), True),  # qemu-user
        ("x86_64", "vendor_id\t: VirtualApple\nmodel name\t: VirtualApple @ 2.50GHz", True),  # Rosetta in a container
        ("x86_64", "vendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+", True),
        ("x86_64", "", None),
        ("aarch64", GRACE.format(number=0, part="0xd0c"), None),
    ],
)
def test_emulated_on_linux(tmp_path, system, architecture, cpuinfo, expected):
    system("Linux", architecture)
    write(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert identity.emulated(tmp_path) is expected


M3_MAX = """hw.model: Mac15,9
hw.cpufamily: 1598941843
hw.cpusubfamily: 5
hw.perflevel0.l2cachesize: 16777216
hw.l2cachesize: 4194304
machdep.cpu.brand_string: Apple M3 Max
kern.hv_vmm_present: 0
"""
INTEL_MAC = """hw.model: MacBookPro16,1
hw.cpufamily: 260141638
hw.l3cachesize: 12582912
machdep.cpu.vendor: GenuineIntel
machdep.cpu.family: 6
machdep.cpu.model: 158
machdep.cpu.stepping: 13
kern.hv_vmm_present: 0
"""


@pytest.mark.parametrize(
    ("sysctl", "model", "virtual"),
    [
        (M3_MAX, "Apple family 0x5f4dea93 subfamily 5, 16 MB cache", None),
        (INTEL_MAC, "GenuineIntel family 6 model 158 stepping 13, 12 MB cache", None),
        (
            M3_MAX.replace("Mac15,9", "VirtualMac2,1").replace("present: 0", "present: 1"),
            "Apple family 0x5f4dea93 subfamily 5, 16 MB cache",
            "Apple Virtualization",
        ),
        (INTEL_MAC.replace("MacBookPro16,1", "VMware7,1").replace("present: 0", "present: 1"), None, "VMware"),
        (M3_MAX.replace("present: 0", "present: 1"), None, "unknown hypervisor"),
        ("hw.cpufamily: -634136515\n", "Apple family 0xda33d83d subfamily ?", None),
        ("", None, None),
    ],
)
def test_a_mac(system, sysctl, model, virtual):
    system("Darwin", "arm64", {"sysctl": sysctl})
    assert model is None or identity.cpu_model() == model
    assert identity.virtual() == virtual


@pytest.mark.parametrize(
    ("maker", "product", "expected"),
    [
        ("Microsoft Corporation", "Virtual Machine", "Hyper-V"),
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "QEMU"),
        ("Amazon EC2", "m7i.large", "Amazon EC2"),
        ("Amazon EC2", "m7i.metal-24xl", None),
        ("LENOVO", "21CBCTO1WW", None),
    ],
)
def test_hypervisor_on_windows(system, monkeypatch, maker, product, expected):
    class Key:
        def __enter__(self):
            return {"SystemManufacturer": maker, "SystemProductName": product}

        def __exit__(self, *_):
            pass

    module = ModuleType("winreg")
    module.HKEY_LOCAL_MACHINE = 1
    module.OpenKey = lambda key, path: Key()
    module.QueryValueEx = lambda key, name: (key[name], 1)
    monkeypatch.setitem(sys.modules, "winreg", module)
    system("Windows", "AMD64")
    assert identity.virtual() == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD", "AuthenticAMD family 25 model 33 stepping 0"),
        ("Intel64 Family 6 Model 151 Stepping 2, GenuineIntel", "GenuineIntel family 6 model 151 stepping 2"),
        ("ARMv8 (64-bit) Family 8 Model 1 Revision 201, Qualcomm Technologies Inc", None),
        ("", None),
    ],
)
def test_processor_on_windows(system, monkeypatch, name, expected):
    system("Windows", "AMD64")
    monkeypatch.setattr(identity.platform, "processor", lambda: name)
    assert identity.cpu_model() == (expected or name or None)


def test_nothing_is_no_error(system, monkeypatch, tmp_path):
    for name in ("Linux", "Darwin", "Windows", "Haiku"):
        system(name)
        monkeypatch.setitem(sys.modules, "winreg", None)
        monkeypatch.setattr(identity.platform, "processor", lambda: "")
        assert (identity.cpu_model(tmp_path), identity.virtual(tmp_path)) == (None, None)
    monkeypatch.setattr(windows, "is_emulated", lambda: True)
    system("Haiku")
    assert identity.emulated() is None


def test_a_machine_says_who_it_is(monkeypatch):
    monkeypatch.setattr(machine, "identity", SimpleNamespace(cpu_model=lambda: "a model", virtual=lambda: "KVM"))
    found = describe(Device("cpu", "PyTorch", "2.15.0"))
    assert (found.cpu_model, found.virtual) == ("a model", "KVM")
