"""NVML with typed answers: every call ends in a number, a text, or a ``MeterError`` that says why not."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import cast

from quasim.meters.errors import DriverMissingError, MeterError, NotSupportedError, UnknownCodeError
from quasim.meters.nvml_codes import SUCCESS, typed

VALUE_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of ``nvmlValue_t`` by ``nvmlValueType_t``."""

DEPENDENCY = "pip install nvidia-ml-py (the package named pynvml is a deprecated shell)"


class Nvml:
    """A thin shell over ``pynvml``; handles are opaque.

    Args:
        module: ``pynvml`` of the distribution ``nvidia-ml-py``; default: imported now.

    Raises:
        DriverMissingError: it is not installed.
    """

    def __init__(self, module: ModuleType | None = None) -> None:
        if module is None:
            try:
                module = importlib.import_module("pynvml")
            except ImportError as error:
                raise DriverMissingError("the package nvidia-ml-py is not installed", DEPENDENCY) from error
        self._module = module

    def call(self, name: str, what: str, *arguments: object) -> object:
        """Call a function of NVML.

        Raises:
            MeterError: NVML returned an error, or the package does not know the function.
        """
        function = getattr(self._module, name, None)
        if function is None:
            raise NotSupportedError(f"{what}: this nvidia-ml-py has no {name}", "install a newer one")
        try:
            result: object = function(*arguments)
        except self._module.NVMLError as error:
            raise typed(int(error.value), what) from error
        return result

    def number(self, name: str, what: str, *arguments: object) -> int:
        """Call a function that gives one integer."""
        result = self.call(name, what, *arguments)
        if not isinstance(result, int):
            raise UnknownCodeError(f"{what}: {name} gave {result!r}, which is no number", "report it")
        return result

    def pair(self, name: str, what: str, *arguments: object) -> tuple[int, int]:
        """Call a function that gives two integers."""
        match self.call(name, what, *arguments):
            case [int(first), int(second)]:
                return first, second
            case other:
                raise UnknownCodeError(f"{what}: {name} gave {other!r}, which is no pair", "report it")

    def fields(self, handle: object, wanted: Mapping[str, int]) -> dict[str, float | MeterError]:
        """Read fields in one call; each has a return code of its own.

        Args:
            wanted: NVML's field id by what the field is called here.

        Raises:
            MeterError: the call as a whole failed.
        """
        if not wanted:
            return {}
        read = self.call("nvmlDeviceGetFieldValues", "fields", handle, list(wanted.values()))
        values = cast("Iterable[object]", read)
        return {name: _field(name, value) for name, value in zip(wanted, values, strict=True)}


def _field(name: str, value: object) -> float | MeterError:
    """The number in a ``nvmlFieldValue_t``, or the error that stands in its place."""
    code, kind = int(getattr(value, "nvmlReturn")), int(getattr(value, "valueType"))  # noqa: B009
    if code != SUCCESS:
        return typed(code, name.replace("_", " "))
    if not 0 <= kind < len(VALUE_TYPES):
        return UnknownCodeError(f"{name}: a value of the unknown type {kind}", "see nvmlValueType_t in nvml.h")
    return float(getattr(getattr(value, "value"), VALUE_TYPES[kind]))  # noqa: B009
