-- What was last taken from the folder of flows, so that a restart does not undo what was put or removed over the API.
CREATE TABLE IF NOT EXISTS folder_flows (
  tenant    TEXT NOT NULL,
  name      TEXT NOT NULL,
  hash      TEXT NOT NULL,                    -- of the compiled plan, as in flow_versions
  taken_ms  BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);
