"""What the code outside of arch/ may know of a CPU: the names on the seam's pages, and no others.

usage: seam_test.py PROJECT
"""
import pathlib
import re
import sys
import unittest

# Page -> what of it the rest of libprobe uses. A name that is added here is one more that every port has to have.
NAMES = {
    "insn": """instruction max_instruction_length landing_pad_length branch_targets split decode flow_of is_padding
        may_be_entered_inside starts_with_landing_pad behind_prologue placed_instruction may_hold_tables jump_table
        table_of table_target is_operand system_calls_in next_system_call""",
    "patch": """tactic name_of phase window_bytes next_phase image_of is_breakpoint may_hold_breakpoint
        is_covered_by_breakpoints may_begin_patch breakpoint_length longest_window jump_shape jump_reach jump_ground
        jump_shapes jump_length most_members most_shapes inner_fillers with_breakpoints write_jump hop_length write_hop
        jump_target""",
    "slot": """displaced slot_layout slot_unit plan is_branch emit emit_original detour_end emit_detour emit_count emulate
        trap_part end_of_trap_part way_back translate take in_detour_code""",
    "trap": """red_zone load store set_ip stack_pointer can_resume breakpoint_address is_behind_breakpoint
        behind_breakpoint is_single_step set_single_step guarded_load fix_guarded_load fault_words fault_of set_fault
        frame_in_hand finish_step system_call_words system_call_at answer_system_call call_confined longjmp_target
        knows_jump_buffers""",
    "ret": """return_slot_count return_word return_address is_return_slot return_slot return_slot_at call_from_detour
        call_from_slot follow_behind_branch return_to_slot set_return_vectors return_vectors saved_return saved_place
        slot_of_saved lies_on_stack translate_return""",
    "state": """vector_use all_saved prepare_ordinary enabled_state_components vectors_used_by keeps_more_than_vectors
        reload_vectors""",
    "call": """outcall divert_to_entry divert_to_replacement set_initial_stack_end call_function return_early call_in_place call_live""",
    "text": "code_page code_was_written page_flush_interrupts is_translated",
    "machine": """system_call thread_base thread_base_in_user_area cpu_relax add_own ticks linkage_slot
        stores_function_address stored_bytes signal_return legacy_kernel_entry_start legacy_kernel_entry_end""",
}
NAMES = {page: set(names.split()) for page, names in NAMES.items()}
ALL = set().union(*NAMES.values())

USE = re.compile(r"\barch::(\w+)")
# Of one CPU or another: registers, instructions, state, sizes.
WORDS = re.compile(r"\b(?:[re]?(?:ax|bx|cx|dx|si|di|bp|sp|ip)|r[89]|r1[0-5]|rflags|[xyz]mm\d*|x87|mxcsr|fxsave|int3|endbr64|"
                   r"0xcc|0xe9|0xe8|x30|lr|brk|fpsr)\b")
ALLOWED_WORDS = {"sp", "ip", "si", "di"}  # stack pointer, instruction pointer; and names of other things


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def complaints(path, text):
    code = without_comments(text)
    found = [f"{path}: arch::{name} is on no page" for name in sorted(set(USE.findall(code)) - ALL)]
    found += [f"{path}: includes the port's own {name}" for name in re.findall(r'#include "(port/[^"]+|arch/\w+/[^"]+)"', code)]
    strings_gone = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', code)
    found += [f"{path}: knows of {word}" for word in sorted(set(WORDS.findall(strings_gone)) - ALLOWED_WORDS)]
    return found


class Seam(unittest.TestCase):
    def sources(self):
        for path in (PROJECT / "src").rglob("*"):
            if path.suffix in {".cpp", ".hpp"}:
                yield path.relative_to(PROJECT), path.read_text()

    def test_neutral_code_uses_the_pages_and_knows_no_cpu(self):
        found = [c for path, text in self.sources() for c in complaints(path, text)]
        self.assertEqual(found, [])

    def test_every_name_is_used(self):
        used = {name for _, text in self.sources() for name in USE.findall(without_comments(text))}
        self.assertEqual(sorted(ALL - used), [])

    def test_every_name_is_on_its_page_and_in_every_port(self):
        for page, names in NAMES.items():
            declared = (PROJECT / "arch" / f"{page}.hpp").read_text()
            self.assertEqual(sorted(n for n in names if not re.search(rf"\b{n}\b", declared)), [], page)
        for port in (p for p in (PROJECT / "arch").iterdir() if p.is_dir()):
            self.assertEqual({p.stem for p in (port / "port").glob("*.hpp")}, set(NAMES) | {"offsets"}, port)
            whole = "".join(p.read_text() for p in port.rglob("*") if p.suffix in {".hpp", ".cpp", ".S", ".h"})
            pages = "".join((PROJECT / "arch" / f"{page}.hpp").read_text() for page in NAMES)
            complete = {n for n in ALL if re.search(rf"\b(?:struct|class|using)\s+{n}\b", pages)}  # by the page itself
            self.assertEqual(sorted(n for n in ALL - complete if not re.search(rf"\b{n}\b", whole)), [], port)

    def test_the_check_would_catch_it(self):
        self.assertTrue(complaints("src/hit/run.cpp", "arch::rel32_of(x);"))
        self.assertTrue(complaints("src/hit/run.cpp", '#include "port/insn.hpp"\n'))
        self.assertTrue(complaints("src/hit/run.cpp", '#include "arch/x86_64/jump_reach.hpp"\n'))
        self.assertTrue(complaints("src/hit/run.cpp", "regs.rax = 1;"))
        self.assertTrue(complaints("src/hit/run.cpp", "bytes[0] = 0xcc;"))
        self.assertFalse(complaints("src/hit/run.cpp", "arch::decode(x); regs.sp();  // rax\n"))


if __name__ == "__main__":
    PROJECT = pathlib.Path(sys.argv.pop())
    unittest.main()
