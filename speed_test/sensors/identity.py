"""Which machine it is, more finely than its name says: the processor, the hypervisor, and an emulated Python.

A virtual machine calls its processor "AMD EPYC", whichever of five generations it is. Nothing in these texts changes
from one start of the system to the next, or with the number of CPUs in use.
"""

import importlib
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from speed_test.sensors import apple, windows
from speed_test.sensors.base import output, text

UNKNOWN = "unknown hypervisor"
MIB = 2**20
# What the firmware of a virtual machine calls its maker and product, as far as no real machine has these words too.
# After the table of systemd's src/basic/virt.c.
MAKERS = {
    "qemu": "QEMU",
    "vmware": "VMware",
    "virtualbox": "VirtualBox",
    "innotek": "VirtualBox",
    "parallels": "Parallels",
    "bochs": "Bochs",
    "bhyve": "bhyve",
    "xen": "Xen",
    "microsoft corporation virtual": "Hyper-V",
    "apple virtualization": "Apple Virtualization",
    "virtualmac": "Apple Virtualization",
    "openstack": "OpenStack",
    "kubevirt": "KubeVirt",
    "firecracker": "Firecracker",
}
# These also let whole machines.
LESSORS = {
    "amazon ec2": "Amazon EC2",
    "google compute engine": "Google Compute Engine",
    "alibaba cloud": "Alibaba Cloud",
}
CLOCKS = {"kvm-clock": "KVM", "hyperv_clocksource": "Hyper-V", "xen": "Xen"}


def cpu_model(root: Path = Path("/")) -> str | None:
    """The processor: "AuthenticAMD family 25 model 1 stepping 1, 32 MB cache"; None if nothing tells."""
    with suppress(Exception):  # a source that is missing or speaks another language
        return {"Linux": lambda: _linux_cpu(root), "Darwin": _apple_cpu, "Windows": _windows_cpu}[platform.system()]()
    return None


def virtual(root: Path = Path("/")) -> str | None:
    """The hypervisor of a virtual machine, such as "KVM"; None on a real one, and where nothing tells.

    A container has none of its own: it is as virtual as its host is.
    """
    with suppress(Exception):
        return {"Linux": lambda: _linux_virtual(root), "Darwin": _apple_virtual, "Windows": _windows_virtual}[
            platform.system()
        ]()
    return None


def emulated(root: Path = Path("/")) -> bool | None:
    """Whether this Python was built for another kind of processor; None where nothing tells safely."""
    found = {"Linux": lambda: _linux_emulated(root), "Darwin": apple.is_emulated, "Windows": windows.is_emulated}
    return found.get(platform.system(), lambda: None)()


# ---- Linux ----


def _values(cpuinfo: str, name: str) -> list[str]:
    """The values of a line of /proc/cpuinfo, each once, in their order."""
    return list(dict.fromkeys(re.findall(rf"^{name}[ \t]*:[ \t]*(.*\S)", cpuinfo, flags=re.MULTILINE)))


def _linux_cpu(root: Path) -> str | None:
    cpuinfo = text(root / "proc/cpuinfo")
    vendor = _values(cpuinfo, "vendor_id")
    if vendor:
        words = [vendor[0]]
        for name, title in (("cpu family", "family"), ("model", "model"), ("stepping", "stepping")):
            words += [title, _values(cpuinfo, name)[0]]
        return _with_cache(" ".join(words), _linux_cache(root))
    words = []
    for name in ("implementer", "part", "variant", "revision"):  # of an Arm processor, with big and little cores
        words += [name, "+".join(sorted(_values(cpuinfo, f"CPU {name}")))]
    return _with_cache(" ".join(words), _linux_cache(root)) if all(words) else None


def _linux_cache(root: Path) -> int | None:
    """Bytes of the largest cache of the last level. /proc/cpuinfo says that of another level on each maker's chips."""
    found = []
    for index in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*"):
        size = re.fullmatch(r"(\d+)K", text(index / "size"))
        if size:
            found.append((text(index / "level"), int(size[1]) * 1024))
    return max(found)[1] if found else None


def _with_cache(name: str, cache: int | None) -> str:
    if not cache:
        return name
    return f"{name}, {cache / MIB:g} MB cache"


def _linux_virtual(root: Path) -> str | None:
    if "microsoft" in text(root / "proc/sys/kernel/osrelease").lower():
        return "WSL"
    flags = _values(text(root / "proc/cpuinfo"), "flags")
    is_guest = "hypervisor" in (flags[0].split() if flags else ())
    dmi = root / "sys/class/dmi/id"
    firmware = f"{text(dmi / 'sys_vendor')} {text(dmi / 'product_name')}"
    named = _named(firmware, MAKERS)
    if named:
        return named
    rented = _named(firmware, LESSORS)
    if rented and (is_guest or (not flags and "metal" not in firmware)):  # an Arm processor has no such flag
        return rented
    kind = text(root / "sys/hypervisor/type")
    if kind and "control_d" not in text(root / "proc/xen/capabilities"):  # the system that manages Xen's guests
        return {"xen": "Xen"}.get(kind, kind)
    tree = text(root / "proc/device-tree/hypervisor/compatible").replace("\0", " ")
    if tree or "dummy-virt" in text(root / "proc/device-tree/compatible"):
        return "KVM" if "kvm" in tree else "Xen" if "xen" in tree else "QEMU"
    if not is_guest:
        return None
    clocks = text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource").split()
    return next((CLOCKS[name] for clock in clocks for name in CLOCKS if clock.startswith(name)), UNKNOWN)


def _named(firmware: str, names: dict[str, str]) -> str | None:
    return next((name for words, name in names.items() if re.search(rf"\b{words}", firmware.lower())), None)


def _linux_emulated(root: Path) -> bool | None:
    """An emulator of single programs (qemu-user, Rosetta in a container) leaves the host's /proc/cpuinfo as it is."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return None  # newer versions of qemu-user make a fitting /proc/cpuinfo up for Arm
    cpuinfo = text(root / "proc/cpuinfo")
    names = " ".join([*_values(cpuinfo, "vendor_id"), *_values(cpuinfo, "model name")])
    if "VirtualApple" in names or "TCG" in names or _values(cpuinfo, "CPU implementer"):
        return True
    return False if names else None


# ---- macOS ----


def _sysctl() -> dict[str, str]:
    listing = output("sysctl", "hw", "machdep.cpu", "kern.hv_vmm_present")
    return dict(line.split(": ", 1) for line in listing.splitlines() if ": " in line)


def _apple_cpu() -> str | None:
    known = _sysctl()
    if "machdep.cpu.family" in known:  # Intel
        words = [known.get("machdep.cpu.vendor", "GenuineIntel")]
        for name in ("family", "model", "stepping"):
            words += [name, known[f"machdep.cpu.{name}"]]
        return _with_cache(" ".join(words), int(known.get("hw.l3cachesize", 0)))
    if "hw.cpufamily" not in known:
        return None
    # Numbers of mach/machine.h, such as CPUFAMILY_ARM_FIRESTORM_ICESTORM; some come with a sign.
    family = int(known["hw.cpufamily"]) % 2**32
    name = f"Apple family 0x{family:08x} subfamily {known.get('hw.cpusubfamily', '?')}"
    return _with_cache(name, int(known.get("hw.perflevel0.l2cachesize", 0)))


def _apple_virtual() -> str | None:
    known = _sysctl()
    if known.get("kern.hv_vmm_present") != "1":
        return None
    return _named(known.get("hw.model", ""), MAKERS) or UNKNOWN


# ---- Windows ----


def _windows_cpu() -> str | None:
    """From "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD"; of an Arm machine as Windows writes it."""
    name = platform.processor()
    found = re.fullmatch(r"\S+ Family (\d+) Model (\d+) Stepping (\d+), (\w+)", name)
    return "{3} family {0} model {1} stepping {2}".format(*found.groups()) if found else name or None


def _windows_virtual() -> str | None:
    registry: Any = importlib.import_module("winreg")
    words = []
    with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\BIOS") as key:
        for name in ("SystemManufacturer", "SystemProductName"):
            with suppress(OSError):
                words.append(str(registry.QueryValueEx(key, name)[0]))
    firmware = " ".join(words)
    rented = None if "metal" in firmware else _named(firmware, LESSORS)
    return _named(firmware, MAKERS) or rented
