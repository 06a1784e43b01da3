"""What `opsin check` prints for a person."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import opsin

from opsin.testing.digits import digit_files


def test_every_file_with_a_fault_is_named(digits: Path, tmp_path: Path) -> None:
    """Also the one file of a finding that has no other."""
    sound = digit_files(per_class=30, planted_faults=False)
    planted = {
        name
        for name, data in digit_files(per_class=30, planted_faults=True).items()
        if sound.get(name) != data
    }
    assert {Path(name).parts[0] for name in planted} == {"3", "5", "7"}
    done = opsin("check", digits, cwd=tmp_path)
    assert done.returncode == 1
    for name in planted:
        assert f"    {name}\n" in done.stdout
