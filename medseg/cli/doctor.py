"""`medseg doctor`."""

from __future__ import annotations

import typer

from medseg.cli.output.display import console, progress_display
from medseg.cli.output.next_command import show_next
from medseg.cli.output.records import emit, record_result
from medseg.core.installing import pip_install


def command(*, quick: bool = False) -> None:
    """Say what this machine and this installation can do: versions, devices, extras, and the speed of training.

    Nothing is written, and nothing is looked up in a network. Attach what it prints to a report of a problem.

    Exit code: 0, or 1 if something is wrong with the installation.

    Args:
        quick: Leave out the speed test, which trains for about ten seconds.

    Examples:
        medseg doctor
        medseg doctor --quick --json
    """
    from medseg.commands.machine.doctor import EXTRAS, doctor

    with progress_display() as show:
        result = doctor(not quick, show)
    for device in result.devices:
        emit("device", **vars(device))
    for measured in result.speeds:
        emit("speed", **vars(measured))
    record_result(
        versions=result.versions,
        threads=result.threads,
        cores=result.cores,
        missing=result.extras,
        problems=result.problems,
        notes=result.notes,
    )
    _line("versions", ", ".join(f"{name} {version or 'missing'}" for name, version in result.versions.items()))
    for device in result.devices:
        memory = f"{device.free_gb:.1f} of {device.memory_gb:.1f} GB free"
        _line(device.name, f"{device.hardware}, {memory}, computes in {device.precision}")
    _line("threads", f"{result.threads} on {result.cores} cores")
    for measured in result.speeds:
        step = f"{measured.seconds_per_step:.3g} s a step on {measured.device} in {measured.precision}"
        _line("training", f"{step} ({measured.steps} steps; 3D U-Net, 2 patches of 32 x 32 x 32)")
    for extra, missing in result.extras.items():
        state = f"{pip_install(extra)} brings {', '.join(missing)}" if missing else "installed"
        _line(f"[{extra}]", f"{EXTRAS[extra]}: {state}")
    for note in result.notes:
        _line("note", note)
    for problem in result.problems:
        _line("problem", problem, "bold red")
    if not result.problems:
        _line("problems", "none found", "green")
    show_next("demo")
    if result.problems:
        raise typer.Exit(1)


def _line(name: str, text: str, style: str = "") -> None:
    console.print(f"{name:<14}{text}", markup=False, highlight=False, soft_wrap=True, style=style)
