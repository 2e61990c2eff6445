-- Rows that change in place several times get room for it; the journal is vacuumed as it grows.
ALTER TABLE jobs  SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE tasks SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE job_events SET (autovacuum_vacuum_insert_scale_factor = 0.1);
