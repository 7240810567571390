"""Shows the benchmarks' figures beside their goals.

usage: summary.py RESULT.json...
"""
import json
import re
import statistics
import sys


def read(paths):
    """Benchmark name -> repetitions, as Google Benchmark wrote them."""
    runs = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for run in json.load(file)["benchmarks"]:
                if run["run_type"] == "iteration":
                    runs.setdefault(re.sub("/(iterations|repeats):[0-9]+", "", run["run_name"]), []).append(run)
    return runs


class Figures:
    def __init__(self, runs):
        self.runs = runs

    def values(self, name, field):
        return [run[field] for run in self.runs.get(name, []) if not run.get("error_occurred") and field in run]

    # Both are None if the benchmark did not run, or was refused by the machine.
    def median(self, name, field="cpu_time"):
        values = self.values(name, field)
        return statistics.median(values) if values else None

    def lowest(self, name, field="cpu_time"):
        """For a few nanoseconds: whatever else the machine does only adds to them."""
        return min(self.values(name, field), default=None)

    def ratio(self, above, below, field="cpu_time"):
        upper, lower = self.median(above, field), self.median(below, field)
        return upper / lower if upper is not None and lower else None


def rows(figures):
    """(what, figure, unit, goal as text, whether it is met or None)"""
    ns, ratio = figures.median, figures.ratio

    def at_most(what, value, unit, limit):
        return what, value, unit, f"<= {limit:g}", value is None or value <= limit

    def at_least(what, value, unit, limit):
        return what, value, unit, f">= {limit:g}", value is None or value >= limit

    def note(what, value, unit):
        return what, value, unit, "", None

    floor = "bare_breakpoint"
    yield note("int3, empty handler, sigreturn", ns(floor), "ns")
    yield at_most("hit, push emulated / that", ratio("hit/push_emulated", floor), "x", 0.85)
    yield at_most("hit, load copied / that", ratio("hit/load_copied", floor), "x", 0.85)
    yield at_most("hit, push emulated, with post_handler / that", ratio("hit/push_emulated_post", floor), "x", 0.85)
    yield note("hit, load copied, with post_handler / that", ratio("hit/load_copied_post", floor), "x")
    yield note("hit, load single-stepped / that", ratio("hit/load_stepped", floor), "x")
    for what, ours, kernel in (("push", "hit/push_emulated", "uprobe/push_emulated"),
                               ("load", "hit/load_copied", "uprobe/load_stepped"),
                               ("nop5", "hit/nop5_emulated", "uprobe/nop5")):
        yield note(f"hit, {what}", ns(ours), "ns")
        yield note(f"the kernel's uprobe, {what}", ns(kernel), "ns")

    def scaling(name):
        one, two = (figures.median(f"threads/{name}/real_time/threads:{n}", "items_per_second") for n in (1, 2))
        return two / one if one and two else None

    yield at_least("hits a second, two threads / one", scaling("hit"), "x", 1.8)
    yield note("bare int3 a second, two threads / one", scaling("bare_breakpoint"), "x")

    entry, both = ns("functions/probe"), ns("functions/retprobe")
    bare = "functions/bare_breakpoint"
    yield at_most("retprobe, entry and return handler / bare int3", ratio("functions/retprobe", bare), "x", 1.1)
    yield note("its return half: retprobe - probe", both - entry if both and entry else None, "ns")
    yield note("jprobe / bare int3", ratio("functions/jprobe", bare), "x")
    yield note("replace, calling the original / bare int3", ratio("functions/replace", bare), "x")
    yield note("retprobe", both, "ns")
    yield note("the kernel's uretprobe", ns("functions/uretprobe"), "ns")

    def added(name, bare="jump/unprobed"):
        """What a probe adds to the call of the same function."""
        probed, unprobed = figures.lowest(name), figures.lowest(bare)
        return probed - unprobed if probed and unprobed else None

    yield note("call of a small function", figures.lowest("jump/unprobed"), "ns")
    for what, name, limit in (("handler with general registers only", "general_regs_only", 7),
                              ("handler that uses no vector register", "uses_none", 12),
                              ("handler that copies 16 bytes by SSE", "copies", 12),
                              ("handler that adds doubles", "adds", 12),
                              ("handler that calls libc: all vector registers saved", "calls_libc", 12),
                              ("retprobe, entry and return handler", "retprobe", 20),
                              ("the same with general registers only", "retprobe_general_regs_only", 20),
                              ("typed replace, calling the original", "replace", 8),
                              ("the same with standard_abi", "replace_standard_abi", 4),
                              ("built-in counter", "counter", 2)):
        yield at_most(f"jump adds, {what}", added(f"jump/{name}"), "ns", limit)
    # It reads the time-stamp counter twice, which alone takes as long as a retprobe's two handlers.
    yield note("jump adds, built-in latency", added("jump/latency"), "ns")
    # A disabled probe is the program's own text again: half a nanosecond is chance.
    yield at_most("jump adds, disabled", added("jump/disabled"), "ns", 0.5)
    yield note("jump adds, pre_handler and post_handler", added("jump/post_handler"), "ns")
    yield note("jump adds, jprobe", added("jump/jprobe"), "ns")
    for tactic in ("over_long", "punned", "prefixed", "over_several"):
        yield note(f"jump adds, in the middle of a function, {tactic}",
                   added(f"jump/middle/{tactic}", f"jump/middle_unprobed/{tactic}"), "ns")
    yield note("the same handler by a trap adds", added("jump/no_jump"), "ns")

    # Beside other work two threads have less than two cores: the unprobed call shows how much.
    def two_to_one(name):
        one, two = (figures.median(f"jump/{name}/real_time/threads:{n}", "items_per_second") for n in (1, 2))
        return two / one if one and two else None

    yield at_least("jumps a second, two threads at one probe / one", two_to_one("threads"), "x", 1.8)
    yield at_least("jumps a second, two threads at a probe each / one", two_to_one("threads_apart"), "x", 1.8)
    yield note("unprobed calls a second, two threads / one", two_to_one("threads_unprobed"), "x")

    every = "jump/all_entries"
    yield note("function entries of libsqlite3, at once, beside two threads with SQL", ns(every, "probes"), "")
    yield note("of these by jumps", ns(every, "jumps"), "")
    for what, field, limit in (("the first", "fresh", 5000), ("the second", "again", 5000)):
        yield at_most(f"register them, {what} time, a probe", ns(every, field), "ns", limit)
        yield note("the same, the thread's own time", ns(every, field + "_cpu"), "ns")
    yield at_most("remove them in a batch, a probe", ns(every, "remove"), "ns", 400)
    yield note("the same, the thread's own time", ns(every, "remove_cpu"), "ns")

    yield at_most("epoch section", ns("epoch_section"), "ns", 3)
    yield at_most("lookup among 100,000 sites", ns("lookup_random/100000"), "ns", 15)
    yield note("the same, each waiting for the one before and its site", ns("lookup_chain/100000"), "ns")

    for count, text in ((1000, "1,000"), (10000, "10,000")):
        yield at_most(f"register {text} in a batch, a probe", ns(f"batch/{count}", "fresh"), "ns", 3000)
        yield at_most(f"register {text} again in a batch, a probe", ns(f"batch/{count}", "again"), "ns", 3000)
        yield at_most(f"remove {text} in a batch, a probe", ns(f"batch/{count}", "remove"), "ns", 300)
    # A tenth is left to chance.
    for what in ("fresh", "again", "remove"):
        yield at_most(f"batch of 10,000 / of 1,000, a probe, {what}", ratio("batch/10000", "batch/1000", what), "x", 1.1)

    def gain(single, batch):
        return single / batch if single and batch else None

    yield note("register 10,000 one by one, a probe", ns("one_by_one/10000", "fresh"), "ns")
    yield note("remove 10,000 one by one, a probe", ns("one_by_one/10000", "remove"), "ns")
    yield at_least("remove 10,000 one by one / in a batch",
                   gain(ns("one_by_one/10000", "remove"), ns("batch/10000", "remove")), "x", 10)
    yield at_least("remove 1,000 beside a handler of 100 us, one by one / in a batch",
                   gain(ns("beside_slow_handler/1000", "remove_one_by_one"),
                        ns("beside_slow_handler/1000", "remove_batch")), "x", 300)

    bare = "profile/unprobed"
    yield at_most("SQLite at work, calls of its interface counted / unprobed", ratio("profile/count_interface", bare), "x", 1.3)
    yield at_most("the same, timed / unprobed", ratio("profile/time_interface", bare), "x", 2)
    yield at_most("the same, profiler stopped / unprobed", ratio("profile/off", bare), "x", 1.05)
    yield note("the profiler's handlers of a timed call, without the probe", ns("profile/handlers"), "ns")
    yield note("all that the library exports counted / unprobed", ratio("profile/count", bare), "x")
    yield note("the same, timed / unprobed", ratio("profile/time", bare), "x")
    yield note("stacks of every 100th malloc / unprobed", ratio("profile/malloc_stacks", bare), "x")
    yield note("13 functions counted / unprobed", ratio("profile/count_13", bare), "x")
    yield note("the same by the kernel's uprobes / unprobed", ratio("profile/uprobe_13", bare), "x")

    def tool(name):
        return ratio(f"profile/{name}/manual_time", "profile/alone/manual_time", "real_time")

    yield note("uftrace, its interface timed / alone", tool("uftrace_interface"), "x")
    yield note("uftrace, all that the library exports / alone", tool("uftrace"), "x")
    yield note("perf record at 1,000 Hz / alone", tool("perf"), "x")

    # Tables double as they grow, so this depends on the number.
    yield note("heap, a probe of 10,000", ns("memory/10000", "heap"), "bytes")
    yield note("code memory, a probe of 10,000", ns("memory/10000", "code"), "bytes")
    yield note("struct probe", ns("memory/10000", "object"), "bytes")


def main(paths):
    missed = 0
    for what, value, unit, goal, met in rows(Figures(read(paths))):
        shown = "not here" if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"
        missed += met is False
        print(f"{what:<75}{shown:>10} {unit:<6}{goal:<9}{'' if met is not False else 'MISSED'}".rstrip())
    print(f"\n{missed} missed" if missed else "\nall goals met")


if __name__ == "__main__":
    main(sys.argv[1:])
