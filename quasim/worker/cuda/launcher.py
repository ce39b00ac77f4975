"""Launches compiled images by the CUDA driver, on PyTorch's context and current stream."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable, Mapping

import torch
from cuda.bindings import driver

from quasim.errors import QuasimError
from quasim.precision.probe import signs
from quasim.targets.gpu.image import (
    Argument,
    Buffer,
    Bundle,
    Image,
    Loadable,
    Number,
    Pointer,
    Real,
    Scratch,
    TensorMap,
)
from quasim.worker.cuda.arena import DTYPES
from quasim.worker.cuda.driver import CudaError, done, encode_tensor_map, value
from quasim.worker.protocol import Gpu

Tensors = Mapping[str, torch.Tensor]
Launch = Callable[[], object]

STATIC_SHARED_BYTES = 48 << 10
"""A function gets no more dynamic shared memory than this unless it asks (CUDA C++ Programming Guide)."""

PORTABLE_CLUSTER = 8

_TENSOR_MAP_TYPES = {
    "float16": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    "bfloat16": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
    "float32": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
    "float64": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
    "float8_e4m3fn": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_UINT8,  # copied, never computed with
    "float8_e5m2": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_UINT8,
    "int8": driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_UINT8,
}
_ITEM_BYTES = {"float8_e4m3fn": 1, "float8_e5m2": 1, "int8": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

Word = (
    ctypes.c_float | ctypes.c_double | ctypes.c_int32 | ctypes.c_int64 | ctypes.c_uint64 | ctypes.Array[ctypes.c_char]
)


class LoadedKernel:
    """An image in the current context; unloaded when it is no longer used.

    Raises:
        CudaError: the driver refuses the binary, or what it asks for.
    """

    def __init__(self, image: Image, gpu: Gpu) -> None:
        self._image, self._gpu = image, gpu
        code = ctypes.create_string_buffer(image.binary, len(image.binary))
        library = value(driver.cuLibraryLoadData(ctypes.addressof(code), [], [], 0, [], [], 0))
        weakref.finalize(self, driver.cuLibraryUnload, library).atexit = False  # the context goes with the process
        kernel = value(driver.cuLibraryGetKernel(library, image.entry.encode()))
        self._function = value(driver.cuKernelGetFunction(kernel))
        self._ask_for_more()

    def _ask_for_more(self) -> None:
        attribute = driver.CUfunction_attribute
        if self._image.shared_bytes > STATIC_SHARED_BYTES:
            done(driver.cuFuncSetCacheConfig(self._function, driver.CUfunc_cache.CU_FUNC_CACHE_PREFER_SHARED))
            most = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            try:
                done(driver.cuFuncSetAttribute(self._function, most, self._image.shared_bytes))
            except CudaError as error:
                what = f"{self._image.shared_bytes} bytes of shared memory refused: {error.what}"
                raise CudaError(what, code=error.code) from error
        if self._image.num_ctas > PORTABLE_CLUSTER:
            odd = attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            done(driver.cuFuncSetAttribute(self._function, odd, 1))

    def prepare(self, dims: Mapping[str, int], arrays: Tensors) -> Launch:
        """The launch on one set of arrays; it goes to whatever stream is current then, and does not wait.

        Raises:
            ShapeError: the image was not made for this shape.
            QuasimError: an array does not lie as the code takes for granted.
            CudaError: a tensor map cannot be encoded.
        """
        image = self._image
        image.check(dims)
        blocks = image.blocks(dims, self._gpu.multiprocessors) * image.num_ctas
        scratch: list[torch.Tensor] = []
        all_blocks = blocks * math.prod(image.grid_yz)
        words = [_word(argument, dims, arrays, all_blocks, scratch) for argument in image.arguments]
        parameters = (ctypes.c_void_p * len(words))(*(ctypes.addressof(word) for word in words))
        config = self._config(blocks)

        def launch() -> None:
            config.hStream = driver.CUstream(torch.cuda.current_stream().cuda_stream)
            done(driver.cuLaunchKernelEx(config, self._function, ctypes.addressof(parameters), 0))

        # The driver reads words and scratch through addresses: they must live as long as the launch.
        launch.held = (words, scratch)  # type: ignore[attr-defined]
        return launch if blocks else _nothing

    def _config(self, blocks: int) -> driver.CUlaunchConfig:
        config = driver.CUlaunchConfig()
        config.gridDimX, (config.gridDimY, config.gridDimZ) = blocks, self._image.grid_yz
        config.blockDimX, config.blockDimY, config.blockDimZ = self._image.threads, 1, 1
        config.sharedMemBytes = self._image.shared_bytes
        attributes = self._attributes()
        config.attrs, config.numAttrs = attributes, len(attributes)
        return config

    def _attributes(self) -> list[driver.CUlaunchAttribute]:
        kind, image = driver.CUlaunchAttributeID, self._image
        found: list[driver.CUlaunchAttribute] = []
        if image.num_ctas > 1:
            cluster = _attribute(kind.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            cluster.value.clusterDim.x = image.num_ctas
            cluster.value.clusterDim.y = cluster.value.clusterDim.z = 1
            found.append(cluster)
            spread = _attribute(kind.CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE)
            policy = driver.CUclusterSchedulingPolicy.CU_CLUSTER_SCHEDULING_POLICY_SPREAD
            spread.value.clusterSchedulingPolicyPreference = policy
            found.append(spread)
        if image.launch_pdl:
            overlap = _attribute(kind.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
            overlap.value.programmaticStreamSerializationAllowed = 1
            found.append(overlap)
        if image.cooperative:
            together = _attribute(kind.CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            together.value.cooperative = 1
            found.append(together)
        return found


class LoadedBundle:
    """The stages of a variant, and the workspace that they share.

    Raises:
        CudaError: the driver refuses a binary, or what it asks for.
    """

    def __init__(self, bundle: Bundle, gpu: Gpu) -> None:
        self._bundle = bundle
        self._stages = [LoadedKernel(stage, gpu) for stage in bundle.stages]
        self._workspace: dict[tuple[tuple[str, int], ...], dict[str, torch.Tensor]] = {}

    def prepare(self, dims: Mapping[str, int], arrays: Tensors) -> Launch:
        """The launches on one set of arrays, one after the other on whatever stream is current then.

        Raises:
            ShapeError, QuasimError, CudaError: as ``LoadedKernel.prepare``.
            torch.OutOfMemoryError: there is no room for the workspace.
        """
        launches = self.prepare_stages(dims, arrays)

        def launch() -> None:
            for each in launches:
                each()

        return launch

    def prepare_stages(self, dims: Mapping[str, int], arrays: Tensors) -> list[Launch]:
        """The launches one by one; each rests on what those before it wrote into the workspace.

        Raises:
            as ``prepare``.
        """
        everything = {**arrays, **self.workspace(dims)}
        return [stage.prepare(dims, everything) for stage in self._stages]

    def workspace(self, dims: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """The workspace at a shape, the same for every set of arrays: launches follow one another."""
        key = tuple(dims.items())
        if key not in self._workspace:
            self._workspace[key] = {buffer.name: _room(buffer, dims) for buffer in self._bundle.workspace}
        return self._workspace[key]


def loaded(image: Loadable, gpu: Gpu) -> LoadedKernel | LoadedBundle:
    """The variant in the current context.

    Raises:
        CudaError: as ``LoadedKernel``.
    """
    return LoadedBundle(image, gpu) if isinstance(image, Bundle) else LoadedKernel(image, gpu)


def _room(buffer: Buffer, dims: Mapping[str, int]) -> torch.Tensor:
    """A buffer of the workspace, filled if it says with what."""
    room = torch.empty([size.of(dims) for size in buffer.shape], dtype=DTYPES[buffer.dtype], device="cuda")
    return room.copy_(torch.from_numpy(signs(len(room)))) if buffer.fill == "signs" else room


def _nothing() -> None:
    """The launch of no blocks, which the driver would refuse."""


def _attribute(kind: driver.CUlaunchAttributeID) -> driver.CUlaunchAttribute:
    attribute = driver.CUlaunchAttribute()
    attribute.id = kind
    return attribute


def _word(
    argument: Argument,
    dims: Mapping[str, int],
    arrays: Tensors,
    blocks: int,
    scratch: list[torch.Tensor],
) -> Word:
    if isinstance(argument, Pointer):
        return ctypes.c_uint64(_address(arrays, argument.tensor, argument.alignment))
    if isinstance(argument, Number):
        number = ctypes.c_int32 if argument.bits == 32 else ctypes.c_int64
        return number(argument.size.of(dims))
    if isinstance(argument, Real):
        return ctypes.c_float(argument.value) if argument.bits == 32 else ctypes.c_double(argument.value)
    if isinstance(argument, TensorMap):
        return _tensor_map(argument, dims, arrays)
    return ctypes.c_uint64(_scratch_address(argument, blocks, scratch))


def _address(arrays: Tensors, tensor: str, alignment: int) -> int:
    address = int(arrays[tensor].data_ptr())
    if address % alignment:
        raise QuasimError(f"{tensor} is not on {alignment} bytes", "this is an error of the arena")
    return address


def _scratch_address(argument: Scratch, blocks: int, scratch: list[torch.Tensor]) -> int:
    size = argument.bytes_per_block * blocks
    if not size:
        return 0
    room = torch.empty(size + argument.alignment, dtype=torch.uint8, device="cuda")
    scratch.append(room)
    return -(-int(room.data_ptr()) // argument.alignment) * argument.alignment


def _tensor_map(argument: TensorMap, dims: Mapping[str, int], arrays: Tensors) -> ctypes.Array[ctypes.c_char]:
    rank = len(argument.shape)
    item = _ITEM_BYTES[argument.dtype]
    shape = [size.of(dims) for size in reversed(argument.shape)]
    strides = [item * size.of(dims) for size in reversed(argument.strides[:-1])]
    return encode_tensor_map(
        ctypes.c_int(int(_TENSOR_MAP_TYPES[argument.dtype])),
        ctypes.c_uint32(rank),
        ctypes.c_void_p(_address(arrays, argument.tensor, argument.alignment)),
        (ctypes.c_uint64 * rank)(*shape),
        (ctypes.c_uint64 * max(1, rank - 1))(*strides),
        (ctypes.c_uint32 * rank)(*reversed(argument.box)),
        (ctypes.c_uint32 * rank)(*[1] * rank),
        ctypes.c_int(int(driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE)),
        ctypes.c_int(argument.swizzle),
        ctypes.c_int(int(driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B)),
        ctypes.c_int(int(driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)),
    )
