-- A tenant that nothing was said about has as long a queue as the configuration says: -1. What was 10,000, the default of
-- the column, was taken for that before, whoever had said it.
UPDATE tenants SET max_queued = -1 WHERE max_queued = 10000;
