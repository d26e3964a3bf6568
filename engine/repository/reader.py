"""Reading blobs back. Every plaintext that leaves this module has had its id computed again and compared."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from engine import crypto
from engine.compress import Decompressor
from engine.errors import Corrupt, Missing, NotFound, Truncated
from engine.model import content as contents
from engine.model import tree
from engine.model.content import Chunk, Content
from engine.model.tree import Node
from engine.repository import box, layout, pack
from engine.repository.index import IndexTable, Location
from engine.repository.pack import PackInfo
from engine.repository.repository import Repository

# Plain bytes decoded ahead of a stream's consumer: enough to keep the threads busy, whatever the stream's size.
_AHEAD_BYTES = 32 << 20
_ZEROS_BYTES = 1 << 20
THREADS = os.cpu_count() or 1


class BlobReader:
    """Fetches and opens the blobs of one repository; safe to use from several threads."""

    def __init__(self, repository: Repository, table: IndexTable) -> None:
        self.repository = repository
        self.table = table
        self._local = threading.local()

    def read(self, id: bytes) -> bytes:
        """The plaintext of a blob, from the first good one of its copies. Raises Corrupt, StorageError."""
        damage: Corrupt = Missing(f"A blob is missing from {self.repository.describe()}.", name=f"blob {id.hex()}")
        for location in self.table.find_all(id):
            try:
                return self.fetch(location)
            except Corrupt as error:
                damage = error
        raise damage

    def fetch(self, location: Location) -> bytes:
        """The plaintext of the blob at a place."""
        name, entry = layout.pack(location.pack.name), location.entry
        try:
            sealed = self.repository.storage.get(name, entry.position, entry.stored)
        except NotFound:
            raise Missing(f"{name} is missing from {self.repository.describe()}.", name=name) from None
        return self.open(location, sealed)

    def open(self, location: Location, sealed: bytes | memoryview) -> bytes:
        """The plaintext from the sealed bytes of a blob. Raises Corrupt."""
        name, entry = layout.pack(location.pack.name), location.entry
        header = location.pack.header
        plain = pack.open_blob(header, entry, sealed, self._decompressor(), name=name)
        if crypto.keyed_hash(self._id_key(entry.type, header.suite), plain) != entry.id:
            raise Corrupt(f"A blob in {name} is not what its id says.", name=name)
        return plain

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
        with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
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


def _zeros(length: int) -> Iterator[bytes]:
    for start in range(0, length, _ZEROS_BYTES):
        yield bytes(min(_ZEROS_BYTES, length - start))


def open_reader(repository: Repository) -> BlobReader:
    """A reader over all blobs at a destination; where an index is damaged, packs tell themselves what they hold.

    Raises WrongKey, StorageError."""
    table = IndexTable(repository.keyring)
    table.load(load_sections(repository, damage=[]))
    return BlobReader(repository, table)


def load_sections(repository: Repository, *, damage: list[Corrupt]) -> list[PackInfo]:
    """What every existing pack holds, from the indexes and, for packs that none names, from their own directories.

    Damaged and missing objects are added to `damage`."""
    sections: list[PackInfo] = []
    present = repository.list_packs()
    for index_name in repository.index_names():
        try:
            sections.extend(repository.read_index(index_name))
        except Corrupt as error:
            damage.append(error)
    damage.extend(_absent(info, present) for info in sections if present.get(info.name) != info.size)
    sections = [info for info in sections if present.get(info.name) == info.size]
    indexed = {info.name for info in sections}
    for name, size in present.items():
        if name not in indexed:
            try:
                sections.append(read_section(repository, name, size))
            except NotFound:
                continue  # deleted since it was listed
            except Corrupt as error:
                damage.append(error)
    return sections


def _absent(info: PackInfo, present: dict[bytes, int]) -> Corrupt:
    name, size = layout.pack(info.name), present.get(info.name)
    if size is None:
        return Missing(f"{name} is not there.", name=name)
    return Truncated(f"{name} has {size} bytes instead of {info.size}.", name=name)


def read_section(repository: Repository, pack_name: bytes, size: int) -> PackInfo:
    """An index section made from the pack itself. Raises Corrupt, WrongKey, StorageError."""
    name, get = layout.pack(pack_name), repository.storage.get
    if size < box.HEADER_BYTES + pack.TRAILER_BYTES:
        raise Corrupt(f"{name} is cut off.", name=name)
    header = box.read_header(repository.keyring, get(name, 0, box.HEADER_BYTES), box.PACK_MAGIC, name)
    tail = get(name, size - pack.TRAILER_BYTES, pack.TRAILER_BYTES)
    position, length, plain_length = pack.read_trailer(tail, size, name)
    directory = pack.open_directory(header, position, get(name, position, length), plain_length, name)
    return PackInfo(pack_name, size, header.raw, directory)
