-- What processes that share the database know and nobody else does: random, made by whoever comes first.
CREATE TABLE IF NOT EXISTS shared_secrets (
  name    TEXT NOT NULL PRIMARY KEY,          -- `live`: lets a process hear what is told live in the jobs of another
  secret  TEXT NOT NULL                       -- hexadecimal digits
);
