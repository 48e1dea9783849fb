-- A table of decisions like ours, for plain SQL: its columns, constraints and
-- defaults, its partitions, and the indexes of each, copied from ours so that
-- they cannot differ. No triggers.

SELECT agentpay._ensure_started();

CREATE TABLE bench.decisions (LIKE agentpay.decisions
	INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING STORAGE)
	PARTITION BY RANGE (decided_at);

DO $$
DECLARE
	leaf record;
BEGIN
	FOR leaf IN
		SELECT c.oid::regclass AS ours, format('bench.%I', c.relname) AS name,
			   pg_get_expr(c.relpartbound, c.oid) AS bound
		  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		 WHERE i.inhparent = 'agentpay.decisions'::regclass
	LOOP
		EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', leaf.name,
					   leaf.ours);
		EXECUTE format('ALTER TABLE bench.decisions ATTACH PARTITION %s %s',
					   leaf.name, leaf.bound);
	END LOOP;
END$$;
