"""Load a compiled kernel and call it: shapes, formats and layouts are checked here, as the code itself trusts them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

from quasim.errors import DataError, QuasimError, ShapeError
from quasim.kernels import Array
from quasim.kernels._base import numpy_dtype
from quasim.kernels.ir import Kernel, Role, Tensor, extents
from quasim.targets.c.emit import ENTRY

Launch = Callable[[], None]


class LaunchError(QuasimError):
    """A compiled kernel could not be loaded, or reported a failure."""


class Loaded:
    """A compiled kernel in this process."""

    def __init__(self, path: Path, kernel: Kernel) -> None:
        self._kernel = kernel
        try:
            # The handle stays with the object: unloading would pull the code away under a prepared launch.
            self._function = ctypes.CDLL(str(path))[ENTRY]
        except (OSError, AttributeError) as error:
            raise LaunchError(f"{path} holds no {ENTRY}: {error}", "compile it again") from error
        self._function.restype = ctypes.c_int
        self._function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    def __call__(self, shape: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
        """Launch once; see ``prepare``."""
        self.prepare(shape, arrays)()

    def prepare(self, shape: Mapping[str, int], arrays: Mapping[str, Array]) -> Launch:
        """A launch on these arrays, by tensor name, without any further check; it keeps them alive.

        Raises:
            ShapeError: the shape is outside the kernel's domain.
            DataError: an array is missing, or is not as its tensor says.
            LaunchError: (when launched) the kernel found no memory for its scratch.
        """
        self._kernel.check_shape(dict(shape))
        held = [_checked(tensor, shape, arrays) for tensor in self._kernel.tensors]
        dims = (ctypes.c_int64 * len(self._kernel.dims))(*(shape[dim.name] for dim in self._kernel.dims))
        pointers = (ctypes.c_void_p * len(held))(*(array.ctypes.data for array in held))
        function, first, second = self._function, ctypes.addressof(dims), ctypes.addressof(pointers)

        def launch(_keep: object = (held, dims, pointers)) -> None:
            if function(first, second):
                raise LaunchError("the kernel had no memory for its scratch", "use smaller blocks")

        return launch


def load(path: Path, kernel: Kernel) -> Loaded:
    """Load a shared library that holds a compiled variant of ``kernel``.

    Raises:
        LaunchError: it cannot be loaded.
    """
    return Loaded(path, kernel)


def _checked(tensor: Tensor, shape: Mapping[str, int], arrays: Mapping[str, Array]) -> Array:
    array = arrays.get(tensor.name)
    if array is None:
        raise DataError(f"no array for tensor {tensor.name!r}", "give one for each of the kernel's tensors")
    expected = extents(tensor, shape)
    if array.shape != expected:
        raise ShapeError(f"{tensor.name} has shape {array.shape}, not {expected}", "match the launch shape")
    if array.dtype != numpy_dtype(tensor.dtype) or not array.flags.c_contiguous:
        raise DataError(f"{tensor.name} is {array.dtype}, or not contiguous", f"give contiguous {tensor.dtype}")
    if tensor.role is Role.OUTPUT and not array.flags.writeable:
        raise DataError(f"output {tensor.name} is read-only", "give a writable array")
    return array
