"""A pair of files, atomic and verified: tensors in safetensors with a JSON side.

`name.safetensors` holds the tensors, `name.json` the rest and the SHA-256 of the tensors file. The JSON also
holds the SHA-256 of its own content (that entry left out, keys sorted, no spaces), so that a changed byte in
either file is seen. Equal tensors give equal bytes, whatever their order, strides and device.

Writing: both files are written and synced to disk under temporary names, then renamed, the JSON last.
Reading: nothing is unpickled, links are not followed, what cannot be verified is refused.
Needs POSIX (fsync of a folder, O_NOFOLLOW).
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

FORMAT_VERSION = 1
MOST_BYTES = {".safetensors": 2**32, ".json": 2**24}  # larger files are neither written nor read into memory
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool),
)


class CheckpointError(ValueError):
    """One line: which file, what is wrong with it, and what is accepted."""


def temporary_name(path: Path) -> Path:
    """Under which `path` is written before it is renamed."""
    return path.with_name(path.name + ".tmp")


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


# What the two files hold


def encode_tensors(path: Path, tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file; `path` is for the messages.

    Raises CheckpointError for what cannot be kept exactly.
    """
    own = {name: _own_copy(path, name, tensor) for name, tensor in tensors.items()}
    try:
        data = safetensors.torch.save(own)
    except (SafetensorError, KeyError, ValueError) as problem:
        raise CheckpointError(f"{path}: safetensors refuses the tensors ({_one_line(problem)})") from problem
    _check_size(path, len(data), MOST_BYTES[".safetensors"])
    return data


def _own_copy(path: Path, name: str, tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU, with memory of its own; a pending conjugation is carried out."""
    if not isinstance(name, str) or name == "__metadata__" or not isinstance(tensor, Tensor):
        raise CheckpointError(
            f"{path}: entry {name!r} is of type {type(tensor).__name__}, needs a name other than "
            "'__metadata__', which is safetensors' own, and a tensor"
        )
    if tensor.dtype not in DTYPES or tensor.layout != torch.strided or tensor.is_meta:
        accepted = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise CheckpointError(
            f"{path}: tensor {name!r} is {tensor.dtype}, {tensor.layout} on {tensor.device}, "
            f"needs a dense tensor of one of {accepted}"
        )
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu").copy_(tensor.detach())


def encode_side(path: Path, kind: str, data: bytes, entries: dict[str, Any]) -> bytes:
    """The bytes of the JSON side of the tensors file `data`; `path`, of that file, is for the messages.

    Raises CheckpointError for entries that would not come back equal.
    """
    for name, value in entries.items():
        try:
            comes_back = json.loads(_canonical(value)) == value
        except (TypeError, ValueError, RecursionError) as problem:
            raise CheckpointError(f"{path}: {name} is not strict JSON ({_one_line(problem)})") from problem
        if not comes_back:
            raise CheckpointError(
                f"{path}: {name} would not come back equal, needs string keys, and lists, not tuples"
            )
    content = {
        "format": _format(kind),
        "version": FORMAT_VERSION,
        "tensors_sha256": digest_of(data),
        **entries,
    }
    content["sha256"] = digest_of(_canonical(content))
    try:
        side = (json.dumps(content, indent=1, sort_keys=True) + "\n").encode("ascii")
    except RecursionError as problem:
        raise CheckpointError(
            f"{path}: {', '.join(entries)}: too deeply nested, needs flatter JSON"
        ) from problem
    _check_size(path.with_suffix(".json"), len(side), MOST_BYTES[".json"])
    return side


def _format(kind: str) -> str:
    return f"gmm-theory-toolkit {kind}"


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _decode_side(path: Path, kind: str, entries: Mapping[str, type]) -> dict[str, Any]:
    data = _read_bytes(path, MOST_BYTES[".json"])
    try:
        content = json.loads(data)
        stated = content.pop("sha256", None) if isinstance(content, dict) else None
        digest = digest_of(_canonical(content))
    except (ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path}: is not strict JSON ({_one_line(problem)})") from problem
    if not isinstance(content, dict) or content.get("format") != _format(kind):
        raise CheckpointError(f"{path}: is not a {kind}, needs a JSON object of format {_format(kind)!r}")
    version = content.get("version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: is of format version {_shorten(repr(version))}, needs {FORMAT_VERSION}; "
            "use the toolkit that wrote it"
        )
    if stated != digest:
        raise CheckpointError(f"{path}: is damaged, needs content with the SHA-256 it states")
    needed = {"format": str, "version": int, "tensors_sha256": str, **entries}
    if content.keys() != needed.keys() or any(type(content[name]) is not needed[name] for name in needed):
        names = ", ".join(f"{name} ({of_type.__name__})" for name, of_type in needed.items())
        raise CheckpointError(f"{path}: has other entries than a {kind}, needs exactly {names}")
    return content


def _decode_tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as problem:
        # Beside its own error: KeyError of a dtype and TypeError, RuntimeError of a shape that torch lacks.
        raise CheckpointError(
            f"{path}: is not a safetensors file of known dtypes ({_one_line(problem)})"
        ) from problem


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinities, naming the tensor."""
    for name, tensor in tensors.items():
        if tensor.numel() == 0:
            continue  # nothing to check, and torch cannot compare a shape such as (0, 2^63 - 1)
        # torch.isfinite knows no float8; every float8 is a float32.
        one_byte = tensor.is_floating_point() and tensor.dtype.itemsize == 1
        if not torch.isfinite(tensor.float() if one_byte else tensor).all():
            raise CheckpointError(
                f"{path}: tensor {_shorten(repr(name))} holds NaN or infinity, needs finite weights"
            )


def check_fit(
    path: Path, wanted: Mapping[str, torch.Size], tensors: Mapping[str, Tensor], by: str = "config"
) -> None:
    """Refuse tensors of other names or shapes than `by`, such as a configuration, asks for."""
    for name, shape in wanted.items():
        if name not in tensors:
            raise CheckpointError(f"{path}: has no tensor {name!r}, which its {by} asks for")
        found = tensors[name].shape
        if found != shape:
            raise CheckpointError(
                f"{path}: tensor {name!r} has shape {tuple(found)}, its {by} needs {tuple(shape)}"
            )
    for name in tensors:
        if name not in wanted:
            raise CheckpointError(f"{path}: has a tensor {name!r}, which its {by} knows nothing of")


# The files


def read_pair(
    path: Path, side_path: Path, kind: str, entries: Mapping[str, type]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the content of the JSON side, whose `entries` have the types given.

    Raises CheckpointError unless both files are what `write_pair` wrote, up to spaces in the JSON.
    """
    content = _decode_side(side_path, kind, entries)
    data = _read_bytes(path, MOST_BYTES[".safetensors"])
    if digest_of(data) != content["tensors_sha256"]:
        raise CheckpointError(f"{path}: is damaged, needs the file whose SHA-256 {side_path.name} states")
    return _decode_tensors(path, data), content


def _read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file; a link, a pipe or a device is refused before it is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{path}: is a folder, pipe or device, needs a regular file")
            _check_size(path, status.st_size, most)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(descriptor)
    except OSError as problem:
        reason = "is a link" if path.is_symlink() else f"cannot be read ({problem.strerror})"
        raise CheckpointError(f"{path}: {reason}, needs a regular file") from problem


def write_pair(path: Path, data: bytes, side: bytes) -> None:
    """Write both files, synced to disk, under temporary names; then rename the tensors, then the JSON.

    Raises OSError; if it comes before the first rename (a full disk does), the temporary files are removed.
    """
    side_path = path.with_suffix(".json")
    temporary, side_temporary = temporary_name(path), temporary_name(side_path)
    try:
        _write_synced(temporary, data)
        _write_synced(side_temporary, side)
    except BaseException:
        temporary.unlink(missing_ok=True)
        side_temporary.unlink(missing_ok=True)
        raise
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        side_temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    side_temporary.replace(side_path)
    sync_folder(path.parent)


def _write_synced(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""How file systems that cannot sync a folder (some network ones) answer; databases pass over it as well."""


def sync_folder(folder: Path) -> None:
    """Bring the names in the folder to disk, where the file system can: else they follow in its own time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


# Messages


def _check_size(path: Path, size: int, most: int) -> None:
    if size > most:
        raise CheckpointError(f"{path}: has {size} bytes, needs at most {most}")


def _one_line(problem: BaseException) -> str:
    return _shorten(" ".join(str(problem).split()))


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."
