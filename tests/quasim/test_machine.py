from __future__ import annotations

from pathlib import Path

from quasim.machine import Machine, isa_flags, llc_bytes, memory_bytes, model_name, this_machine

X86 = (
    "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx avx2 fma\nprocessor\t: 1\nmodel name\t: AMD EPYC\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n"


def _cache(sysfs: Path, core: int, index: int, level: int, size: str, shared: str) -> None:
    folder = sysfs / f"cpu{core}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    (folder / "level").write_text(f"{level}\n")
    (folder / "size").write_text(f"{size}\n")
    (folder / "shared_cpu_list").write_text(f"{shared}\n")


def test_last_level_caches_count_once_each_and_only_for_usable_cores(tmp_path: Path) -> None:
    for core, shared in ((0, "0-1"), (1, "0-1"), (2, "2-3")):
        _cache(tmp_path, core, 0, 1, "32K", str(core))
        _cache(tmp_path, core, 3, 3, "32768K", shared)
    _cache(tmp_path, 4, 3, 3, "1G", "4")
    assert llc_bytes(tmp_path, frozenset({0, 1})) == 32 << 20
    assert llc_bytes(tmp_path, frozenset({0, 1, 2})) == 64 << 20


def test_a_machine_without_sysfs_has_no_known_cache(tmp_path: Path) -> None:
    assert llc_bytes(tmp_path, frozenset({0})) == 0


def test_model_and_flags_are_read_on_x86_and_arm() -> None:
    assert model_name(X86) == "AMD EPYC"
    assert isa_flags(X86) == {"sse2", "avx", "avx2", "fma"}
    assert model_name(ARM) == ""
    assert isa_flags(ARM) == {"asimd", "sve"}


def test_cohort_names_architecture_and_widest_instruction_set() -> None:
    def family(arch: str, *flags: str) -> str:
        return Machine("x", arch, 1, 1, 1, frozenset(flags)).family

    assert family("x86_64", "sse2", "avx", "avx2", "fma") == "cpu-x86_64-avx2"
    assert family("x86_64", "avx2", "avx512f") == "cpu-x86_64-avx512f"
    assert family("aarch64", "asimd", "sve") == "cpu-aarch64-sve"
    assert family("riscv64") == "cpu-riscv64-scalar"


def test_memory_is_read_in_bytes() -> None:
    assert memory_bytes("MemTotal:       24689764 kB\nMemFree: 1 kB\n") == 24689764 * 1024
    assert memory_bytes("") == 0


def test_this_machine_is_usable() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.llc_bytes > 0
    assert machine.memory_bytes > 0
    assert machine.family.startswith(f"cpu-{machine.arch}-")
