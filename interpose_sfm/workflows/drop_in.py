"""The drop-in for ``pycolmap.incremental_mapping``: pycolmap maps first, links extend what it leaves apart.

    import interpose_sfm

    models = interpose_sfm.incremental_mapping(database_path, image_path, output_path)

    with interpose_sfm.installed():  # or under scripts that call pycolmap themselves
        main()

Nothing of the user's is altered. All that is added lies in one folder beside the database, ``<database>_interpose/``:
the extended copy of the database, the stores of learned features and matches, report.json, and in ``base/`` the models
as pycolmap made them. Deleting it takes everything out again.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Union

from interpose_sfm.colmap import databases, incremental_mapper, reconstruction
from interpose_sfm.options import InterposeOptions
from interpose_sfm.run_log import RunLog

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

AnyPath = Union["os.PathLike[str]", "os.PathLike[bytes]", str, bytes]
AnyOptions = Union["pycolmap.IncrementalPipelineOptions", Mapping[str, Any], None]


def incremental_mapping(
    database_path: AnyPath,
    image_path: AnyPath,
    output_path: AnyPath,
    options: AnyOptions = None,
    input_path: AnyPath = "",
    initial_image_pair_callback: Callable[[], None] | None = None,
    next_image_callback: Callable[[], None] | None = None,
    cancellation_token: pycolmap.CancellationToken | None = None,
    interpose: InterposeOptions | None = None,
) -> dict[int, pycolmap.Reconstruction]:
    """``pycolmap.incremental_mapping``, and where it leaves photos apart, what checked links make of them.

    pycolmap runs first, exactly as asked. Where one of its models holds all photos, or no link was accepted, or the
    links gained nothing, its models are returned and its files stay as they are. Otherwise the extended models replace
    them in ``output_path``: every photo that pycolmap registered stays registered, model k continues pycolmap's model k
    where there still is one, further models follow. The links' key points are appended behind the user's, so rows of
    key points in the database keep their meaning in ``points2D`` of the returned models; the database that has the
    appended ones as well is ``<database>_interpose/database.db``. To continue or triangulate extended models, hand in
    that one.

    Works with features and cameras of any kind. Photos are only left out of the fallback where they are not in the
    folder, do not have the size that the database says, have a mask of another size, or are panoramas; databases with
    rigs of several cameras are left to pycolmap.

    Once pycolmap has answered, its answer is the least that is returned: what goes wrong in the fallback is told in one
    warning.

    Args:
        database_path: COLMAP database; a copy of it is extended.
        image_path: Folder of the photos.
        output_path: Folder for the models: 0, 1, ..., or, with an ``input_path``, for the first model itself.
        options: Mapper options of pycolmap; the fallback maps by them, too.
        input_path: Model to continue.
        initial_image_pair_callback, next_image_callback: Called by pycolmap's own run.
        cancellation_token: Also looked at between the steps of the fallback.
        interpose: Options of the fallback.

    Raises:
        InterruptedError: Cancelled; what pycolmap had finished is in ``output_path``.
        ValueError, TypeError: As pycolmap does; ValueError or MissingDependencyError, before it runs, for options that
            cannot be used.
    """
    settings = interpose or InterposeOptions()
    _check(settings)
    return _mapped(
        database_path,
        image_path,
        output_path,
        options,
        input_path,
        initial_image_pair_callback,
        next_image_callback,
        cancellation_token,
        settings,
    )


def _check(settings: InterposeOptions) -> None:
    if settings.enabled and settings != InterposeOptions():  # what is checked loads several stages
        from interpose_sfm.workflows.start_checks import check_options

        check_options(settings)


def _mapped(
    database_path: AnyPath,
    image_path: AnyPath,
    output_path: AnyPath,
    options: AnyOptions = None,
    input_path: AnyPath = "",
    initial_image_pair_callback: Callable[[], None] | None = None,
    next_image_callback: Callable[[], None] | None = None,
    cancellation_token: pycolmap.CancellationToken | None = None,
    interpose: InterposeOptions | None = None,
) -> dict[int, pycolmap.Reconstruction]:
    """See `incremental_mapping`; the options have been checked."""
    models = incremental_mapper.incremental_mapping(
        database_path,
        image_path,
        output_path,
        **({} if options is None else {"options": options}),
        input_path=input_path,
        initial_image_pair_callback=initial_image_pair_callback,
        next_image_callback=next_image_callback,
        cancellation_token=cancellation_token,
    )
    try:
        output = Path(os.fsdecode(output_path)), bool(os.fspath(input_path))
        settings = interpose or InterposeOptions()
        return _extended(models, database_path, image_path, options, cancellation_token, settings, output)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, InterruptedError) and cancellation_token is not None and cancellation_token.is_cancelled:
            raise
        _tell_failure(error)
        return models


def _tell_failure(error: BaseException) -> None:
    from interpose_sfm.workflows.run_report import failure_text

    logger.warning(
        "pycolmap's models are returned as they are, since what was to extend them failed: %s",
        failure_text(error),
        exc_info=error if logger.isEnabledFor(logging.DEBUG) else None,
    )


def extend(
    models: Mapping[int, pycolmap.Reconstruction] | Iterable[pycolmap.Reconstruction],
    database_path: AnyPath,
    image_path: AnyPath,
    options: AnyOptions = None,
    cancellation_token: pycolmap.CancellationToken | None = None,
    interpose: InterposeOptions | None = None,
) -> dict[int, pycolmap.Reconstruction]:
    """Extend models that were not made by ``pycolmap.incremental_mapping``, such as those of a mapper in Python.

    Args:
        models: Models of the photos in the database, as a sequence or by index; they are not altered. None at all is
            fine.
        database_path, image_path, options, cancellation_token, interpose: See `incremental_mapping`.

    Returns:
        The extended models, ordered as in `incremental_mapping`; the given ones where nothing was gained. They are not
        written to disk.

    Raises:
        InterruptedError, TypeError: See `incremental_mapping`.
        WorkspaceBusyError: Another run is extending the same database.
        BaseException: Whatever else goes wrong; the models that were handed in are as before.
    """
    numbered = dict(models) if isinstance(models, Mapping) else dict(enumerate(models))
    settings = interpose or InterposeOptions()
    _check(settings)
    return _extended(numbered, database_path, image_path, options, cancellation_token, settings, None)


# ---------------------------------------------------------------- in the place of pycolmap's function


_lock = threading.Lock()
_active: list[InterposeOptions] = []
_own: ContextVar[tuple[InterposeOptions, ...]] = ContextVar("_own", default=())


@contextmanager
def installed(options: InterposeOptions | None = None) -> Iterator[None]:
    """Put `incremental_mapping` in the place of ``pycolmap.incremental_mapping`` for the duration of a block.

    May be nested and used in several threads at once: the innermost block of the calling thread counts, and in a thread
    without one the block that was entered last. When the last block ends, pycolmap's function is back. Code that holds
    on to the replaced function (``from pycolmap import incremental_mapping`` within the block) gets pycolmap's
    behaviour from then on.

    Args:
        options: Of the fallback.

    Raises:
        ValueError, MissingDependencyError: Options that cannot be used.
    """
    import pycolmap

    settings = options or InterposeOptions()
    _check(settings)
    with _lock:
        _active.append(settings)
        if not hasattr(pycolmap.incremental_mapping, incremental_mapper.REPLACED):
            pycolmap.incremental_mapping = _stand_in(pycolmap.incremental_mapping)
    token = _own.set((*_own.get(), settings))
    try:
        yield
    finally:
        _own.reset(token)
        with _lock:
            del _active[max(i for i, other in enumerate(_active) if other is settings)]
            original = getattr(pycolmap.incremental_mapping, incremental_mapper.REPLACED, None)
            if original is not None and not _active:
                pycolmap.incremental_mapping = original


def _stand_in(original: Any) -> Any:
    """A function that calls ours as long as a block of `installed` lasts, else the original."""

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        own = _own.get()
        with _lock:
            settings = own[-1] if own else (_active[-1] if _active else None)
        if settings is None:
            return original(*args, **kwargs)
        return _mapped(*args, **{"interpose": settings, **kwargs})

    setattr(call, incremental_mapper.REPLACED, original)
    return call


def _extended(
    models: dict[int, pycolmap.Reconstruction],
    database_path: AnyPath,
    image_path: AnyPath,
    options: AnyOptions,
    token: pycolmap.CancellationToken | None,
    settings: InterposeOptions,
    output: tuple[Path, bool] | None,
) -> dict[int, pycolmap.Reconstruction]:
    """The models, extended in memory and in the output folder; the very same where there is nothing to gain.

    Args:
        output: Where pycolmap has written, and whether the first model lies there itself.
    """
    import pycolmap

    if not settings.enabled:
        return models
    caller = pycolmap.IncrementalPipelineOptions(dict(options)) if isinstance(options, Mapping) else options
    database = Path(os.fsdecode(database_path))
    wanted = _wanted(database, caller)
    if len(wanted) < 2 or any(reconstruction.registered_names(model).issuperset(wanted) for model in models.values()):
        if len(wanted) > 1:
            _tell_folded(models, database)
        return models  # nothing is weak

    from interpose_sfm.workflows import drop_in_run  # only now, since it loads all stages

    place = None if output is None else drop_in_run.Output(*output)
    call = drop_in_run.Call(database, Path(os.fsdecode(image_path)), place, caller, token)
    extended = drop_in_run.extended(list(models.values()), wanted, call, settings)
    return models if extended is None else dict(enumerate(extended))


def _tell_folded(models: Mapping[int, pycolmap.Reconstruction], database_path: Path) -> None:
    """Warn of models that are complete and probably folded; nothing is written beside the database."""
    from interpose_sfm.workflows import folded_models

    with TemporaryDirectory(prefix="interpose_sfm-") as folder:
        copy = Path(folder) / "database.db"  # pycolmap writes to what it opens
        databases.copy_database(database_path, copy)
        folded_models.suspected(list(models.values()), copy, RunLog(), warn=logger.warning)


def _wanted(database_path: Path, options: pycolmap.IncrementalPipelineOptions | None) -> tuple[str, ...]:
    """The photos to register: those in the database, or those that the options name."""
    names = databases.photo_names(database_path)
    chosen = frozenset(options.image_names) if options is not None else frozenset()
    return tuple(name for name in names if name in chosen) if chosen else names
