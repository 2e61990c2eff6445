-- What was spent on each day (UTC), and what may be: by tenants, and by their keys. Jobs are forgotten, and can be
-- deleted; what they spent is not.
CREATE TABLE IF NOT EXISTS spending (
  tenant  TEXT NOT NULL,
  key_id  TEXT NOT NULL,                      -- empty for jobs that were submitted without a key
  day_ms  BIGINT NOT NULL,
  tokens  BIGINT NOT NULL,
  cost    DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (tenant, key_id, day_ms)
);
CREATE INDEX IF NOT EXISTS spending_day ON spending(day_ms);

CREATE TABLE IF NOT EXISTS ceilings (
  tenant  TEXT NOT NULL,
  key_id  TEXT NOT NULL,                      -- empty for the tenant itself
  tokens  BIGINT,
  cost    DOUBLE PRECISION,
  PRIMARY KEY (tenant, key_id)
);
