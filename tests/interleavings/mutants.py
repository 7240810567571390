"""Each fault that is put into a copy of the sources must be found by a scenario, which passes without it.

usage: mutants.py --project DIR --work DIR --objects A.o,B.o [--only NAME] COMPILER FLAGS...

A mutant whose text is not in the source exactly once is an error: so this list keeps in step with the code.
"""
import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import typing


class Mutant(typing.NamedTuple):
    name: str
    program: str   # its scenarios' source
    scenario: str  # one that finds it
    file: str      # below src, or below the project
    old: str
    new: str


EPOCH = "epoch/epoch.hpp"
PERIOD = "epoch/grace_period.cpp"
READER = "epoch/reader.cpp"
RECORDS = "epoch/records.hpp"
RETIREMENT = "epoch/retirement.hpp"
TABLE = "site/table.hpp"
PASS = "control/text_pass.cpp"
RETREAT = "hit/retreat.cpp"
OWNER = "site/text_owner.hpp"
PATCH = "arch/x86_64/patch.cpp"

MUTANTS = [
    # Barriers left out.
    Mutant("poll without its barrier", "epoch", "reader and poller", PERIOD,
           "  os::heavy_barrier();  // pairs with the signal fence in enter()\n", ""),
    Mutant("wait without its barrier", "epoch", "reader and waiter", PERIOD,
           "    os::heavy_barrier();  // pairs with the signal fence in enter(): sections", "    // sections"),
    Mutant("a reader that pays for nothing", "epoch", "reader and waiter without membarrier", EPOCH,
           "[[unlikely]]\n      thread_fence(std::memory_order_seq_cst);", "[[unlikely]] {\n    }"),
    Mutant("an unrecorded reader that pays for nothing", "epoch", "unrecorded without membarrier", EPOCH,
           "    if (detail::readers_pay.load(std::memory_order_relaxed))\n      thread_fence(std::memory_order_seq_cst);", ""),
    # Accesses made relaxed.
    Mutant("the epoch is not acquired", "epoch", "reader and waiter", EPOCH,
           "detail::current.load(std::memory_order_acquire)", "detail::current.load(std::memory_order_relaxed)"),
    Mutant("the ticket is not released", "epoch", "reader and waiter", PERIOD,
           "detail::current.fetch_add(1, std::memory_order_seq_cst) + 1",
           "detail::current.fetch_add(1, std::memory_order_relaxed) + 1"),
    Mutant("a section hides the end of the one before", "epoch", "reader twice", EPOCH,
           "memory_order_acquire), std::memory_order_release);", "memory_order_acquire), std::memory_order_relaxed);"),
    Mutant("the end of a section is not released", "epoch", "reader and waiter", EPOCH,
           "mine.record->since.store(0, std::memory_order_release);", "mine.record->since.store(0, std::memory_order_relaxed);"),
    Mutant("the end of a section is not acquired", "epoch", "reader and waiter", PERIOD,
           "record.since.load(std::memory_order_acquire)", "record.since.load(std::memory_order_relaxed)"),
    Mutant("what another has found complete is not acquired", "epoch", "completed by another", PERIOD,
           "newest_complete.load(std::memory_order_acquire)", "newest_complete.load(std::memory_order_relaxed)"),
    Mutant("what is found complete is not released", "epoch", "completed by another", PERIOD,
           "when, std::memory_order_acq_rel)", "when, std::memory_order_relaxed)"),
    Mutant("the end of an unrecorded section is not released", "epoch", "unrecorded", EPOCH,
           "fetch_sub(1, std::memory_order_release)", "fetch_sub(1, std::memory_order_relaxed)"),
    # Wrong by one, or in the wrong order.
    Mutant("a ticket too low by one", "epoch", "reader and waiter", PERIOD,
           "fetch_add(1, std::memory_order_seq_cst) + 1;", "fetch_add(1, std::memory_order_seq_cst);"),
    Mutant("sections of the epoch before are not waited for", "epoch", "reader and waiter", PERIOD,
           "return since != 0 && since < when;", "return since != 0 && since + 1 < when;"),
    Mutant("the inner section's end ends the outer one", "epoch", "nested sections", EPOCH,
           "} else if (mine.outer == 0) {", "} else {"),
    Mutant("a poll that does not look", "epoch", "a poll that may be in vain", PERIOD,
           "  if (!is_quiet(when)) return false;\n", "  is_quiet(when);\n"),
    Mutant("complete before it is", "epoch", "two wait", PERIOD,
           "  waits.fetch_add(1, std::memory_order_relaxed);", "  complete(when + 1);"),
    # Retirement.
    Mutant("a later object takes an earlier ticket", "epoch", "one waits, one tidies", RETIREMENT,
           "newest_ = take_ticket();", "if (newest_ == 0) newest_ = take_ticket();"),
    Mutant("what has no ticket is freed", "epoch", "freed beside one without a ticket", RETIREMENT,
           "first_->covered_by != 0 && is_complete", "is_complete"),
    Mutant("freed without a look at the ticket", "epoch", "a poll that may be in vain", RETIREMENT,
           " && is_complete(first_->covered_by)) {", ") {"),
    Mutant("sealed before it is unlinked", "epoch", "reader and waiter", RETIREMENT,
           "newest_ = take_ticket();", "newest_ = is_complete(1) ? take_ticket() : 1;"),
    # Records.
    Mutant("the living's record is reclaimed", "epoch", "reader and waiter", READER,
           "thread_of(owner) <= 0 || os::thread_exists(thread_of(owner))", "thread_of(owner) <= 0"),
    Mutant("an owner has no generation", "epoch", "a dead thread's record, number used again", RECORDS,
           "((owner >> 32) + 1) << 32 |", "(owner >> 32) << 32 |"),
    Mutant("a record is cleared before it is taken over", "epoch", "a dead thread's record, number used again", READER,
           "  if (!take_over(record, owner, -1)) return;\n  clear(record);\n",
           "  clear(record);\n  if (!take_over(record, owner, -1)) return;\n"),
    Mutant("a namesake's record is taken over as it is", "epoch", "a dead thread's record, number used again", READER,
           "    clear(record);\n    if (mine == nullptr) {", "    if (mine == nullptr) {"),
    Mutant("a record for two", "epoch", "two claim", READER,
           "  return record.owner.compare_exchange_strong(seen, handed_on(seen, thread), std::memory_order_acq_rel);",
           "  record.owner.store(handed_on(seen, thread), std::memory_order_release);\n  return true;"),
    Mutant("dead threads are never asked after", "epoch", "a dead thread's record, nobody new", PERIOD,
           "        detail::reclaim_if_dead(record);\n", ""),
    # More threads than records.
    Mutant("unrecorded sections are not waited for", "epoch", "unrecorded", PERIOD,
           "if (is_empty(0) && is_empty(1)) return true;", "return true;"),
    Mutant("one phase is enough", "epoch", "unrecorded", PERIOD,
           "if (is_empty(0) && is_empty(1)) return true;", "if (is_empty(1)) return true;"),
    Mutant("the drain never turns", "epoch", "later unrecorded sections", PERIOD,
           "      detail::phase.store(phase + 1, std::memory_order_seq_cst);\n", ""),
    Mutant("the drain does not wait for the phase that it turns away from", "epoch", "unrecorded", PERIOD,
           "      if (!is_empty(phase + 1)) return false;\n      drain.turned = false;", "      drain.turned = false;"),
    Mutant("the drain turns to a phase that is not empty", "epoch", "unrecorded with a late count", PERIOD,
           "      if (!is_empty(phase + 1))\n        return false;  // who", "      // who"),
    Mutant("a drain covers a ticket too many", "epoch", "a drain that has begun", PERIOD,
           "drain.turned_at = detail::current.load(std::memory_order_seq_cst);",
           "drain.turned_at = detail::current.load(std::memory_order_seq_cst) + 1;"),
    # The table.
    Mutant("an outgrown table is freed at once", "table", "growth", TABLE,
           "if (now != nullptr) now->next_retired = std::exchange(outgrown_, now);", "delete now;"),
    Mutant("a larger table is not released", "table", "growth", TABLE,
           "storage_.store(next.release(), std::memory_order_release);",
           "storage_.store(next.release(), std::memory_order_relaxed);"),
    Mutant("a table is published before it is filled", "table", "growth", TABLE,
           "    used_ = 0;\n", "    used_ = 0;\n    storage_.store(next.get(), std::memory_order_release);\n"),
    Mutant("another value is not released", "table", "another value", TABLE,
           "e.value.exchange(value, std::memory_order_acq_rel)", "e.value.exchange(value, std::memory_order_relaxed)"),
    Mutant("a value is not acquired", "table", "another value", TABLE,
           "return e.value.load(std::memory_order_acquire);", "return e.value.load(std::memory_order_relaxed);"),
    Mutant("an erased key's place is used again", "table", "erasure and insertion", TABLE,
           "      if (found != 0 && found != key) continue;",
           "      const bool left = e.value.load(std::memory_order_relaxed) == nullptr;\n"
           "      if (found != 0 && found != key && !left) continue;\n"
           "      if (left) e.key.store(key, std::memory_order_release);"),
    Mutant("erasure takes the key away", "table", "erasure", TABLE,
           "      e.value.store(nullptr, std::memory_order_release);",
           "      e.value.store(nullptr, std::memory_order_release);\n"
           "      const_cast<entry&>(e).key.store(0, std::memory_order_release);"),
    # Text.
    Mutant("tails and first byte are written at once", "text", "a jump is written", PATCH,
           "std::max(phase::staged, static_cast<phase>(static_cast<unsigned>(now) + 1));",
           "now < phase::staged ? phase::staged : phase::jump;"),
    Mutant("the window is not staged", "text", "a jump is written over a thread inside", PATCH,
           "  if (now == phase::staged) {", "  if (now == phase::jump) {"),
    Mutant("all is taken back at once", "text", "a jump is taken back", PATCH,
           "return now > phase::staged ? static_cast<phase>(static_cast<unsigned>(now) - 1) : wanted;", "return wanted;"),
    Mutant("cores are not synchronised between phases", "text", "a jump is written", PASS,
           "    os::synchronize_cores();\n    // Also", "    // Also"),
    Mutant("nor on the way back", "text", "a jump is taken back", PASS,
           "    if (!any) break;\n    os::synchronize_cores();\n", "    if (!any) break;\n"),
    Mutant("a window closes before it has landings", "text", "a jump is written over a thread inside", PASS,
           "    for (const auto& s : now.steps) announce(s, observer);\n", ""),
    Mutant("a jump's first byte goes last", "text", "a jump is taken back", PATCH,
           "if (now != phase::original && now != phase::jump) made", "if (now == phase::breakpoint) made"),
    Mutant("text has two owners", "text", "retreat beside control and a thread", OWNER,
           "    return (version & 1) == 0 &&\n           text_version.compare_exchange_strong(version, version + 1, "
           "std::memory_order_acq_rel);",
           "    text_version.store(version + 1, std::memory_order_release);\n    return true;"),
    Mutant("text is as new after a change", "text", "a trap that is looked into late", OWNER,
           "text_version.fetch_add(1, std::memory_order_acq_rel); }", "text_version.fetch_sub(1, std::memory_order_acq_rel); }"),
    Mutant("text is seen before its number", "text", "a jump is taken back and written", OWNER,
           "    thread_fence(std::memory_order_acquire);\n", ""),
    Mutant("a retreat writes all at once", "text", "retreat", RETREAT,
           "const auto next = arch::next_phase(at->now, site::text::breakpoint);", "const auto next = site::text::breakpoint;"),
    Mutant("a retreat does not synchronise", "text", "retreat", RETREAT,
           "if (next != site::text::breakpoint && !os::raw::synchronize_cores()) return;\n", "\n"),
]


PRECOMPILED = """#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>
#include <ucontext.h>
#include <libprobe/registers.hpp>
#include <libprobe/replacement.hpp>
"""


def precompile():
    """Half of what compiling a mutant takes is the same for all."""
    header = ARGUMENTS.work / "standard.hpp"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(PRECOMPILED)
    subprocess.run([ARGUMENTS.compiler, *ARGUMENTS.flags, "-x", "c++-header", header, "-o", f"{header}.gch"], check=True)
    return header


def complaint(mutant):
    """What is wrong with a mutant; None if it is found."""
    top = ARGUMENTS.project if mutant.file.startswith("arch/") else ARGUMENTS.project / "src"
    source = top / mutant.file
    text = source.read_text()
    if text.count(mutant.old) != 1:
        return f"its text is {text.count(mutant.old)} times in {mutant.file}: change it with the source"
    folder = ARGUMENTS.work / "".join(c if c.isalnum() else "_" for c in mutant.name)
    shutil.rmtree(folder, ignore_errors=True)
    changed = folder / mutant.file
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace(mutant.old, mutant.new))
    program = folder / "program"
    built = subprocess.run(
        [ARGUMENTS.compiler, f"-I{folder}", "-include", ARGUMENTS.precompiled, *ARGUMENTS.flags, ARGUMENTS.project / "tests/interleavings" / f"{mutant.program}.cpp",
         *ARGUMENTS.objects.split(","), "-o", program], capture_output=True, text=True)
    if built.returncode != 0:
        return f"does not compile:\n{built.stderr}"
    ran = subprocess.run([program, mutant.scenario], capture_output=True, text=True, timeout=300)
    (folder / "output").write_text(ran.stdout)
    if ran.returncode != 1 or "VIOLATION" not in ran.stdout:
        return f"not found: status {ran.returncode}\n{ran.stdout}{ran.stderr}"
    trace = ran.stdout.splitlines()
    at = next(i for i, line in enumerate(trace) if "VIOLATION" in line)
    if len(trace) < at + 4:
        return f"found, but without a trace:\n{ran.stdout}"
    print(f"{mutant.name}: found in '{mutant.scenario}', {trace[at].strip()[11:]}, {len(trace) - at - 1} steps", flush=True)
    return None


def main():
    wanted = [m for m in MUTANTS if ARGUMENTS.only is None or ARGUMENTS.only in m.name]
    ARGUMENTS.precompiled = precompile()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = [(m, c) for m, c in zip(wanted, pool.map(complaint, wanted)) if c is not None]
    for mutant, what in complaints:
        print(f"MUTANT {mutant.name}: {what}")
    print(f"{len(wanted)} mutants, {len(wanted) - len(complaints)} found")
    return 1 if complaints or not wanted else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--project", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--objects", required=True)
    parser.add_argument("--only")
    parser.add_argument("compiler")
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    ARGUMENTS = parser.parse_args()
    sys.exit(main())
