-- The tables of the journal and of jobs; the same text for SQLite (3.35 or later) and PostgreSQL.
-- Ids are TEXT (prefixed UUIDv7), times BIGINT unix milliseconds, JSON is TEXT, bytes are BYTEA.

-- Flows as they were when jobs were submitted: the YAML with its sub-flows and prompts. Never changed.
CREATE TABLE IF NOT EXISTS bundles (
  hash        TEXT NOT NULL PRIMARY KEY,      -- hash of the compiled plan
  name        TEXT NOT NULL,
  sources     TEXT NOT NULL,                  -- {flow, flows: {name: yaml}, prompts: {path: text}}
  created_ms  BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS flow_versions (
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  version     INTEGER NOT NULL,               -- 1, 2, …
  hash        TEXT NOT NULL REFERENCES bundles(hash),
  etag        TEXT NOT NULL,                  -- hash of the YAML as it was given
  about       TEXT,
  created_ms  BIGINT NOT NULL,
  created_by  TEXT,
  PRIMARY KEY (tenant, name, version)
);

CREATE TABLE IF NOT EXISTS flows (
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  active      INTEGER NOT NULL,               -- the version that new jobs take
  updated_ms  BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);

CREATE TABLE IF NOT EXISTS workers (                        -- one heartbeat a process, not a job
  worker      TEXT NOT NULL PRIMARY KEY,      -- a new id at every start
  addr        TEXT,
  version     TEXT NOT NULL,
  slots       INTEGER NOT NULL,
  lease_ms    BIGINT NOT NULL,                -- lost when this lies before the database's now
  started_ms  BIGINT NOT NULL
);

-- What is small stands first: lists and searches read no further than they must.
CREATE TABLE IF NOT EXISTS jobs (
  job_id      TEXT NOT NULL PRIMARY KEY,
  tenant      TEXT NOT NULL,
  flow        TEXT NOT NULL,
  version     INTEGER,                        -- NULL for a flow that was sent along
  hash        TEXT NOT NULL,
  status      SMALLINT NOT NULL,              -- 0 queued 1 running 2 waiting 3 succeeded 4 failed 5 cancelled 6 timed_out
  priority    SMALLINT NOT NULL DEFAULT 0,    -- higher first
  wake_ms     BIGINT NOT NULL,                -- queued: not before; waiting: the earliest deadline of its waits
  owner       TEXT,                           -- workers.worker while running
  epoch       BIGINT NOT NULL DEFAULT 0,      -- +1 whenever the job changes hands
  claims      INTEGER NOT NULL DEFAULT 0,     -- claims since the last progress: what kills its workers is set aside
  wanted      SMALLINT NOT NULL DEFAULT 0,    -- bits: 1 cancel now, 2 cancel gracefully, 4 answers have come
  deadline_ms BIGINT,
  created_ms  BIGINT NOT NULL,
  started_ms  BIGINT,
  finished_ms BIGINT,
  session_id  TEXT,
  trace       TEXT,                           -- W3C traceparent of the submission
  batch_id    TEXT,
  retry_of    TEXT,
  created_by  TEXT,                           -- key id
  webhook     TEXT,
  labels      TEXT,
  usage       TEXT,
  progress    TEXT,
  error       TEXT,
  waits       TEXT,                           -- open waits while it waits
  request     TEXT NOT NULL,                  -- {inputs, seed, budget, cache, ...}; large inputs stand in blobs
  result      TEXT                            -- {outputs, absent}; large outputs stand in blobs
);
-- Ids are made in the order of time, so lists go by them.
CREATE INDEX IF NOT EXISTS jobs_ready    ON jobs(tenant, priority DESC, wake_ms) WHERE status = 0;
CREATE INDEX IF NOT EXISTS jobs_waiting  ON jobs(wake_ms) WHERE status = 2;
CREATE INDEX IF NOT EXISTS jobs_running  ON jobs(owner) WHERE status = 1;
CREATE INDEX IF NOT EXISTS jobs_wanted   ON jobs(owner) WHERE wanted <> 0;
CREATE INDEX IF NOT EXISTS jobs_listed   ON jobs(tenant, job_id);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs(tenant, status, job_id);
CREATE INDEX IF NOT EXISTS jobs_by_flow  ON jobs(tenant, flow, status, job_id);
CREATE INDEX IF NOT EXISTS jobs_batch    ON jobs(batch_id, job_id) WHERE batch_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_session  ON jobs(tenant, session_id, job_id) WHERE session_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_finished ON jobs(finished_ms) WHERE finished_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS job_labels (
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  value       TEXT NOT NULL,
  job_id      TEXT NOT NULL,
  PRIMARY KEY (tenant, name, value, job_id)
);
CREATE INDEX IF NOT EXISTS job_labels_of ON job_labels(job_id);

-- The journal. A row holds one or more records of a job in a row; its primary key is the fence: whoever has lost the
-- job collides at the next position.
CREATE TABLE IF NOT EXISTS job_events (
  job_id      TEXT NOT NULL,
  seq         BIGINT NOT NULL,                -- of the first record in the row
  n           INTEGER NOT NULL,               -- records in the row
  epoch       BIGINT NOT NULL,
  at_ms       BIGINT NOT NULL,
  body        TEXT NOT NULL,                  -- JSON array of records; what is large in them stands in blobs
  PRIMARY KEY (job_id, seq)
);

CREATE TABLE IF NOT EXISTS blobs (                          -- payloads over the inline limit, of one job, once each
  job_id      TEXT NOT NULL,
  hash        TEXT NOT NULL,
  size        BIGINT NOT NULL,
  codec       TEXT NOT NULL,                  -- 'zstd' or 'raw'
  body        BYTEA NOT NULL,
  PRIMARY KEY (job_id, hash)
);

CREATE TABLE IF NOT EXISTS answers (                        -- to waits: any process writes, the owner folds them into the journal
  job_id      TEXT NOT NULL,
  scope       TEXT NOT NULL,
  value       TEXT NOT NULL,
  by_whom     TEXT,
  at_ms       BIGINT NOT NULL,
  PRIMARY KEY (job_id, scope)
);

CREATE TABLE IF NOT EXISTS idempotency (
  tenant      TEXT NOT NULL,
  endpoint    TEXT NOT NULL,
  ikey        TEXT NOT NULL,
  body_hash   TEXT NOT NULL,
  object_id   TEXT NOT NULL,                  -- the job or batch that the first request made
  at_ms       BIGINT NOT NULL,
  PRIMARY KEY (tenant, endpoint, ikey)
);
CREATE INDEX IF NOT EXISTS idempotency_age ON idempotency(at_ms);

CREATE TABLE IF NOT EXISTS tasks (                          -- node executions that leave their owner: items of large eaches
  task_id     TEXT NOT NULL PRIMARY KEY,
  job_id      TEXT NOT NULL,
  hash        TEXT NOT NULL,                  -- bundle
  tenant      TEXT NOT NULL,
  job_owner   TEXT NOT NULL,                  -- who waits for it
  status      SMALLINT NOT NULL,              -- 0 ready 1 leased 2 done 4 cancelled
  owner       TEXT,
  epoch       BIGINT NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  input       TEXT NOT NULL,
  output      TEXT,
  created_ms  BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_ready  ON tasks(tenant, created_ms) WHERE status = 0;
CREATE INDEX IF NOT EXISTS tasks_leased ON tasks(owner) WHERE status = 1;
CREATE INDEX IF NOT EXISTS tasks_done   ON tasks(job_owner) WHERE status = 2;
CREATE INDEX IF NOT EXISTS tasks_of_job ON tasks(job_id);

CREATE TABLE IF NOT EXISTS tenants (
  tenant      TEXT NOT NULL PRIMARY KEY,
  weight      INTEGER NOT NULL DEFAULT 1,
  max_running INTEGER NOT NULL DEFAULT 256,
  max_queued  INTEGER NOT NULL DEFAULT 10000,
  per_minute  INTEGER,                        -- requests; NULL for what the configuration says
  vtime       BIGINT NOT NULL DEFAULT 0       -- what it was served, by its weight: the least served is next
);
