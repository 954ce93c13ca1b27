"""Where a run takes place: devices, processes, memory. No option here is identity.

Any of them may change between a run and its continuation: figures agree to rounding
(docs/scaling.md).
"""

import dataclasses

from ncf_jax.options import Options, option


@dataclasses.dataclass(frozen=True)
class DeviceConfig(Options):
    """Devices, processes, and how rows reach them."""

    mesh: str = option(
        "",
        "Devices by axis, such as data:4,table:2: a batch is divided over both, rows "
        "of tables over table. Empty: one device; with several processes table, of all "
        "their devices.",
        identity=False,
    )
    input: str = option(
        "auto",
        "How training rows reach the devices: device, all at once; stream, by chunks "
        "of batches; auto, device if they fit into a quarter of its memory.",
        choices=("auto", "device", "stream"),
        identity=False,
    )
    chunk_examples: int = option(
        2**18,
        "Of a streamed epoch: examples that reach a device at once, all seeds' "
        "together, but at least a batch.",
        minimum=1,
        identity=False,
    )
    save_chunks: int = option(
        256,
        "Of a streamed epoch: chunks from one checkpoint to the next.",
        minimum=1,
        identity=False,
    )
    device_gib: float = option(
        0.0,
        "Memory of a device, GiB; 0: as the device or the system says.",
        minimum=0.0,
        identity=False,
    )
    coordinator: str = option(
        "",
        "host:port of process 0, when several processes run together; auto: found "
        "from SLURM, Open MPI, Kubernetes or a TPU's own environment.",
        identity=False,
        machine=True,
    )
    num_processes: int = option(
        0, "Processes that run together.", minimum=0, identity=False, machine=True
    )
    process_id: int = option(
        -1,
        "Which of them this is, from 0.",
        minimum=-1,
        identity=False,
        machine=True,
    )
    heartbeat_seconds: int = option(
        10,
        "A process not heard of for so long is taken for dead, and all stop.",
        minimum=1,
        identity=False,
        machine=True,
    )
