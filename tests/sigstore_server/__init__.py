"""Sigstore on localhost: the token service of GitHub Actions, Fulcio with its certificate log, and Rekor.

It speaks the published interfaces as far as a client that signs and verifies needs them, and checks what it is sent, so that
the real client of Sigstore, unchanged, signs against it and verifies against its roots.

References:
    https://github.com/sigstore/fulcio/blob/main/fulcio.proto
    https://github.com/sigstore/rekor/blob/main/openapi.yaml
    https://www.rfc-editor.org/rfc/rfc6962
"""
