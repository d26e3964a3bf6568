"""The pipeline that turns bytes into confirmed blobs at every destination.

One caller feeds it; a thread per core hashes, looks up, compresses and seals; each destination uploads by itself."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from queue import Full, Queue
from typing import Any

from engine import chunker, compress, crypto
from engine.errors import Corrupt, EngineError, Unavailable
from engine.keyring import Keyring
from engine.model import content as contents
from engine.model.content import Chunk, Content
from engine.model.stream import Reader
from engine.progress import Progress
from engine.repository import box, pack
from engine.repository.bases import Bases, EarlierVersion, Form, Hint, Tools
from engine.repository.copy import Copy, SealedPack
from engine.repository.pack import OpenPack
from engine.repository.segments import SEGMENT_BYTES, Segment, SegmentPool

SMALL_FILE_BYTES = 256 << 10
_BUNDLE_MIN, _BUNDLE_MAX, _BUNDLE_FILES = 512 << 10, 1 << 20, 4096
_BUNDLE_MASK = 7
_TAIL_BYTES, _TAIL_LENGTH = 64, 8
_INLINE_ENTRIES, _LIST_ENTRIES, _LIST_MASK = 1024, 16_384, 4095
_WAITING_TASKS = 16
_LOOK_SECONDS = 0.002
_THREADS = os.cpu_count() or 1


class Pending:
    """Content whose blobs are on their way: `content` counts once `is_ready`."""

    __slots__ = ("content", "is_ready")

    def __init__(self) -> None:
        self.content: Content = None
        self.is_ready = False

    def settle(self, content: Content) -> None:
        """The workers are done with it."""
        self.content = content
        self.is_ready = True


class PendingChunks(Pending):
    """Content in chunks. Workers fill in `entries` by their number, in any order; they are taken out in order, into
    `part` and from there into list blobs, whose ids are all that is kept of a file of any size."""

    __slots__ = ("entries", "ids", "missing", "part", "sent", "taken")

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[int, Chunk] = {}
        self.sent = self.missing = self.taken = 0
        self.part = bytearray()
        self.ids: list[bytes] = []


class Writer:
    """Adds blobs to several repositories at once. Feed it from one thread; then `finish`, or `abort`."""

    def __init__(
        self,
        copies: Sequence[Copy],
        keyring: Keyring,
        *,
        suite: int,
        codec: int,
        bases: Bases,
        spool: Path,
        progress: Progress,
    ) -> None:
        self._copies = copies
        self._keyring = keyring
        self._suite = suite
        self._codec = codec
        self._bases = bases
        self._spool = spool
        self._progress = progress
        self._id_key = keyring.plain_key if suite == crypto.NONE else keyring.data_key
        self._cut = chunker.make_cutter(keyring.chunker_seed)
        self._pool = SegmentPool()
        self._segment: Segment | None = None
        self._filled = 0
        self._bundle: list[tuple[bytes, Pending]] = []
        self._bundle_bytes = 0
        self._blobs: list[tuple[bytes, int, bytes]] = []
        self._blob_bytes = 0
        self._tasks: Queue[tuple[Any, ...] | None] = Queue(_WAITING_TASKS)
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()
        self._open_packs: dict[tuple[int, tuple[Copy, ...]], list[OpenPack]] = {}
        self._error: BaseException | None = None
        self.new_bytes = 0
        self.stored_bytes = 0
        self.difference_bytes = 0
        self._threads = [threading.Thread(target=self._work, name=f"seal {n}", daemon=True) for n in range(_THREADS)]
        for thread in self._threads:
            thread.start()

    def has(self, id: bytes) -> bool:
        """Whether every destination that still takes part has the blob, or will have it by the end of this run."""
        return id in self._claimed or all(copy.has(id) for copy in self._copies if copy.is_alive)

    def add_small(self, data: bytes) -> Pending:
        """A small file's bytes; it shares a blob with its neighbours."""
        pending = Pending()
        if not data:
            pending.settle(None)
            return pending
        self._bundle.append((data, pending))
        self._bundle_bytes += len(data)
        is_boundary = self._bundle_bytes >= _BUNDLE_MIN and not zlib.crc32(data) & _BUNDLE_MASK
        if is_boundary or self._bundle_bytes >= _BUNDLE_MAX or len(self._bundle) >= _BUNDLE_FILES:
            self.close_bundle()
        return pending

    def close_bundle(self) -> None:
        """Send off the bundle that is being filled."""
        if self._bundle:
            self._send((self._store_bundle, self._bundle))
            self._bundle, self._bundle_bytes = [], 0

    def add_stream(
        self, reader: Reader, *, into: PendingChunks | None = None, earlier: EarlierVersion | None = None
    ) -> tuple[PendingChunks, int]:
        """Read a stream to its end. Returns its content to be and its length; raises what the reader raises.

        What changed since the `earlier` version is stored as differences to it, where that is worth it."""
        pending = into or PendingChunks()
        segment, start = self._room()
        end, total, at_end = start, 0, False
        try:
            while not at_end:
                while end < SEGMENT_BYTES and not at_end:
                    count = reader.readinto(segment.view[end:])
                    end, total, at_end = end + count, total + count, not count
                    self._progress.advance(read=count)
                    self._progress.checkpoint()
                pieces = self._cut(segment.view[start:end]) if end > start else []
                rest = pieces.pop()[1] if pieces and not at_end else 0
                for offset, length in pieces:
                    self._send_chunk(pending, segment, start + offset, length, earlier)
                if not at_end:
                    fresh = self._pool.take(self._progress.checkpoint)
                    fresh.view[:rest] = segment.view[end - rest : end]
                    segment.release()
                    segment, start, end = fresh, 0, rest
        finally:
            self._segment, self._filled = segment, end
        if not pending.sent:
            pending.settle(None)
        return pending, total

    def add_blob(self, type: int, plain: bytes) -> bytes:
        """A tree or list blob; its id is known at once."""
        id = crypto.keyed_hash(self._keyring.tree_key, plain)
        if not self.has(id):
            self._blobs.append((id, type, plain))
            self._blob_bytes += len(plain)
            if self._blob_bytes >= _BUNDLE_MIN:
                self._send_blobs()
        return id

    def _send_blobs(self) -> None:
        """Hand over the blobs that were gathered: one task for many small ones."""
        if self._blobs:
            self._send((self._store_all, self._blobs))
            self._blobs, self._blob_bytes = [], 0

    def settle(self, pending: PendingChunks) -> Content:
        """The content of chunks that are all ready; long lists become blobs of their own."""
        self.wait(pending)
        self.check()
        if not pending.sent:
            return None
        if pending.sent <= _INLINE_ENTRIES:
            entries = map(pending.entries.__getitem__, range(pending.sent))
            return contents.CHUNKS, b"".join(map(contents.pack_entry, entries))
        self._take_out(pending)
        if pending.part:
            pending.ids.append(self.add_blob(pack.LIST, bytes(pending.part)))
        return contents.LISTS, b"".join(pending.ids)

    def _take_out(self, pending: PendingChunks) -> None:
        """Turn the entries that are ready, and more than fit into a tree, into list blobs."""
        while (entry := pending.entries.pop(pending.taken, None)) is not None:
            pending.taken += 1
            pending.part += contents.pack_entry(entry)
            is_boundary = not int.from_bytes(entry.id[-2:], "little") & _LIST_MASK
            if is_boundary or len(pending.part) >= _LIST_ENTRIES * contents.ENTRY_BYTES:
                pending.ids.append(self.add_blob(pack.LIST, bytes(pending.part)))
                pending.part.clear()

    def wait(self, pending: Pending) -> None:
        """Until the workers are done with a content. Raises what went wrong with them."""
        while not pending.is_ready:
            self.check()
            self._progress.checkpoint()
            time.sleep(_LOOK_SECONDS)

    def check(self) -> None:
        """Raises when the run cannot succeed any more: a worker failed, or the last destination did."""
        if self._error is not None:
            raise self._error
        if not any(copy.is_alive for copy in self._copies):
            raise self._copies[0].error or Unavailable("No destination is left.")

    def finish(self) -> None:
        """Every blob that was added is confirmed and indexed at each destination that is still alive."""
        self.close_bundle()
        self._send_blobs()
        self._stop()
        self.check()
        for (_, copies), open_packs in self._open_packs.items():
            while open_packs:
                self._seal(open_packs.pop(), copies)
        for copy in self._copies:
            copy.finish()
        self.check()

    def abort(self) -> None:
        """Stop all threads and remove what lies in the spool."""
        given_up = EngineError("The run was given up.")
        self._error = self._error or given_up
        for copy in self._copies:
            copy.fail(given_up)  # first: what waits to be uploaded must not keep the workers waiting
        self._stop()
        for open_packs in self._open_packs.values():
            for open_pack in open_packs:
                open_pack.abandon()
        for copy in self._copies:
            copy.finish()

    def _stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _room(self) -> tuple[Segment, int]:
        """The current segment with its free part, or a fresh one when less than a chunk's room is left."""
        if self._segment is not None and self._filled <= SEGMENT_BYTES - chunker.MAXIMUM:
            return self._segment, self._filled
        if self._segment is not None:
            self._segment.release()
            self._segment = None
        return self._pool.take(self._progress.checkpoint), 0

    def _send(self, task: tuple[Any, ...]) -> None:
        self.check()
        self._put(task)

    def _send_chunk(
        self, pending: PendingChunks, segment: Segment, start: int, length: int, earlier: EarlierVersion | None
    ) -> None:
        with self._lock:
            pending.missing += 1
            pending.is_ready = False
        segment.hold()
        view = segment.view[start : start + length]
        tail = crypto.keyed_hash(self._keyring.tail_key, view[-_TAIL_BYTES:])[:_TAIL_LENGTH]
        base = earlier.base_for(tail) if earlier is not None and self._codec == compress.ZSTD else None
        hint = Hint(base, earlier) if earlier is not None and base is not None else None
        self._put((self._store_chunk, view, segment, pending, pending.sent, tail, hint))
        pending.sent += 1
        if pending.sent > _INLINE_ENTRIES:
            self._take_out(pending)
        self.check()

    def _put(self, task: tuple[Any, ...]) -> None:
        """Hand a task to the workers; while they are behind, look whether to stop."""
        while True:
            try:
                self._tasks.put(task, timeout=1)
                return
            except Full:
                self._progress.checkpoint()

    def _work(self) -> None:
        tools = compress.Compressor(self._codec), compress.Decompressor()
        while (task := self._tasks.get()) is not None:
            action, *arguments = task
            try:
                action(tools, *arguments)
            except BaseException as error:  # noqa: BLE001 - kept for the caller; the thread must go on emptying the queue
                self._error = self._error or error

    def _store_chunk(
        self,
        tools: Tools,
        view: memoryview,
        segment: Segment,
        pending: PendingChunks,
        place: int,
        tail: bytes,
        hint: Hint | None,
    ) -> None:
        try:
            if self._error is None:
                id = crypto.keyed_hash(self._id_key, view)
                self._store(tools, id, pack.DATA, view, hint)
                pending.entries[place] = Chunk(id, len(view), tail)
        finally:
            view.release()
            segment.release()
        with self._lock:
            pending.missing -= 1
            pending.is_ready = not pending.missing

    def _store_bundle(self, tools: Tools, bundle: list[tuple[bytes, Pending]]) -> None:
        if self._error is not None:
            return
        plain = b"".join(data for data, _ in bundle)
        id = crypto.keyed_hash(self._id_key, plain)
        self._store(tools, id, pack.DATA, plain)
        offset = 0
        for data, pending in bundle:
            pending.settle((contents.BUNDLE, id, offset))
            offset += len(data)

    def _store_all(self, tools: Tools, blobs: list[tuple[bytes, int, bytes]]) -> None:
        for id, type, plain in blobs:
            self._store(tools, id, type, plain)

    def _store(self, tools: Tools, id: bytes, type: int, plain: bytes | memoryview, hint: Hint | None = None) -> None:
        """Compress, prove that it decompresses, and seal into a pack for all destinations that lack the blob."""
        if self._error is not None:
            return
        lacking = self._claim(id)
        if not lacking:
            return
        form = None
        # What exists in any form is stored only in full: else two copies of two blobs could each lean on the other.
        if hint is not None and not any(copy.ever_had(id) for copy in self._copies):
            form = self._bases.difference(tools, memoryview(plain), hint, lacking)
        codec, payload, depth, base = form or _in_full(tools, plain)
        kind, suite = (box.DATA_PACK, self._suite) if type == pack.DATA else (box.TREE_PACK, self._suite or 1)
        open_pack = self._take(kind, suite, lacking)
        try:
            stored = open_pack.append(id, type, codec, len(plain), payload, depth=depth, base=base)
        except BaseException:
            open_pack.abandon()
            raise
        with self._lock:
            self.new_bytes += len(plain)
            self.stored_bytes += stored
            self.difference_bytes += stored if depth else 0
            if not open_pack.is_full:
                self._open_packs[kind, lacking].append(open_pack)
        if open_pack.is_full:
            self._seal(open_pack, lacking)
        self._progress.advance(stored=stored)

    def _claim(self, id: bytes) -> tuple[Copy, ...]:
        """The destinations that lack the blob, for the first worker that asks; none for every later one."""
        with self._lock:
            if id in self._claimed:
                return ()
            lacking = tuple(copy for copy in self._copies if copy.is_alive and not copy.has(id))
            if lacking:
                self._claimed.add(id)
            return lacking

    def _take(self, kind: int, suite: int, lacking: tuple[Copy, ...]) -> OpenPack:
        """An open pack for exactly these destinations: the one used last, so that small runs fill only one."""
        with self._lock:
            waiting = self._open_packs.setdefault((kind, lacking), [])
            if waiting:
                return waiting.pop()
        return OpenPack(self._keyring, kind, suite, self._spool)

    def _seal(self, open_pack: OpenPack, copies: tuple[Copy, ...]) -> None:
        try:
            sealed = SealedPack(open_pack.finish(), open_pack.path, len(copies))
        except BaseException:
            open_pack.abandon()
            raise
        for copy in copies:
            copy.send(sealed)


def _in_full(tools: Tools, plain: bytes | memoryview) -> Form:
    compressor, decompressor = tools
    codec, payload = compressor.compress(plain)
    # Of equal length, so startswith compares all; unlike == it needs no copy of a view.
    if codec and not decompressor.decompress(codec, bytes(payload), len(plain)).startswith(plain):
        raise Corrupt("A compressed blob did not decompress again.", hint="Check this machine's memory.")
    return Form(codec, payload)
