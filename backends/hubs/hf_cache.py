"""Hugging Face's shared cache on the disk: blobs by sum, snapshots of links by commit, refs by branch."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from backends.errors import Cancelled, DownloadError
from backends.hubs import environment

_LOCK_POLL_SECONDS = 0.1


def repository_folder(model_id: str) -> Path:
    """The cache's folder of one repository."""
    return environment.cache_folder() / "--".join(("models", *model_id.split("/")))


def blob(model_id: str, etag: str) -> Path:
    """Where the bytes of a file lie."""
    return repository_folder(model_id) / "blobs" / etag


def part(model_id: str, etag: str) -> Path:
    """Where the bytes of an unfinished file lie: a name of our own, which huggingface_hub leaves alone."""
    return repository_folder(model_id) / "blobs" / f"{etag}.modeldeck.part"


def snapshot(model_id: str, commit: str) -> Path:
    """The folder in which the files of one commit have their names."""
    return repository_folder(model_id) / "snapshots" / commit


def whole_bytes(model_id: str, etag: str | None, commit: str, name: str) -> int | None:
    """Size of a file that is whole in the cache; None: it is not there.

    Blobs and snapshot entries appear by renaming only, so what exists is whole.
    """
    candidates = [snapshot(model_id, commit) / name]
    if etag:
        candidates.append(blob(model_id, etag))
    for path in candidates:
        with contextlib.suppress(OSError):
            return path.stat().st_size
    return None


def commit_of(model_id: str, revision: str | None) -> str | None:
    """The commit that a branch or tag had when it was last asked; None: never asked."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (repository_folder(model_id) / "refs" / (revision or "main")).read_text().strip() or None
    return None


def publish(model_id: str, commit: str, revision: str | None, name: str, etag: str) -> Path:
    """Give a whole blob its name in the snapshot, and the branch its commit; returns the name's path."""
    pointer = snapshot(model_id, commit) / name
    target = blob(model_id, etag)
    if not (pointer.exists() and pointer.samefile(target)):
        pointer.parent.mkdir(parents=True, exist_ok=True)
        _link(target, pointer)
    keep_ref(model_id, commit, revision)
    _tag_cache()
    return pointer


def keep_ref(model_id: str, commit: str, revision: str | None) -> None:
    """Remember which commit a branch stands at, as huggingface_hub does."""
    branch = revision or "main"
    if branch == commit:
        return
    ref = repository_folder(model_id) / "refs" / branch
    with contextlib.suppress(OSError):
        if ref.read_text() == commit:
            return
    ref.parent.mkdir(parents=True, exist_ok=True)
    beside = ref.with_name(f"{ref.name}.{uuid.uuid4().hex[:8]}.tmp")
    beside.write_text(commit)
    beside.replace(ref)


def _link(target: Path, pointer: Path) -> None:
    """A relative link made beside and renamed: a relative one survives moving the cache."""
    beside = pointer.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.symlink_to(os.path.relpath(target, pointer.parent))
    except OSError:
        try:
            os.link(target, beside)  # file systems without symbolic links
        except OSError:
            import shutil

            shutil.copyfile(target, beside)
    beside.replace(pointer)


def _tag_cache() -> None:
    """CACHEDIR.TAG keeps caches out of backups; huggingface_hub writes the same."""
    tag = environment.cache_folder() / "CACHEDIR.TAG"
    with contextlib.suppress(OSError):
        if not tag.exists():
            tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag.\n")


@contextlib.contextmanager
def locked(
    model_id: str, etag: str, cancel: threading.Event | None = None, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock that huggingface_hub takes for this blob, so that two programs transfer it once."""
    folder = environment.cache_folder() / ".locks" / repository_folder(model_id).name
    with held(folder / f"{etag}.lock", cancel, waiting):
        yield


@contextlib.contextmanager
def held(
    file: Path,
    cancel: threading.Event | None = None,
    waiting: Callable[[], None] | None = None,
    refusal: Callable[[OSError], DownloadError] | None = None,
) -> Iterator[None]:
    """Hold a lock file against other programs.

    Args:
        file: The lock.
        cancel: Ends the wait with Cancelled when set.
        waiting: Called once where another program holds it.
        refusal: Makes the error of a folder that takes no file.
    """
    import filelock

    folder = file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise (refusal or cannot_write)(error) from error
    lock: filelock.BaseFileLock = filelock.FileLock(file, mode=0o664)
    told = False
    while True:
        try:
            lock.acquire(blocking=False)
            break
        except filelock.Timeout:
            if waiting is not None and not told:
                waiting()
                told = True
            if cancel is not None and cancel.is_set():
                raise Cancelled("stopped") from None
            (cancel or threading.Event()).wait(_LOCK_POLL_SECONDS)
        except NotImplementedError:
            lock = filelock.SoftFileLock(file, mode=0o664)  # file systems without flock
        except OSError as error:
            raise (refusal or cannot_write)(error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.release()


def busy(model_id: str, etag: str) -> bool:
    """Whether a program is transferring this blob just now."""
    return is_held(environment.cache_folder() / ".locks" / repository_folder(model_id).name / f"{etag}.lock")


def is_held(file: Path) -> bool:
    """Whether a program holds this lock file just now."""
    import filelock

    if not file.exists():
        return False
    try:
        with filelock.FileLock(file, mode=0o664).acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def cannot_write(error: OSError) -> DownloadError:
    """The error of a cache that takes no files."""
    why = (error.strerror or str(error)).lower()
    return DownloadError(
        f"cannot write to the cache {environment.cache_folder()} ({why}); set HF_HOME to a folder that you may write to"
    )
