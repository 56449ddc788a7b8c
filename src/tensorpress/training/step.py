"""One step of training: plain PyTorch, compiled, or recorded once as CUDA graphs and replayed."""

import contextlib
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tensorpress.errors import first_line
from tensorpress.training.autocast import autocast_to_bf16
from tensorpress.training.distil import Objective
from tensorpress.training.logits import logits_in
from tensorpress.training.place import Place

WARM_UP_STEPS = 3
COMPILED, GRAPHS, COMPILED_GRAPHS = (
    "torch.compile",
    "CUDA graphs",
    "torch.compile with CUDA graphs",
)


class TrainStep:
    """Forward, backward and update on one batch; call it with (inputs, labels, lr).

    ``labels`` are numbers of classes, (N,), or the share that each class has, (N, classes).

    With ``bf16`` the pass runs under bfloat16 autocast. ``record`` compiles it, and on a GPU keeps
    it as two CUDA graphs, one up to the gradients and one for the update, between which several
    processes average the gradients. ``loss`` and ``correct`` then hold what the last call gave, on
    the device, so that nothing waits for them.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        place: Place,
        *,
        bf16: bool,
    ) -> None:
        self.net, self.optimizer, self.objective, self.place = net, optimizer, objective, place
        self.bf16 = bf16
        self.loss = torch.zeros((), device=place.device)
        self.correct = torch.zeros((), device=place.device)
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = self._plain_forward
        self._graphs: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None
        self._inputs = self._labels = torch.empty(0)

    def __call__(self, inputs: Tensor, labels: Tensor, lr: float) -> None:
        self._set_lr(lr)
        if self._graphs is None:
            self._gradients(inputs, labels)
            self._average_gradients()
            self.optimizer.step()
            return
        self._inputs.copy_(inputs, non_blocking=True)
        self._labels.copy_(labels, non_blocking=True)
        self._graphs[0].replay()
        self._average_gradients()
        self._graphs[1].replay()

    def record(self, inputs: Tensor, labels: Tensor, *, compiled: bool) -> None:
        """Record the step for batches of this shape; weights and statistics stay as they are.

        Where compiling or recording fails, a warning says so and the next plainer form is used.
        """
        self._inputs, self._labels = inputs.clone(), labels.clone()
        # A copy with a history would keep alive nodes of autograd that belong to another stream.
        kept = [(tensor, tensor.detach().clone()) for tensor in self._state()]
        for what in self._ways(compiled=compiled):
            try:
                self._prepare(what)
                done = True
            except Exception as error:  # any failure of a compiler or driver leaves eager mode
                warnings.warn(f"{what} failed, going on without: {first_line(error)}", stacklevel=2)
                self._end_recording()
                done = False
            with torch.no_grad():
                for tensor, value in kept:
                    tensor.copy_(value)
            if done:
                return
        self._forward = self._plain_forward
        self.optimizer.zero_grad(set_to_none=True)

    def _ways(self, *, compiled: bool) -> list[str]:
        """The forms to try, the fastest first."""
        if self.place.device.type != "cuda":
            return [COMPILED] if compiled else []
        return [COMPILED_GRAPHS, GRAPHS] if compiled else [GRAPHS]

    def _prepare(self, way: str) -> None:
        self._forward = self._plain_forward if way == GRAPHS else self._compiled()
        if way == COMPILED:
            self._gradients(self._inputs, self._labels)  # where a compiler that fails shows it
        else:
            self._graphs = self._capture()

    def _compiled(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        torch.compiler.reset()  # frees what the phase before compiled
        return torch.compile(self._plain_forward, dynamic=False)

    def _capture(self) -> tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self._gradients(self._inputs, self._labels)
                self.optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        gradients, update = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(gradients, capture_error_mode="thread_local"):
            self._gradients(self._inputs, self._labels)
        with torch.cuda.graph(update, capture_error_mode="thread_local"):
            self.optimizer.step()
        return gradients, update

    def _end_recording(self) -> None:
        """A recording that failed leaves the device's random numbers waiting for its end."""
        self._graphs = None
        if self.place.device.type == "cuda":
            index = self.place.device.index
            index = torch.cuda.current_device() if index is None else index
            waiting = torch.cuda.default_generators[index]
            fresh = torch.Generator(waiting.device).manual_seed(waiting.initial_seed())
            waiting.graphsafe_set_state(fresh.graphsafe_get_state())

    def _gradients(self, inputs: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss, correct = self._forward(inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss.copy_(loss.detach())
        self.correct.copy_(correct)

    def _plain_forward(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits_in(self.net(inputs))
        loss = self.objective(logits.float(), inputs, labels)
        # Of mixed images the class with the larger share counts.
        right = labels if labels.dim() == 1 else labels.argmax(1)
        return loss, (logits.detach().argmax(1) == right).sum()

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        if not self.bf16:
            return contextlib.nullcontext()
        return autocast_to_bf16(self.place.device)

    def _average_gradients(self) -> None:
        if self.place.world > 1:
            self.place.average([p.grad for p in self._parameters if p.grad is not None])

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _state(self) -> list[Tensor]:
        held = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.net.parameters(), *self.net.buffers(), *held]
