"""Public recordings: fetched once, verified by SHA-256 and stored in a local folder.

In: the name of a dataset, and optionally a source.  Out: the folder with its published files.
Knows checksums, licences and which axis of a matrix is time; reads no recording.

The folder is `rlsbench/NAME` in the cache folder of the system, or `NAME` in RLSBENCH_DATA_DIR.
Files come from the published address, or from RLSBENCH_DATA_URL: http(s)://, file:// or a folder.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rlsbench.errors import ConfigurationError, OutputError, RecordingError
from rlsbench.recordings import ReadOptions, TimeAxis

LICENCE_FILE = "LICENSE.txt"
TIMEOUT_S = 30  # without a response
DEADLINE_S = 300  # for a file


@dataclass(frozen=True)
class Dataset:
    """A public recording."""

    name: str
    description: str  #: one line
    url: str  #: of the folder that holds the files
    files: Mapping[str, str]  #: name of each file to its SHA-256 in hexadecimal digits
    parts: Mapping[str, str]  #: name of each condition to its file of rates; alm:left names a recording
    notice: str  #: copyright, licence, source and citation
    licence: str  #: its text
    time_axis: TimeAxis  #: of its matrices of rates
    most_bytes: int = 2**21  #: that one of its files has, at most


DATASETS: Mapping[str, Dataset] = {
    "alm": Dataset(
        name="alm",
        description="1,824 pyramidal cells of the mouse's anterior lateral motor cortex, lick left and lick right",
        url="https://raw.githubusercontent.com/SpikingNetwork/distributedActivity/HEAD/data_alm/",
        files={
            "movingrate_Pyr1Hz_lickleft.jld": "236779d8765f6fed56848496a5c529e09cdb67523f19f7886a23ff6a5721b462",
            "movingrate_Pyr1Hz_lickright.jld": "08005b8e50a9fb229ee29824c9c1b54ac1850b9d35f150ab3501216f5b15f9a4",
            "utarg1Hz_lickleft.jld": "e8ef5a41dc3e2fcacfc2ccc870bb4dc701e4c49a4b4006f4627d0fcd914ee0bb",
            "utarg1Hz_lickright.jld": "edcc858b2d7061111206dae548eaf66ca8e0c956be9aed35e8f3bed4d12726b2",
        },
        parts={"left": "movingrate_Pyr1Hz_lickleft.jld", "right": "movingrate_Pyr1Hz_lickright.jld"},
        notice=(
            "Copyright (c) 2022, SpikingNetwork. All rights reserved. BSD-3-Clause.\n"
            "From https://github.com/SpikingNetwork/distributedActivity, folder data_alm.\n"
            "Recorded by Finkelstein et al. (2021), Nat Neurosci 24:843; processed for Kim, Finkelstein, Chow, Svoboda "
            "and Darshan (2023), Nat Commun 14:2851."
        ),
        licence=files("rlsbench").joinpath("bsd-3-clause.txt").read_text(encoding="utf-8"),
        time_axis="rows",
    ),
}


def dataset_named(name: str) -> Dataset:
    """The dataset with a name; raises ConfigurationError if there is none."""
    if name not in DATASETS:
        raise ConfigurationError(f"unknown dataset {name!r}: the datasets are {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def dataset_folder(name: str) -> Path:
    """The folder for the files of a dataset, which may not be fetched yet."""
    name = dataset_named(name).name
    if chosen := os.environ.get("RLSBENCH_DATA_DIR"):
        return Path(chosen).expanduser() / name
    import pooch

    return Path(pooch.os_cache("rlsbench")) / name


def dataset_path(name: str) -> Path:
    """The folder with the published files of a dataset.

    Raises ConfigurationError if there is no such dataset, and RecordingError if a file is missing
    or differs from the published one.
    """
    for file in dataset_named(name).files:
        _published(name, file)
    return dataset_folder(name)


def locate(file: str | Path) -> Path:
    """The path of a recording, which is a path, or NAME:PART of a fetched dataset such as alm:left.

    Raises ConfigurationError if the dataset has no such part, and RecordingError if its file is
    missing or differs from the published one.
    """
    dataset = dataset_of(file)
    if dataset is None:
        return Path(file)
    name, _, part = str(file).partition(":")
    if part not in dataset.parts:
        known = ", ".join(f"{name}:{part}" for part in sorted(dataset.parts))
        raise ConfigurationError(f"unknown recording {file}: the recordings are {known}")
    return _published(name, dataset.parts[part])


def located(file: str | Path, how: ReadOptions) -> tuple[Path, ReadOptions]:
    """The path of a recording and how to read it: of a dataset, it is known which axis is time.

    Raises as `locate`.
    """
    dataset, said = dataset_of(file), how.time_axis is not None or bool(how.axes)
    return locate(file), how if dataset is None or said else how.model_copy(update={"time_axis": dataset.time_axis})


def dataset_of(file: str | Path) -> Dataset | None:
    """The dataset whose part a recording such as alm:left names; None for a path."""
    name, colon, _ = str(file).partition(":")
    return DATASETS[name] if colon and name in DATASETS and not Path(file).exists() else None


def _published(name: str, file: str) -> Path:
    """The path of a file of a dataset; raises RecordingError unless it is the published one."""
    path = dataset_folder(name) / file
    if not path.is_file():
        raise RecordingError(f"{path.name} of dataset {name} is not in {path.parent}: run rlsbench data fetch {name}")
    try:
        with path.open("rb") as stream:
            unchanged = hashlib.file_digest(stream, "sha256").hexdigest() == DATASETS[name].files[path.name]
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror})") from error
    if not unchanged:
        raise RecordingError(f"{path} differs from the published file: run rlsbench data fetch {name}")
    return path


def fetch_dataset(name: str, *, base_url: str | None = None) -> Path:
    """Fetch the missing files of a dataset and its licence; returns their folder.

    A file is kept only if its SHA-256 matches the published one; what is larger, or not complete
    after `DEADLINE_S` seconds, is refused before. `base_url`, the source, is
    http(s)://, file:// or a folder; by default RLSBENCH_DATA_URL, or the published address.

    Raises ConfigurationError if there is no such dataset or the address is not supported,
    RecordingError if a file cannot be fetched or differs from the published one, and OutputError if
    the folder cannot be written.
    """
    dataset, folder = dataset_named(name), dataset_folder(name)
    source, download = _source(base_url or os.environ.get("RLSBENCH_DATA_URL") or dataset.url)
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # avoids a log line for each file
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        registry = pooch.create(path=folder, base_url=source, registry=dict(dataset.files))
        for file in dataset.files:
            registry.fetch(file, downloader=partial(download, most=dataset.most_bytes))
            if not (folder / LICENCE_FILE).exists():  # never leave files without it
                (folder / LICENCE_FILE).write_text(f"{dataset.notice}\n\n{dataset.licence}", encoding="utf-8")
    except ValueError as error:  # the checksum differs; pooch has removed the file
        problem = "was discarded: its SHA-256 differs from the published one"
        raise RecordingError(f"{file} from {source} {problem}") from error
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror or error}): choose another folder with RLSBENCH_DATA_DIR"
        ) from error
    finally:
        logger.setLevel(level)
        for place in made:
            if not place.exists() or any(place.iterdir()):
                break
            place.rmdir()
    return folder


def _source(base_url: str) -> tuple[str, Callable[..., None]]:
    """The address as a URL that ends in /, and the function that fetches from it."""
    try:
        parts = urlsplit(base_url)
    except ValueError:  # such as an address of IPv6 without its closing bracket
        parts = urlsplit("://")
    if parts.scheme in ("http", "https") and parts.netloc:
        return base_url.rstrip("/") + "/", _download
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return f"{base_url.rstrip('/')}/", _copy
    if "://" in base_url:
        raise ConfigurationError(f"unsupported base URL {base_url!r}: give http(s)://, file:// or a folder")
    return Path(base_url).expanduser().resolve().as_uri().rstrip("/") + "/", _copy


def _download(url: str, target: str, files: Any, *, most: int) -> None:
    """Download a URL to a path."""
    from http.client import HTTPException
    from urllib.request import urlopen

    content, deadline = bytearray(), time.monotonic() + DEADLINE_S
    try:
        with urlopen(url, timeout=TIMEOUT_S) as response:
            while len(content) <= most and (piece := response.read1(2**16)):  # what has arrived
                content += piece
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not complete after {DEADLINE_S} s")
    except (OSError, ValueError, HTTPException) as error:
        problem = f"could not be read ({getattr(error, 'reason', error)})"
        if isinstance(error, HTTPError):
            problem = f"returned HTTP status {error.code}"
            error.close()
        raise RecordingError(
            f"{url} {problem}: connect to the network, or give a mirror or a folder with --base-url or "
            "RLSBENCH_DATA_URL"
        ) from error
    _keep(content, url, target, most)


def _copy(url: str, target: str, files: Any, *, most: int) -> None:
    """Copy the file of a file:// URL to a path."""
    source = Path(url2pathname(urlsplit(url).path))
    try:
        if source.exists() and not source.is_file():  # a pipe would be waited for
            raise RecordingError(f"{source} in the mirror is not a file")
        with source.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise RecordingError(f"{source} in the mirror cannot be read ({error.strerror})") from error
    _keep(content, str(source), target, most)


def _keep(content: bytes | bytearray, source: str, target: str, most: int) -> None:
    """Write a file, unless it is larger than the published ones."""
    if len(content) > most:
        raise RecordingError(f"{source} is larger than {most:,} bytes, and so not the published file")
    Path(target).write_bytes(content)
