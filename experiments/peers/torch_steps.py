"""PyTorch's training step for whole batches: eager, and compiled.

Tried on a CPU and slower, so not here: a gather for every batch; `torch.compile` of the
loss alone with an eager `backward` (its backward kernels compare bit masks unvectorised
and autograd's bookkeeping stays), with or without `mode="max-autotune"`; a compiled
optimizer; Adam inside the compiled graph; `cpp_wrapper`; and `nn.Dropout`, whose
Bernoulli draws alone took a third of a step.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.adam import adam

from experiments.peers.network import Network

# (user [B], item [B], rating / 5 [B], factors of the hidden units) -> mean loss [].
Step = Callable[..., torch.Tensor]
DECAY = 1e-5
HIDDEN = (128, 64)


def tensor(array: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The array's own memory where PyTorch takes it: it warns of what is read-only."""
    return torch.as_tensor(np.require(array, requirements="W"), dtype=dtype)


class Loss(nn.Module):
    """Mean squared error of the network, which looks the items' features up."""

    def __init__(self, network: Network, genres: np.ndarray, tags: np.ndarray) -> None:
        """Keeps the network and the tables of genres [I, G] and tags [I, T]."""
        super().__init__()
        self.network = network
        self.genres, self.tags = tensor(genres), tensor(tags)

    def forward(self, user: Any, item: Any, target: Any, *kept: Any) -> torch.Tensor:
        """Mean loss [] over the batch; arguments as in `Step`."""
        genres, tags = (
            table.index_select(0, item) for table in (self.genres, self.tags)
        )
        predicted = self.network(user, item, genres, tags, kept)
        return nn.functional.mse_loss(predicted, target)


def factors(
    count: int, rate: float, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """Dropout of two layers as factors ([count, 128], [count, 64]).

    A unit is dropped by 16 random bits, so that its rate is exact to 1 / 65,536: four
    units to one draw of 64 bits, ten times as fast as one Bernoulli draw each.
    """
    if rate == 0:
        return tuple(torch.ones(count, width) for width in HIDDEN)
    bits = torch.empty(count * sum(HIDDEN) // 4, dtype=torch.int64)
    bits.random_(-(2**63), None, generator=generator)
    threshold = round(rate * 2**16) - 2**15
    kept = (bits.view(torch.int16) >= threshold).to(torch.float32).mul_(1 / (1 - rate))
    first, second = kept.split([count * width for width in HIDDEN])
    return first.view(count, HIDDEN[0]), second.view(count, HIDDEN[1])


def forget(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Empties moments and counters in place."""
    for optimizer in optimizers:
        optimizer.zero_grad()
        for state in optimizer.state.values():
            for name, value in state.items():
                # `SparseAdam` counts steps in a plain int.
                state[name] = value.zero_() if torch.is_tensor(value) else 0


def eager(
    loss: Callable[..., torch.Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[Step, Callable[[], None]]:
    """The step, and what makes it forget its warm-up."""

    def step(*batch: torch.Tensor) -> torch.Tensor:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        value = loss(*batch)
        value.backward()
        for optimizer in optimizers:
            optimizer.step()
        return value.detach()

    return step, lambda: forget(optimizers)


def compiled(loss: Loss, rate: float) -> tuple[Step, Callable[[], None]]:
    """Loss and gradient as one compiled graph, then the fused Adam by itself."""
    compiler = require_compiler()
    # Views of the network's own memory, which the optimizer writes.
    weights = {name: value.detach() for name, value in loss.named_parameters()}
    moments = [[torch.zeros_like(w) for w in weights.values()] for _ in range(2)]
    counts = [torch.zeros(()) for _ in weights]

    def value_of(weights: dict[str, torch.Tensor], *batch: torch.Tensor) -> Any:
        return torch.func.functional_call(loss, weights, batch)

    def both(*batch: torch.Tensor) -> Any:
        return torch.func.grad_and_value(value_of)(weights, *batch)

    # One static program for full batches and one for the short last batch.
    graph = torch.compile(both, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def step(*batch: torch.Tensor) -> torch.Tensor:
        try:
            gradients, value = graph(*batch)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise RuntimeError(
                f"torch.compile needs a C++ compiler that works, and {compiler!r} did "
                "not build its kernels: it wants the headers of OpenMP and Python too."
            ) from error
        adam(
            list(weights.values()),
            [gradients[name] for name in weights],
            *moments,
            max_exp_avg_sqs=[],
            state_steps=counts,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=DECAY,
            eps=1e-8,
            maximize=False,
        )
        return value

    def restart() -> None:
        for tensor in (*moments[0], *moments[1], *counts):
            tensor.zero_()

    return step, restart


def require_compiler() -> str:
    """The C++ compiler that `torch.compile` will run; a `RuntimeError` if none."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    compiler = os.environ.get("CXX", default)
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f"torch.compile needs a C++ compiler, and {compiler!r} was not found: "
            "install one, or name it in $CXX."
        )
    return compiler


def keep_memory() -> None:
    """Asks glibc to hand freed memory out again, whatever its size.

    Else each step's gradient of a huge table is mapped, page by page, anew: that was
    two fifths of a step. It is what PyTorch's tuning guide wants another allocator for.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # names in malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)
