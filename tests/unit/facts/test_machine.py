"""What this machine has: plausible here, and read right from what tools print."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tunelab.facts.machine import Gpu, Machine, parse_gpus, read_machine


def test_this_machine_is_plausible(tmp_path: Path) -> None:
    machine = read_machine()
    assert machine.cores >= 1 and machine.system and machine.cpu_name
    assert 0 < machine.memory_free_bytes <= machine.memory_bytes
    assert machine.disk_free_bytes(tmp_path / "not" / "yet" / "there") > 0


def test_nvidia_smi_s_lines_are_read() -> None:
    text = "NVIDIA A10G, 23028 MiB, 8.6\nTesla T4, 15360 MiB, 7.5\n"
    assert parse_gpus(text) == (Gpu("NVIDIA A10G", 23028 * 2**20, 8.6), Gpu("Tesla T4", 15360 * 2**20, 7.5))
    assert parse_gpus("NVIDIA-SMI has failed because it couldn't communicate with the driver") == ()
    assert parse_gpus("Some, GPU, [N/A], [N/A]\n\n") == ()


def fake_nvidia_smi(folder: Path, text: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for nvidia-smi")
@pytest.mark.parametrize(("capability", "visible", "gpus", "fast"), [
    ("8.0", None, 2, True), ("7.5", None, 2, False), ("8.0", "1", 1, True),
    ("8.0", "", 0, None), ("8.0", "-1", 0, None), ("8.0", "GPU-uuid", 2, True)])
def test_gpus_are_asked_for_and_hidden_ones_left_out(capability: str, visible: str | None, gpus: int, fast: bool | None, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, f"echo 'NVIDIA X, 1000 MiB, {capability}'; echo 'NVIDIA Y, 2000 MiB, {capability}'")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = read_machine()
    assert len(machine.gpus) == gpus and machine.has_cuda is (gpus > 0)
    if fast is not None:
        assert machine.bf16_fast is fast and machine.device_name.startswith("NVIDIA")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for nvidia-smi")
def test_a_broken_nvidia_smi_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, "echo no devices were found; exit 6")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert read_machine().gpus == ()


def test_the_device_that_trains_is_the_first_gpu_or_the_cpu() -> None:
    cpu = Machine("Linux", 4, 16, 8, cpu_name="Some CPU")
    assert (cpu.device_name, cpu.device_memory_bytes, cpu.has_cuda) == ("Some CPU", 16, False)
    gpu = Machine("Linux", 4, 16, 8, (Gpu("A", 5), Gpu("B", 6)))
    assert (gpu.device_name, gpu.device_memory_bytes) == ("A", 5)
