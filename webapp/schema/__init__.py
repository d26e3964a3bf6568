"""The backup configuration: one document (JSON) for the CLI, the API, import, export and `configs/`.

`document.validate` checks it with pydantic. Everything else here works on plain dicts, so that a run starts fast:
`defaults` fills in what was left out, `resolve` replaces `${NAME}`, `redact` takes secrets out.
"""
