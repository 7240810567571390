"""Greenlets that switch inside callbacks of C functions whose calls are followed: greenlet copies their stacks
out and in, so a call may not be on any stack while others go on. Results and counts must be exact.

greenlets.py LIBRARY jumps|traps"""

import ctypes
import random
import sys
import threading

import greenlet

library = ctypes.CDLL(sys.argv[1])
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long)
FOUR = ctypes.c_ulong * 4
library.through.argtypes = [CALLBACK, ctypes.c_long]
library.deeper.argtypes = [CALLBACK, ctypes.c_long, ctypes.c_long]
library.through.restype = library.deeper.restype = ctypes.c_long
library.follow.argtypes = [ctypes.c_ulong]
library.follow.restype = library.by_jumps.restype = ctypes.c_bool

GREENLETS = 20
ROUNDS = 15
THREADS = 2


def pause():
    greenlet.getcurrent().parent.switch()


@CALLBACK
def leaf(n):
    """Called from C; somebody else goes on meanwhile."""
    pause()
    if n % 3 == 0:
        pause()
    return 2 * n


@CALLBACK
def branch(n):
    """Called from C, calls C."""
    pause()
    result = library.deeper(leaf, n, n % 4)
    pause()
    return result + library.through(leaf, n + 1)


def work(number):
    result = 0
    for i in range(ROUNDS):
        n = 10 * number + i
        result += library.through(branch, n)
        result += library.deeper(branch, n, 2)
        pause()
    return result


def truly(number):
    """The same without C and greenlets; and how often each function is called."""

    def through(call, n):
        calls[0] += 1
        return call(n) + 1

    def deeper(call, n, depth):
        calls[1] += 1
        return (call(n) if depth == 0 else deeper(call, n, depth - 1)) + 1

    def branch_of(n):
        return deeper(leaf_of, n, n % 4) + through(leaf_of, n + 1)

    def leaf_of(n):
        return 2 * n

    calls = [0, 0]
    result = 0
    for i in range(ROUNDS):
        n = 10 * number + i
        result += through(branch_of, n) + deeper(branch_of, n, 2)
    return result, calls


def run(seed, wrong):
    """All greenlets of one thread, in an order that is nobody's stack's."""
    order = random.Random(seed)
    results = {}
    alive = []
    for number in range(GREENLETS):
        one = greenlet.greenlet(lambda number=number: results.__setitem__(number, work(number)))
        alive.append(one)
    while alive:
        one = order.choice(alive)
        one.switch()
        if one.dead:
            alive.remove(one)
    for number in range(GREENLETS):
        if results.get(number) != truly(number)[0]:
            wrong.append(f"greenlet {number}: {results.get(number)}, not {truly(number)[0]}")


def run_in_threads():
    wrong = []
    threads = [threading.Thread(target=run, args=(seed, wrong)) for seed in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return wrong


def main():
    wrong = run_in_threads()
    if wrong:
        sys.exit("without probes: " + "; ".join(wrong))
    calls = [THREADS * sum(truly(number)[1][function] for number in range(GREENLETS)) for function in (0, 1)]
    for maxactive in (2000, 1, 2, 4):
        if not library.follow(maxactive):
            sys.exit("refused")
        if library.by_jumps() != (sys.argv[2] == "jumps"):
            sys.exit("not by " + sys.argv[2])
        wrong = run_in_threads()
        for function, name in enumerate(("through", "deeper")):
            by_retprobe, by_latency = FOUR(), FOUR()
            library.seen(function, by_retprobe, by_latency)
            for kind, (begun, returned, unwound, missed) in ("retprobe", by_retprobe), ("latency", by_latency):
                told = f"{kind} of {name}: {begun} begun, {returned} returned, {unwound} unwound, {missed} missed"
                print(f"up to {maxactive}: {told}; truly {calls[function]}")
                if unwound or returned != begun or begun + missed != calls[function]:
                    wrong.append(told)
                if maxactive == 2000 and missed:
                    wrong.append(told)
        library.unfollow()
        if wrong:
            sys.exit(f"with up to {maxactive}: " + "; ".join(wrong))


main()
