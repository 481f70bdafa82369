"""A model's tensors on a device."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor as Values

from embedfleet.engine.families.disentangled import Projection
from embedfleet.engine.files.tensor import Tensor
from embedfleet.errors import ModelError


class TorchWeights:
    """A model's tensors on a device, each read from its file at its first use.

    Args:
        device: Device that holds them.
        dtype: Number type that they are kept in.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self._read: dict[Tensor | Projection, Values] = {}
        self._constants: dict[Hashable, Values] = {}

    def __call__(self, tensor: Tensor | Projection) -> Values:
        """The values of a tensor, or of a projection, which is computed from tensors at its first use.

        Raises:
            ModelError: The values cannot be read, or one is not finite in the file or in the number type.
        """
        if tensor not in self._read:
            values = torch.from_numpy(tensor.read()).to(self.device, self.dtype)
            if not bool(values.isfinite().all()):
                raise ModelError(
                    f"{tensor.file}: tensor {tensor.name} has numbers that are too large for {self.dtype}",
                    "set precision to bfloat16 or float32",
                )
            self._read[tensor] = values
        return self._read[tensor]

    def exact(self, tensor: Tensor) -> Values:
        """The values of a tensor in float32, for operations that compute in it."""
        return self.constant(("exact", tensor), lambda: self(tensor).float())

    def constant(self, key: Hashable, make: Callable[[], Values]) -> Values:
        """Values that do not depend on the batch, made once and kept on the device.

        A recorded pass must not copy anything from the host, so it finds such values here.

        Args:
            key: Key of the values.
            make: Function that makes them.
        """
        if key not in self._constants:
            self._constants[key] = make().to(self.device)
        return self._constants[key]
