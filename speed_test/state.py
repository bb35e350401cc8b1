"""How the machine is doing, as columns of a row."""


def power_source() -> str | None:
    """ "mains" or "battery", on which laptops run slower; None where there is no battery to ask."""
    import psutil

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # not on every system, and not on every new machine
        return None
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"
