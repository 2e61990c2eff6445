-- What was set for tenants, and what is looked for by the clock: deadlines of jobs that nobody works on, flows that were
-- sent along and that no job needs any more, keys of requests whose job is forgotten.

-- Where nothing is said (NULL, or no row), what the configuration says holds. `tenants.max_running` and `max_queued` are
-- not read any more: they could not say that nothing was said.
CREATE TABLE IF NOT EXISTS tenant_limits (
  tenant      TEXT NOT NULL PRIMARY KEY,
  max_running INTEGER,
  max_queued  INTEGER
);
INSERT INTO tenant_limits (tenant, max_running, max_queued)
  SELECT tenant, NULLIF(max_running, 256), NULLIF(max_queued, 10000) FROM tenants
  WHERE max_running <> 256 OR max_queued <> 10000
  ON CONFLICT DO NOTHING;

CREATE INDEX IF NOT EXISTS jobs_deadline ON jobs(deadline_ms) WHERE finished_ms IS NULL AND deadline_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_sent_along ON jobs(hash) WHERE version IS NULL;
CREATE INDEX IF NOT EXISTS flow_versions_hash ON flow_versions(hash);
CREATE INDEX IF NOT EXISTS idempotency_object ON idempotency(object_id);
