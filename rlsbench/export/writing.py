"""Export of a run into a new folder, in a format that is found by its name.

In: the directory of a run, and a format.  Out: a folder that is complete or not there.  A format is
a function of a `TrainedNetwork` and a folder, in the entry-point group `rlsbench.exports`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import Any, Final

from rlsbench import plugins
from rlsbench.errors import OutputError
from rlsbench.export.network import TrainedNetwork, trained_network
from rlsbench.results import check_new

__all__ = ["GROUP", "export", "format_names"]

GROUP: Final = "rlsbench.exports"

Format = Callable[[TrainedNetwork, Path], None]


def format_names() -> list[str]:
    """Names of all registered formats, in alphabetical order."""
    return list(plugins.registered(GROUP))


def export(
    run: str | Path | TrainedNetwork,
    to: str,
    output: str | Path,
    *,
    checkpoint: str | Path | None = None,
    backend: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """Write a trained network for another tool.

    Parameters
    ----------
    run : path or TrainedNetwork
        Directory of a finished run, or what `rlsbench.export.described` returns for a `Training`.
    to : str
        Format: "sonata", "brian2", "nest", "npz", or one that another package registers.
    output : path
        Folder, which must not exist.
    checkpoint, backend, settings : optional
        Of a directory; see `rlsbench.export.trained_network`.

    Returns
    -------
    TrainedNetwork
        What was written.

    Raises
    ------
    ConfigurationError
        If there is no such format.
    UnsupportedError
        If the other tool has no such neurons or synapses.
    ResultError
        If the run is not finished, damaged or not trained.
    InsufficientDiskError
        If the files do not fit on the disk; nothing is written then.
    OutputError
        If the folder exists, or cannot be written; nothing is left of it then.
    """
    write: Format = plugins.named(GROUP, to, "format")
    folder = Path(output)
    check_new(folder)
    network = run if isinstance(run, TrainedNetwork) else trained_network(run, checkpoint, backend, settings)
    with plugins.blamed(f"format {to}"), _new_folder(folder) as temporary:
        write(network, temporary)
    return network


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end, and removed if the block fails.

    An error of the file system in the block becomes an `OutputError`; HDF5 has it in a text.
    """
    temporary = path.with_name(f".{path.name}.{getpid()}.part")
    try:
        try:
            temporary.mkdir()
            yield temporary
            check_new(path)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except (OSError, RuntimeError) as error:
        why = re.search(r"error message = '([^']*)'", str(error))
        if not (why or isinstance(error, OSError)):
            raise
        told = why[1] if why else getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {path}: {told}") from None
