-- What goes out and what comes by the clock: webhooks with their deliveries, schedules; batches; feedback.
CREATE TABLE IF NOT EXISTS webhooks (
  webhook_id  TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL,
  url         TEXT NOT NULL,
  about       TEXT,
  events      TEXT NOT NULL,                  -- space-separated, e.g. `job.succeeded job.failed`
  secret      TEXT NOT NULL,                  -- signs, so it must be readable; never shown again
  old_secret  TEXT,                           -- signs too until `old_until_ms`, after a rotation
  old_until_ms BIGINT,
  disabled_ms BIGINT,
  disabled_why TEXT,
  created_ms  BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS webhooks_tenant ON webhooks(tenant);

CREATE TABLE IF NOT EXISTS deliveries (
  delivery_id TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL,
  webhook_id  TEXT NOT NULL,
  job_id      TEXT,
  url         TEXT NOT NULL,
  event       TEXT NOT NULL,
  body        TEXT NOT NULL,                  -- empty until the first attempt, which writes it; then never changed
  status      SMALLINT NOT NULL,              -- 0 pending 1 delivered 2 given up
  attempts    INTEGER NOT NULL DEFAULT 0,
  next_ms     BIGINT NOT NULL,
  owner       TEXT,
  last_status INTEGER,
  last_error  TEXT,
  created_ms  BIGINT NOT NULL,
  done_ms     BIGINT
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries(next_ms) WHERE status = 0;
CREATE INDEX IF NOT EXISTS deliveries_hook ON deliveries(webhook_id, created_ms DESC, delivery_id DESC);
CREATE INDEX IF NOT EXISTS deliveries_done ON deliveries(done_ms) WHERE done_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS schedules (
  schedule_id TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  cron        TEXT NOT NULL,
  zone        TEXT NOT NULL,                  -- IANA name
  request     TEXT NOT NULL,                  -- what is submitted: the body of POST /jobs
  catch_up    SMALLINT NOT NULL DEFAULT 1,    -- whether one firing that was missed is made up for
  next_ms     BIGINT,                         -- NULL while paused
  last_ms     BIGINT,
  last_job    TEXT,
  last_error  TEXT,
  created_ms  BIGINT NOT NULL,
  created_by  TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS schedules_name ON schedules(tenant, name);
CREATE INDEX IF NOT EXISTS schedules_due ON schedules(next_ms) WHERE next_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS batches (
  batch_id    TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL,
  n_jobs      INTEGER NOT NULL,
  labels      TEXT,
  created_ms  BIGINT NOT NULL,
  created_by  TEXT,
  cancelled_ms BIGINT
);
CREATE INDEX IF NOT EXISTS batches_tenant ON batches(tenant, created_ms DESC);

CREATE TABLE IF NOT EXISTS feedback (
  job_id      TEXT NOT NULL,
  feedback_id TEXT NOT NULL,
  tenant      TEXT NOT NULL,
  score       DOUBLE PRECISION,
  comment     TEXT,
  labels      TEXT,
  by_whom     TEXT,
  at_ms       BIGINT NOT NULL,
  PRIMARY KEY (job_id, feedback_id)
);
