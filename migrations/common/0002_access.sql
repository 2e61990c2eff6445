-- Who may call: keys with scopes, of one tenant each. Only their hashes are kept.
CREATE TABLE IF NOT EXISTS keys (
  key_id      TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  hash        TEXT NOT NULL,
  scopes      TEXT NOT NULL,                  -- space-separated
  created_ms  BIGINT NOT NULL,
  expires_ms  BIGINT,
  revoked_ms  BIGINT,
  used_ms     BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS keys_hash ON keys(hash);
CREATE INDEX IF NOT EXISTS keys_tenant ON keys(tenant);
