"""Whether a stranger's pickle can be read without filling the memory or taking for ever. Nothing of it is run here."""

import pickletools
from collections import Counter

# CIFAR100's training file takes some 350,000 in the longest of pickle's protocols.
MOST_OPCODES = 2_000_000
# Of each kind. A file of CIFAR100 has up to 14 tuples, 4 lists and dictionaries, 5 entries in them, and 12 calls.
# Tuples are hashed, in 2**20 steps at worst.
MOST = {"tuple": 20, "container": 20, "entry": 40, "call": 40}
LARGEST_BITS = 64  # of a whole number
REASON = "its pickle is not one of plain data"

_KINDS = dict.fromkeys(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), "tuple")
_KINDS |= dict.fromkeys(("EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT"), "container")
_KINDS |= dict.fromkeys(("REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"), "call")
_REFUSED = ("EMPTY_SET", "ADDITEMS", "FROZENSET")  # sets: neither images nor tensors need them


def check_opcodes(content: bytes) -> set[str]:
    """The "module name" of each class and function that a pickle asks for by the opcode GLOBAL.

    Raises ValueError for a pickle that is no data set of ours, but made to keep the unpickler busy for ever, or to fill
    the memory: tuples in tuples, as the key of a dictionary, take twice as long to hash with each level, and lists in
    lists as long to print; a dictionary of many keys of the same hash takes the square of their number; calls may
    copy the same long text again and again; the unpickler makes room for as many values as the highest number that
    one is remembered by.
    """
    names: set[str] = set()
    found: Counter[str] = Counter()
    depth = 0  # of the unpickler's stack
    marks: list[int] = []  # the depths at which the values begin that an opcode takes together
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content), start=1):
        name, before = opcode.name, opcode.stack_before
        if number > MOST_OPCODES or name in _REFUSED or (isinstance(argument, int) and _is_large(name, argument)):
            raise ValueError(REASON)
        if name == "MARK":
            marks.append(depth)
            continue
        if name == "POP" and marks and marks[-1] == depth:  # it takes a mark away as well
            marks.pop()
            continue
        if pickletools.markobject in before and marks:
            values, depth = depth - marks[-1], marks.pop() - before.index(pickletools.markobject)
            found["entry"] += values // 2 if name in ("SETITEMS", "DICT") else 0
        else:
            depth -= len(before)
            found["entry"] += name == "SETITEM"
        if depth < (marks[-1] if marks else 0):
            raise ValueError(REASON)
        depth += len(opcode.stack_after)
        if name in ("GLOBAL", "INST"):
            names.add(str(argument))
        kind = _KINDS.get(name)
        if kind:
            found[kind] += 1
        if (kind and found[kind] > MOST[kind]) or found["entry"] > MOST["entry"]:
            raise ValueError(REASON)
    return names


def _is_large(name: str, number: int) -> bool:
    """Whether an opcode has a number that is too large, as a value or as the place where one is remembered."""
    return number.bit_length() > LARGEST_BITS or ("PUT" in name and number > MOST_OPCODES)
