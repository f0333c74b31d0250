"""The stand-in's array: the part of `cupy.ndarray` that moves and names data without computing.

In: host arrays, other device arrays, scalars.  Out: device arrays.  Operations
for which CuPy runs one of its own kernels are missing, except filling and copying, because those
kernels could not be checked.  Everything that CuPy rejects is rejected, and so are implicit copies
between host and device, which CuPy allows.
"""

from __future__ import annotations

import ctypes
from typing import Any, NoReturn

import numpy as np

from tests.emulator.device import Allocation, machine
from tests.emulator.native import Memory, runtime


class Pointer:
    """`cupy.cuda.MemoryPointer`: where an array's memory is."""

    def __init__(self, allocation: Allocation, offset: int) -> None:
        self.mem, self.ptr, self.device_id = allocation, allocation.base + offset, allocation.device


class ndarray:
    """A device array; made by the functions of the stand-in."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, allocation: Allocation, view: np.ndarray[Any, Any]) -> None:
        self._allocation, self._view = allocation, view

    # What it is

    dtype = property(lambda self: self._view.dtype)
    shape = property(lambda self: self._view.shape)
    size = property(lambda self: self._view.size)
    ndim = property(lambda self: self._view.ndim)
    nbytes = property(lambda self: self._view.nbytes)
    itemsize = property(lambda self: self._view.itemsize)
    strides = property(lambda self: self._view.strides)
    flags = property(lambda self: self._view.flags)

    @property
    def data(self) -> Pointer:
        """Where it is."""
        return Pointer(self._allocation, self._begin - self._allocation.base)

    @property
    def _begin(self) -> int:
        return int(self._view.__array_interface__["data"][0]) if self.size else self._allocation.base

    @property
    def T(self) -> ndarray:
        """Its transpose, a view."""
        return ndarray(self._allocation, self._view.T)

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return f"<device array {self.dtype}{list(self.shape)}>"

    def _extent(self, *, writes: bool) -> tuple[Allocation, int, int, bool]:
        """The bytes from its first to its last element, for ordering."""
        low = high = self._begin
        if self.size:
            steps = [(count - 1) * stride for count, stride in zip(self.shape, self.strides, strict=True)]
            low += sum(step for step in steps if step < 0)
            high += sum(step for step in steps if step > 0) + self.itemsize
        return self._allocation, low, high, writes

    def _memory(self) -> Memory:
        description = f"{self.dtype}{list(self.shape)}"
        return self._allocation.memory(self._begin, self._begin + self.nbytes, description)

    # Views

    def view(self, dtype: Any = None) -> ndarray:
        """The same memory as another type."""
        return ndarray(self._allocation, self._view if dtype is None else self._view.view(dtype))

    def reshape(self, *shape: Any) -> ndarray:
        """The same memory in another shape; refused where CuPy would have to copy."""
        made = self._view.reshape(*shape)
        if not np.shares_memory(made, self._view) and self.size:
            raise ValueError("reshape would copy: this array is not contiguous")
        return ndarray(self._allocation, made)

    def ravel(self) -> ndarray:
        """The same memory in one dimension."""
        return self.reshape(-1)

    def __getitem__(self, key: Any) -> ndarray:
        for part in key if isinstance(key, tuple) else (key,):
            if not isinstance(part, (int, np.integer, slice, type(Ellipsis), type(None))):
                raise TypeError(
                    f"only whole numbers and slices: indexing with {type(part).__name__} runs a kernel of CuPy's"
                )
        key = key if isinstance(key, tuple) else (key,)
        key = key if Ellipsis in [part for part in key if part is Ellipsis] else (*key, Ellipsis)
        return ndarray(self._allocation, self._view[key])

    # Contents

    def __setitem__(self, key: Any, value: Any) -> None:
        target = self[key]
        if isinstance(value, ndarray):
            _copy(target, value)
        elif isinstance(value, np.ndarray):
            raise TypeError("a host array on the right of a device array: use set()")
        else:
            target.fill(value)

    def fill(self, value: Any) -> None:
        """Set every element to a scalar."""
        if isinstance(value, (ndarray, np.ndarray)) and np.ndim(value):  # type: ignore[arg-type]
            raise TypeError("fill takes a scalar")
        if isinstance(value, ndarray):
            raise TypeError("fill with a device scalar runs a kernel of CuPy's that is not emulated")
        view, shadow, base = self._view, self._allocation.shadow, self._allocation.base

        def action() -> None:
            view[...] = value
            _initialise(shadow, base, view)

        machine().do(machine().current_timeline(), [self._extent(writes=True)], action, f"fill of {self!r}")

    def copy(self) -> ndarray:
        """A copy on the device."""
        made = empty(self.shape, self.dtype)
        _copy(made, self)
        return made

    def set(self, arr: Any, stream: Any = None) -> None:
        """Copy a host array of the same shape and type to the device."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.c_contiguous and not self.flags.f_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        machine().refuse_in_capture("copies from the host")
        on = machine().current_timeline() if stream is None else stream.timeline
        view, shadow, base = self._view, self._allocation.shadow, self._allocation.base

        def action() -> None:
            view[...] = arr
            _initialise(shadow, base, view)

        machine().do(on, [self._extent(writes=True)], action, f"copy from the host to {self!r}")
        if is_pinned(arr):
            machine().arrive(on, arr, arr.tobytes(), to_host=False)

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray[Any, Any]:
        """Copy to the host, and wait for it unless told otherwise."""
        if order not in "CA":
            raise ValueError("only order C")
        machine().refuse_in_capture("copies to the host")
        on = machine().current_timeline() if stream is None else stream.timeline
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
            if out.dtype != self.dtype or out.shape != self.shape or not out.flags.c_contiguous:
                raise ValueError(f"out must be a contiguous {self.dtype}{list(self.shape)}")
        made = np.empty(self.shape, self.dtype) if out is None else out
        copied: list[bytes] = []
        view = self._view
        what = f"copy of {self!r} to the host"
        machine().do(on, [self._extent(writes=False)], lambda: copied.append(view.tobytes()), what)
        if blocking or not is_pinned(made):  # a copy to memory that is not pinned blocks in any case
            machine().wait(on.clock)
            made[...] = np.frombuffer(copied[0], self.dtype).reshape(self.shape)
        else:
            machine().arrive(on, made, copied[0], to_host=True)
        return made

    def item(self) -> Any:
        """Its only element."""
        return self.get().item()

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        """A converted copy on the device."""
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        made = empty(self.shape, dtype)
        _copy(made, self, casting="unsafe")
        return made

    # What is refused

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    __array__ = __array_ufunc__ = __array_function__ = _refuse
    __iter__ = __bool__ = __int__ = __float__ = __index__ = __contains__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"the stand-in's array has no {name}: CuPy would run a kernel of its own, which nothing checks"
        )


def _copy(to: ndarray, source: ndarray, casting: Any = "same_kind") -> None:
    view, other = to._view, source._view
    np.broadcast_shapes(view.shape, other.shape)
    if not np.can_cast(other.dtype, view.dtype, casting):
        raise TypeError(f"cannot copy {other.dtype} to {view.dtype}")
    shadow, base = to._allocation.shadow, to._allocation.base
    from_shadow, from_base = source._allocation.shadow, source._allocation.base
    exact = (
        view.shape == other.shape and view.dtype == other.dtype and view.flags.c_contiguous and other.flags.c_contiguous
    )
    begin, from_begin, size = to._begin, source._begin, to.nbytes

    def action() -> None:
        view[...] = other
        if exact:
            runtime().emulation_shadow_copy(shadow, begin - base, from_shadow, from_begin - from_base, size)
        else:
            _initialise(shadow, base, view)

    touched = [to._extent(writes=True), source._extent(writes=False)]
    machine().do(machine().current_timeline(), touched, action, f"copy of {source!r} to {to!r}")


def _initialise(shadow: int, base: int, view: np.ndarray[Any, Any]) -> None:
    """Note that the elements of a view have been written."""
    if not view.size:
        return
    if view.flags.c_contiguous:
        begin = int(view.__array_interface__["data"][0])
        runtime().emulation_shadow_initialise(shadow, begin - base, view.nbytes)
    else:
        for part in view if view.ndim > 1 else [view[i : i + 1] for i in range(len(view))]:
            _initialise(shadow, base, part)


# Pinned host memory

_PINNED: dict[int, int] = {}  # address to bytes, of memory that is kept for good


def pinned(bytes: int) -> np.ndarray[Any, Any]:
    """Host memory that copies may go to and from without blocking."""
    buffer = ctypes.create_string_buffer(max(bytes, 1))
    made = np.frombuffer(buffer, np.uint8, count=bytes)
    _PINNED[ctypes.addressof(buffer)] = bytes
    return made


def is_pinned(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array is in pinned memory."""
    at = int(array.__array_interface__["data"][0])
    return array.flags.c_contiguous and any(begin <= at < begin + size for begin, size in _PINNED.items())


# Making arrays


def _new(shape: Any, dtype: Any, *, initialised: bool) -> ndarray:
    kind = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = int(np.prod(shape, dtype=object)) * kind.itemsize
    granule = min(kind.itemsize, 8)
    allocation = machine().allocate(size, granule if granule in (1, 2, 4, 8) else 1, initialised=initialised)
    view = allocation.host_view().view(kind).reshape(shape) if size else np.empty(shape, kind)
    return ndarray(allocation, view)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """An array of garbage."""
    return _new(shape, dtype, initialised=False)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """An array of zeros."""
    made = _new(shape, dtype, initialised=True)
    machine().do(machine().current_timeline(), [made._extent(writes=True)], lambda: None, f"zeros of {made!r}")
    return made


def full(shape: Any, fill_value: Any, dtype: Any = None) -> ndarray:
    """An array of one value."""
    made = empty(shape, np.array(fill_value).dtype if dtype is None else dtype)
    made.fill(fill_value)
    return made


def ones(shape: Any, dtype: Any = float) -> ndarray:
    """An array of ones."""
    return full(shape, 1, dtype)


def empty_like(a: ndarray, dtype: Any = None) -> ndarray:
    """An array of garbage, like another one."""
    return empty(a.shape, a.dtype if dtype is None else dtype)


def zeros_like(a: ndarray, dtype: Any = None) -> ndarray:
    """An array of zeros, like another one."""
    return zeros(a.shape, a.dtype if dtype is None else dtype)


def arange(*args: Any, dtype: Any = None) -> ndarray:
    """Numbers in a row."""
    return asarray(np.arange(*args, dtype=dtype))


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", blocking: bool = False) -> ndarray:
    """A device array of host data, or a copy of a device array."""
    if isinstance(obj, ndarray):
        if dtype is not None and np.dtype(dtype) != obj.dtype:
            return obj.astype(dtype)
        return obj.copy() if copy else obj
    host = np.ascontiguousarray(obj, dtype).reshape(np.shape(obj))
    made = empty(host.shape, host.dtype)
    made.set(host)
    return made


def asarray(a: Any, dtype: Any = None, order: Any = None, blocking: bool = False) -> ndarray:
    """A device array of host data; a device array itself."""
    return array(a, dtype, copy=False)


def asnumpy(
    a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True
) -> np.ndarray[Any, Any]:
    """A host copy of a device array."""
    if not isinstance(a, ndarray):
        raise TypeError(f"a device array, not {type(a).__name__}")
    return a.get(stream, order, out, blocking)


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    """Copy a device array, or a scalar, into another."""
    if where is not None:
        raise TypeError("copyto with where runs a kernel of CuPy's that is not emulated")
    if isinstance(src, np.ndarray) and src.ndim:
        raise TypeError("a host array cannot be copied to a device array: use set()")
    dst[...] = src
