"""Links of the object store itself to one object of a bucket: whoever has one may fetch it until it ends."""

from __future__ import annotations

from engine.storage.s3 import S3Storage


def signed_url(storage: S3Storage, name: str, *, seconds: int, disposition: str) -> str:
    """A link that is good for `seconds`; the answer carries `disposition` as its Content-Disposition. Nothing is asked:
    the link is signed here, with the destination's own keys, and shows none of them but the id of the access key."""
    where = {"Bucket": storage.bucket, "Key": storage.key(name), "ResponseContentDisposition": disposition}
    url: str = storage.client.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)
    return url
