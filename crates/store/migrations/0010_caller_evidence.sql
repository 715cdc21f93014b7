-- Whether a key signs only what its caller has signed, too, with the key of the client certificate.
ALTER TABLE keys ADD COLUMN requires_caller_signature INTEGER NOT NULL DEFAULT 0
    CHECK (requires_caller_signature IN (0, 1));
