"""Reading blobs back. Every plaintext that leaves this module has had its id computed again and compared."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

from engine import crypto
from engine.compress import ZSTD, BadFrame, Decompressor
from engine.errors import Corrupt, EngineError, Missing, NotFound, ShortRead, Truncated
from engine.model import content as contents
from engine.model import tree
from engine.model.content import Chunk, Content
from engine.model.tree import Node
from engine.repository import layout, pack
from engine.repository.box import NO_ID
from engine.repository.decoded import DecodedBases
from engine.repository.index import Location
from engine.repository.nearby import Nearby
from engine.repository.repository import Repository
from engine.repository.sections import load_sections
from engine.repository.table import ANY_DEPTH, IndexTable

# Plain bytes decoded ahead of a stream's consumer: enough to keep the threads busy, whatever the stream's size.
_AHEAD_BYTES = 32 << 20
_ZEROS_BYTES = 1 << 20
# Longer chains, which no writer makes, are decoded step by step.
_AT_ONCE_STEPS = 16
THREADS = os.cpu_count() or 1


class BlobReader:
    """Fetches and opens the blobs of one repository; safe to use from several threads.

    `bases` gives what differences lean on, from this repository unless somebody puts others in its place."""

    def __init__(self, repository: Repository, table: IndexTable, *, index_names: set[str] | None = None) -> None:
        """`index_names` are the index objects that `table` was loaded from, if it shall be loaded anew when others
        have taken their place."""
        self.repository = repository
        self.table = table
        self._local = threading.local()
        self._index_names = index_names
        self._refreshing = threading.Lock()
        self._nearby: Nearby | None = None
        self.bases = DecodedBases(self)

    def read_ahead(self) -> None:
        """From now on fetch differences together with those beside them, where that saves requests."""
        if self.repository.storage.requests_at_once > 1:
            self._nearby = Nearby(self.repository.storage.get)

    @property
    def threads(self) -> int:
        """How many threads make the best of this machine and of the way to the repository."""
        return max(THREADS, self.repository.storage.requests_at_once)

    def read(self, id: bytes, below: int = ANY_DEPTH) -> bytes:
        """The plaintext of a blob, from the first good one of its copies whose depth is below `below`.

        Raises Corrupt, whose name is the object that is damaged, be it that of a base; StorageError."""
        return self.locate(id, below)[1]

    def locate(self, id: bytes, below: int = ANY_DEPTH) -> tuple[Location, bytes]:
        """As `read`, with where the copy lies. Raises Corrupt, StorageError."""
        table = self.table
        try:
            return self._locate(id, below)
        except Missing:  # a clean-up may have put it into another pack since the index was loaded
            if not self._refresh(table):
                raise
            return self._locate(id, below)

    def _refresh(self, known: IndexTable) -> bool:
        """Whether there are other index objects by now than those of the table `known`; they are loaded then."""
        with self._refreshing:
            if self.table is not known:
                return True  # another thread was here first
            if self._index_names is None or self._index_names == set(self.repository.index_names()):
                return False
            fresh = open_reader(self.repository)
            self.table, self._index_names = fresh.table, fresh._index_names
            return True

    def _locate(self, id: bytes, below: int) -> tuple[Location, bytes]:
        damage: Corrupt = Missing(f"A blob is missing from {self.repository.describe()}.", name=f"blob {id.hex()}")
        for location in self.table.find_all(id):
            if location.entry.depth >= below:
                continue
            try:
                return location, self.fetch(location)
            except (Corrupt, ShortRead) as error:
                damage = error if isinstance(error, Corrupt) else Truncated(error.message, name=_name(location))
        raise damage

    def close(self) -> None:
        """Give up the connections of its storage, and memory."""
        self.repository.storage.close()
        self.bases.forget()

    def fetch(self, location: Location) -> bytes:
        """The plaintext of the blob at a place. Raises Corrupt, StorageError."""
        return self.open(location, self.sealed(location))

    def sealed(self, location: Location) -> bytes | memoryview:
        """The sealed bytes of the blob at a place. Raises Missing, StorageError."""
        name, entry, get = layout.pack(location.pack.name), location.entry, self.repository.storage.get
        try:
            if self._nearby is not None and location.base is not None:
                with suppress(ShortRead):  # a pack that is cut off somewhere may still hold this blob
                    return self._nearby.get(name, location.pack.size, entry.position, entry.stored)
            return get(name, entry.position, entry.stored)
        except NotFound:
            raise Missing(f"{name} is missing from {self.repository.describe()}.", name=name) from None

    def open(self, location: Location, sealed: bytes | memoryview, *, base: bytes | None = None) -> bytes:
        """The plaintext from the sealed bytes of a blob. Of a difference, `base` is the plaintext that it leans on,
        whose id was compared; it is read when it is not given. Raises Corrupt, StorageError."""
        name, entry, leans_on = layout.pack(location.pack.name), location.entry, location.base
        header, base_id = location.pack.header, NO_ID
        if leans_on is not None:
            base_id = leans_on.id
            base = self.bases.known(base_id) if base is None else base
            if base is None and (plain := self._at_once(location, sealed)) is not None:
                return plain
            base = self.bases.read(base_id, entry.depth) if base is None else base
        plain = pack.open_blob(header, entry, sealed, self._decompressor(), name=name, base=base_id, base_plain=base)
        if not self._is(location, plain):
            raise Corrupt(f"A blob in {name} is not what its id says.", name=name)
        return plain

    def _at_once(self, location: Location, sealed: bytes | memoryview) -> bytes | None:
        """The plaintext of a difference whose chain is decoded in one go. Only its own id is compared: had anything
        else been put in the place of a base, this one would come out as something else.

        None where it does not come out, for any reason. Step by step, each id compared, tells where the damage is, and
        other copies and places are tried."""
        assert location.base is not None
        leans_on = self.table.chain(location.base.id, below=location.entry.depth)
        steps = [location, *islice(leans_on, _AT_ONCE_STEPS)]
        if steps[-1].base is not None or steps[-1].entry.codec != ZSTD:
            return None
        with suppress(EngineError, BadFrame):
            frames = [self._payload(step, sealed if step is location else self.sealed(step)) for step in steps]
            plain = self._decompressor().follow(frames[::-1], [step.entry.plain for step in steps[::-1]])
            return plain if self._is(location, plain) else None
        return None

    def _payload(self, location: Location, sealed: bytes | memoryview) -> bytes:
        """A blob as it was compressed. Raises Corrupt."""
        base = NO_ID if location.base is None else location.base.id
        return pack.open_payload(location.pack.header, location.entry, sealed, name=_name(location), base=base)

    def _is(self, location: Location, plain: bytes) -> bool:
        """Whether it is what the id of the blob at a place says."""
        key = self._id_key(location.entry.type, location.pack.header.suite)
        return crypto.keyed_hash(key, plain) == location.entry.id

    def nodes(self, ids: bytes) -> Iterator[Node]:
        """The nodes of a directory whose tree blobs have these ids. Raises Corrupt, also for nodes out of order."""
        last = b""
        for id in contents.split_ids(ids):
            for node in tree.decode(self.read(id)):
                if node.name <= last:
                    raise Corrupt("A directory's record is not in order.", name=f"blob {id.hex()}")
                last = node.name
                yield node

    def chunks(self, content: Content) -> Iterator[Chunk]:
        """The entries of a chunked content. A bundle has none."""
        if content is None or content[0] == contents.BUNDLE:
            return
        if content[0] == contents.CHUNKS:
            yield from contents.unpack_entries(content[1])
            return
        for id in contents.split_ids(content[1]):
            yield from contents.unpack_entries(self.read(id))

    def stream(self, content: Content, size: int) -> Iterator[bytes]:
        """All bytes of a content, in order, decoded ahead by threads. Raises Corrupt when they are not `size`."""
        if content is not None and content[0] == contents.BUNDLE:
            yield self._from_bundle(content, size)
            return
        sent = 0
        for plain in self._ahead(self.chunks(content)):
            sent += len(plain)
            yield plain
        if sent != size:
            raise Corrupt(f"Content of {size} bytes came back as {sent} bytes.")

    def file(self, node: Node) -> Iterator[bytes]:
        """All bytes of a file, holes as zeros. Raises Corrupt."""
        if not node.holes:
            yield from self.stream(node.content, node.size)
            return
        holes, position = deque(node.holes), 0
        for plain in self.stream(node.content, node.size - sum(length for _, length in holes)):
            while holes and holes[0][0] == position:
                position += holes[0][1]
                yield from _zeros(holes.popleft()[1])
            position += len(plain)
            yield plain
        for _, length in holes:
            yield from _zeros(length)

    def slice(self, content: Content, size: int, offset: int, length: int) -> Iterator[bytes]:
        """`length` bytes from `offset`, reading only the chunks that hold them."""
        position, end = 0, offset + length
        wanted: list[Chunk] = []
        first = 0
        for chunk in self.chunks(content):
            if position + chunk.length > offset and position < end:
                first = position if not wanted else first
                wanted.append(chunk)
            position += chunk.length
        if end > size or position != size:
            raise Corrupt(f"Content of {size} bytes does not reach to byte {end}.")
        position = first
        for plain in self._ahead(iter(wanted)):
            yield plain[max(0, offset - position) : max(0, end - position)]
            position += len(plain)

    def _from_bundle(self, content: tuple[int, bytes, int] | tuple[int, bytes], size: int) -> bytes:
        _, id, offset = content  # type: ignore[misc]
        plain = self.read(id)[offset : offset + size]
        if len(plain) != size:
            raise Corrupt(f"A bundled file of {size} bytes came back as {len(plain)} bytes.", name=f"blob {id.hex()}")
        return plain

    def _ahead(self, chunks: Iterable[Chunk]) -> Iterator[bytes]:
        waiting: deque[tuple[Future[bytes], int]] = deque()
        held = 0
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            try:
                for chunk in chunks:
                    while waiting and held + chunk.length > _AHEAD_BYTES:
                        future, length = waiting.popleft()
                        held -= length
                        yield self._exactly(future.result(), length)
                    waiting.append((pool.submit(self.read, chunk.id), chunk.length))
                    held += chunk.length
                while waiting:
                    future, length = waiting.popleft()
                    yield self._exactly(future.result(), length)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _exactly(self, plain: bytes, length: int) -> bytes:
        if len(plain) != length:
            raise Corrupt(f"A chunk of {length} bytes came back as {len(plain)} bytes.")
        return plain

    def _id_key(self, type: int, suite: int) -> bytes:
        keyring = self.repository.keyring
        if type != pack.DATA:
            return keyring.tree_key
        return keyring.plain_key if suite == crypto.NONE else keyring.data_key

    def _decompressor(self) -> Decompressor:
        if not hasattr(self._local, "decompressor"):
            self._local.decompressor = Decompressor()
        made: Decompressor = self._local.decompressor
        return made


def _name(location: Location) -> str:
    return layout.pack(location.pack.name)


def _zeros(length: int) -> Iterator[bytes]:
    for start in range(0, length, _ZEROS_BYTES):
        yield bytes(min(_ZEROS_BYTES, length - start))


def open_reader(repository: Repository) -> BlobReader:
    """A reader over all blobs at a destination; where an index is damaged, packs tell themselves what they hold.

    Raises StorageError."""
    table, names = IndexTable(repository.keyring), set(repository.index_names())
    table.load(load_sections(repository, damage={}, absent=[]))
    reader = BlobReader(repository, table, index_names=names)
    reader.read_ahead()
    return reader
