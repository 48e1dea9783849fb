-- 23_retention.sql
--		apply_retention(): drops partitions of the logs that are older than they
--		have to be kept.
--
-- A partition goes only when the Merkle log can do without its rows: each row is
-- what was sealed, and a signed checkpoint, the exported one where checkpoints
-- are exported, has them all.  The leaves and nodes stay, so that every proof
-- stays possible.  The drop is a row of governance_log, which names the leaves;
-- verify_log() takes it, and nothing else, for the reason that rows are missing.
-- When the partition goes that has this row, it is written once more.
--
-- Decisions go first: calls, labels and changes of the configuration are what
-- explains, judges and replays a decision, so they stay for as long as it does.
--
-- Locks.  The partition: SHARE while it is read, so that nothing comes.  DROP
-- needs ACCESS EXCLUSIVE on the partition and on the log itself, and whoever
-- waits for that holds up all who insert.  So all of them together are waited
-- for a tenth of a second at most; then all is given back for another try.

CREATE FUNCTION agentpay._judge_partition(log text, leaf regclass,
	covered bigint, OUT rows bigint, OUT unsealed bigint, OUT uncovered bigint,
	OUT changed bigint, OUT wrong uuid, OUT leaves jsonb)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_judge_partition';
REVOKE ALL ON FUNCTION agentpay._judge_partition(text, regclass, bigint)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._judge_partition(text, regclass, bigint) IS 'whether the rows of a partition are those that were sealed, and in which leaves: runs of the log''s leaves';

CREATE FUNCTION agentpay._kept_checkpoint(OUT tree_size bigint,
	OUT root_hash bytea, OUT problem text)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_kept_checkpoint';
REVOKE ALL ON FUNCTION agentpay._kept_checkpoint() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._kept_checkpoint() IS 'the checkpoint that outlives what it covers: the exported one, or the last one on record where none is exported';

-- A partition that is old enough; why NULL: it can go.
CREATE TYPE agentpay._old_partition AS (
	log text, leaf regclass, name text, lower timestamptz, upper timestamptz,
	rows bigint, leaves jsonb, why text, hint text);

-- ── what is still open ──────────────────────────────────────────────────────
-- What somebody still has to do about rows of a partition of decisions, calls
-- or tasks; NULL: nothing.
CREATE FUNCTION agentpay._open_work(p agentpay._old_partition,
	OUT why text, OUT hint text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n bigint;
	of_rows text := format('FROM %s d WHERE d.point = c.point'
						   ' AND d.row_id = c.row_id', p.leaf);
BEGIN
	SELECT count(*) INTO n
	  FROM (SELECT w.created_at AS at FROM agentpay._task_work w
			UNION ALL SELECT (y.ending).created_at FROM agentpay._applies y
			UNION ALL SELECT q.created_at FROM agentpay._queued_tasks() q) AS t
	 WHERE t.at >= p.lower AND t.at < p.upper;
	IF n > 0 THEN
		why := format('%s tasks have not ended', n);
		hint := 'SELECT * FROM agentpay.queue_status;';
		RETURN;
	END IF;
	SELECT count(*) INTO n FROM agentpay._holds h
	 WHERE h.state IN ('held', 'uncertain') AND EXISTS (
		SELECT FROM agentpay._tasks t
		 WHERE t.task_id = h.task_id AND t.created_at >= p.lower
		   AND t.created_at < p.upper);
	IF n > 0 THEN
		why := format('%s holds of budgets are open or uncertain', n);
		hint := 'SELECT agentpay.reconcile_hold(hold_id, true_cost => ..., reason => ''...'') FROM agentpay.budget_holds WHERE state = ''uncertain'';';
		RETURN;
	END IF;
	IF p.log <> 'decisions' THEN
		RETURN;
	END IF;
	EXECUTE 'SELECT count(*) FROM agentpay.cases c'
			' WHERE c.state <> ''closed'' AND EXISTS (SELECT ' || of_rows || ')'
	   INTO n;
	IF n > 0 THEN
		why := format('%s cases are open', n);
		hint := 'SELECT case_id, point, row_id FROM agentpay.cases WHERE state <> ''closed'' ORDER BY opened_at;';
		RETURN;
	END IF;
	EXECUTE 'SELECT count(*) FROM agentpay.actions c'
			' WHERE c.state = ''open'' AND EXISTS (SELECT ' || of_rows || ')'
	   INTO n;
	IF n > 0 THEN
		why := format('%s actions are open', n);
		hint := 'SELECT action_id, point, row_id FROM agentpay.actions WHERE state = ''open'' ORDER BY created_at;';
		RETURN;
	END IF;
	SELECT count(*) INTO n FROM agentpay._cases_failed f
	 WHERE f.decided_at >= p.lower AND f.decided_at < p.upper;
	IF n > 0 THEN
		why := format('%s cases could not be opened yet', n);
		hint := 'SELECT * FROM agentpay._cases_failed;';
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_work(agentpay._old_partition)
	FROM PUBLIC;

-- Labels that may still come, or that a feature still counts.
CREATE FUNCTION agentpay._open_labels(p agentpay._old_partition,
	OUT why text, OUT hint text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r record;
	found_one boolean;
BEGIN
	IF p.log = 'decisions' THEN
		FOR r IN SELECT d.point, d.label_maturity
				   FROM agentpay.decision_points d
				  WHERE p.upper > agentpay._now() - d.label_maturity
		LOOP
			EXECUTE format('SELECT EXISTS (SELECT FROM %s d WHERE d.point = $1)',
						   p.leaf) INTO found_one USING r.point;
			IF found_one THEN
				why := format('labels of point "%s" may come for %s', r.point,
							  r.label_maturity);
				hint := format('UPDATE agentpay.decision_points SET label_maturity = ... WHERE point = %L;',
							   r.point);
				RETURN;
			END IF;
		END LOOP;
	ELSIF p.log = 'outcomes' THEN
		SELECT f.point, f.name INTO r FROM agentpay.features f
		 WHERE f.from_table = 'agentpay.outcomes'::regclass
		   AND p.upper > agentpay._now() - coalesce(f.over, '0') - f.delay
		 ORDER BY f.point, f.name LIMIT 1;
		IF FOUND THEN
			why := format('feature "%s" of point "%s" counts its labels',
						  r.name, r.point);
			hint := format('SELECT over, delay FROM agentpay.features WHERE (point, name) = (%L, %L);',
						   r.point, r.name);
		END IF;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_labels(agentpay._old_partition)
	FROM PUBLIC;

-- Whether the rows are what was sealed, and under the checkpoint.
CREATE FUNCTION agentpay._judged(p agentpay._old_partition, covered bigint)
	RETURNS agentpay._old_partition
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	j record;
BEGIN
	SELECT * INTO j FROM agentpay._judge_partition(p.log, p.leaf, covered);
	p.rows := j.rows;
	p.leaves := j.leaves;
	IF j.changed > 0 THEN
		p.why := format('%s of its rows are not what was sealed, such as %s',
						j.changed, j.wrong);
		p.hint := 'SELECT * FROM agentpay.verify_log() WHERE NOT ok;';
	ELSIF j.unsealed > 0 THEN
		p.why := format('%s of its rows are not sealed', j.unsealed);
		p.hint := 'SELECT * FROM agentpay.verify_log() WHERE NOT ok; -- rows that somebody put there are never sealed';
	ELSIF j.uncovered > 0 THEN
		p.why := format('%s of its rows are behind the last checkpoint',
						j.uncovered);
		p.hint := 'SELECT last_error FROM agentpay.stat_workers WHERE worker = ''governor'';';
	END IF;
	RETURN p;
END$$;
REVOKE ALL ON FUNCTION agentpay._judged(agentpay._old_partition, bigint)
	FROM PUBLIC;

-- ── locks ───────────────────────────────────────────────────────────────────
-- False: somebody is using the partition.
CREATE FUNCTION agentpay._lock_old_partition(leaf regclass) RETURNS boolean
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
BEGIN
	EXECUTE format('LOCK TABLE ONLY %s IN SHARE MODE', leaf);
	RETURN true;
EXCEPTION WHEN lock_not_available THEN
	RETURN false;
END$$;
REVOKE ALL ON FUNCTION agentpay._lock_old_partition(regclass) FROM PUBLIC;

CREATE FUNCTION agentpay._lock_tree() RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_lock_tree';
REVOKE ALL ON FUNCTION agentpay._lock_tree() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._lock_tree() IS 'to the end of the transaction, nobody seals or signs';

-- What DROP will need, all or nothing.  First what only the governor holds:
-- it does so while it reads the logs.  Counts of what is dropped are begun anew.
-- Half of deadlock_timeout is less than anybody waits before he looks for a
-- deadlock with us, and becomes its victim.
CREATE FUNCTION agentpay._lock_to_drop(relations regclass[]) RETURNS boolean
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
DECLARE
	relation regclass;
	until timestamptz;
	left_ms int;
BEGIN
	LOCK TABLE agentpay._rule_rollup_state, agentpay._asked_state
		IN ROW EXCLUSIVE MODE;
	DELETE FROM agentpay._rule_rollup_state;
	DELETE FROM agentpay._asked_state;
	PERFORM agentpay._lock_tree();
	until := clock_timestamp() + least(interval '100 ms',
		current_setting('deadlock_timeout')::interval / 2);
	FOREACH relation IN ARRAY relations LOOP
		left_ms := 1000 * extract(epoch FROM until - clock_timestamp());
		PERFORM set_config('lock_timeout', greatest(left_ms, 1) || 'ms', true);
		EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', relation);
	END LOOP;
	RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
	RETURN false;
END$$;
REVOKE ALL ON FUNCTION agentpay._lock_to_drop(regclass[]) FROM PUBLIC;

-- ── dropping ────────────────────────────────────────────────────────────────
-- Records the drop, and drops; what the partition itself says of earlier drops
-- is said again.
CREATE FUNCTION agentpay._drop_partition(p agentpay._old_partition,
	keep interval, tree_size bigint, root_hash bytea)
	RETURNS agentpay._old_partition
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	utc constant text := 'YYYY-MM-DD HH24:MI:SS+00';
BEGIN
	IF p.log = 'governance_log' THEN
		EXECUTE format('SELECT agentpay._govern(g.action, g.object_kind,'
			' g.object, g.reason, NULL, g.after || jsonb_build_object('
			' ''first_logged_at'', coalesce(g.after ->> ''first_logged_at'','
			' to_char(g.logged_at AT TIME ZONE ''UTC'', %L)),'
			' ''first_actor'', coalesce(g.after ->> ''first_actor'', g.actor)))'
			' FROM (SELECT g.* FROM %s g WHERE g.object_kind = ''partition'''
			' AND g.action = ''drop'' ORDER BY g.logged_at, g.event_id OFFSET 0)'
			' AS g', utc, p.leaf);
	END IF;
	PERFORM agentpay._govern('drop', 'partition', p.name,
		format('apply_retention(%L)', keep), NULL, jsonb_strip_nulls(
		jsonb_build_object('log', p.log,
			'from', to_char(p.lower AT TIME ZONE 'UTC', utc),
			'until', to_char(p.upper AT TIME ZONE 'UTC', utc),
			'rows', p.rows, 'leaves', p.leaves,
			'tree_size', CASE WHEN p.leaves IS NOT NULL THEN tree_size END,
			'root_hash', CASE WHEN p.leaves IS NOT NULL
							  THEN encode(root_hash, 'hex') END)));
	EXECUTE format('DROP TABLE %s', p.leaf);
	RETURN p;
EXCEPTION WHEN dependent_objects_still_exist THEN
	p.why := 'other objects depend on it';
	p.hint := format('SELECT classid::regclass, objid FROM pg_depend WHERE refobjid = ''agentpay.%I''::regclass;',
					 p.name);
	RETURN p;
END$$;
REVOKE ALL ON FUNCTION agentpay._drop_partition(agentpay._old_partition,
	interval, bigint, bytea) FROM PUBLIC;

-- ── apply_retention() ───────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_keep(keep interval) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now timestamptz := agentpay._now();
BEGIN
	IF keep IS NULL OR now - keep > now - interval '3 months' THEN
		PERFORM agentpay._refuse('22023',
			format('logs cannot be kept for %s only',
				   coalesce(keep::text, 'NULL')),
			'Three months are the least: that much must be at hand (PCI DSS 10.5.1).',
			'SELECT * FROM agentpay.apply_retention(keep => ''12 months'');');
	ELSIF now - keep > now - interval '12 months' THEN
		RAISE WARNING 'logs are kept for less than twelve months'
			USING DETAIL = format('PCI DSS 10.5.1 asks for twelve; keep is %s.', keep),
			HINT = 'ROLLBACK; takes it back, while the transaction is open.';
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_keep(interval) FROM PUBLIC;

-- The partitions that are older, decisions first; why some of them stay.
CREATE FUNCTION agentpay._old_partitions(keep interval, covered bigint,
	problem text) RETURNS agentpay._old_partition[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay._old_partition;
	old agentpay._old_partition[] := '{}';
	kept_from timestamptz;
	before timestamptz := agentpay._now() - keep;
BEGIN
	-- decisions that stay, and what they need
	SELECT min(d.lower) INTO kept_from FROM agentpay._partitions('decisions') d
	 WHERE d.upper > before;
	FOR p IN
		SELECT l.log, x.leaf, c.relname, x.lower, x.upper
		  FROM unnest(ARRAY['decisions', 'agent_calls', 'outcomes',
							'governance_log', '_tasks'])
			   WITH ORDINALITY AS l (log, ord)
		 CROSS JOIN LATERAL agentpay._partitions(l.log) AS x
		  JOIN pg_class c ON c.oid = x.leaf
		 WHERE x.upper <= before ORDER BY l.ord, x.lower
	LOOP
		IF p.log <> 'decisions' AND kept_from < p.upper THEN
			p.why := format('decisions since %s are kept, and need it',
							kept_from AT TIME ZONE 'UTC');
			p.hint := 'SELECT * FROM agentpay.apply_retention(); -- once they can go';
		ELSIF p.log <> '_tasks' AND problem IS NOT NULL THEN
			p.why := problem;
			p.hint := 'SELECT problem, fix FROM agentpay.advice WHERE object_kind IN (''checkpoint'', ''setting'');';
		ELSIF NOT agentpay._lock_old_partition(p.leaf) THEN
			p.why := 'somebody is using it';
			p.hint := 'SELECT pid, query FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE relation = '
				|| p.leaf::oid || ');';
		ELSE
			SELECT o.why, o.hint INTO p.why, p.hint
			  FROM agentpay._open_work(p) AS o;
			IF p.why IS NULL THEN
				SELECT o.why, o.hint INTO p.why, p.hint
				  FROM agentpay._open_labels(p) AS o;
			END IF;
			IF p.why IS NULL AND p.log <> '_tasks' THEN
				p := agentpay._judged(p, covered);
			END IF;
		END IF;
		IF p.rows IS NULL THEN
			EXECUTE format('SELECT count(*) FROM %s', p.leaf) INTO p.rows;
		END IF;
		IF p.log = 'decisions' AND p.why IS NOT NULL THEN
			kept_from := least(kept_from, p.lower);
		END IF;
		old := old || p;
	END LOOP;
	RETURN old;
END$$;
REVOKE ALL ON FUNCTION agentpay._old_partitions(interval, bigint, text)
	FROM PUBLIC;

-- Drops those that can go, in a moment in which nobody uses them; returns all
-- again.  What was opened since is looked at once more, now that nobody can
-- read or write the logs.
CREATE FUNCTION agentpay._drop_partitions(old agentpay._old_partition[],
	keep interval, tree_size bigint, root_hash bytea)
	RETURNS agentpay._old_partition[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- the session's lock_timeout, or a minute
	deadline timestamptz := clock_timestamp() + coalesce(nullif(
		current_setting('lock_timeout')::interval, '0'), '1 minute');
	relations regclass[] := ARRAY(
		SELECT r.relation
		  FROM (SELECT DISTINCT ('agentpay.' || o.log)::regclass AS relation,
					   NULL::bigint AS ord
				  FROM unnest(old) AS o WHERE o.why IS NULL
				UNION ALL
				SELECT o.leaf, o.ord FROM unnest(old) WITH ORDINALITY
						AS o (log, leaf, name, lower, upper, rows, leaves, why,
							  hint, ord)
				 WHERE o.why IS NULL) AS r
		 ORDER BY r.ord NULLS FIRST, r.relation);
	locked boolean := cardinality(relations) = 0;
	kept_from timestamptz;
	p agentpay._old_partition;
BEGIN
	WHILE NOT locked LOOP
		locked := agentpay._lock_to_drop(relations);
		EXIT WHEN locked OR clock_timestamp() > deadline;
		PERFORM pg_sleep(0.4);
	END LOOP;
	FOR i IN 1 .. cardinality(old) LOOP
		p := old[i];
		CONTINUE WHEN p.why IS NOT NULL;
		IF NOT locked THEN
			p.why := 'the logs are in use';
			p.hint := 'SELECT * FROM agentpay.apply_retention(); -- when long reports, dumps and transactions have ended';
		ELSIF p.log <> 'decisions' AND kept_from < p.upper THEN
			p.why := 'decisions are kept, and need it';
		ELSE
			SELECT o.why, o.hint INTO p.why, p.hint
			  FROM agentpay._open_work(p) AS o;
			IF p.why IS NULL THEN
				p := agentpay._drop_partition(p, keep, tree_size, root_hash);
			END IF;
		END IF;
		IF p.log = 'decisions' AND p.why IS NOT NULL THEN
			kept_from := least(kept_from, p.lower);
		END IF;
		old[i] := p;
	END LOOP;
	RETURN old;
END$$;
REVOKE ALL ON FUNCTION agentpay._drop_partitions(agentpay._old_partition[],
	interval, bigint, bytea) FROM PUBLIC;

CREATE FUNCTION agentpay._retain(keep interval)
	RETURNS TABLE (log text, partition_name text, rows bigint, dropped boolean)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	kept record;
	old agentpay._old_partition[];
	p agentpay._old_partition;
BEGIN
	PERFORM agentpay._check_keep(keep);
	PERFORM agentpay._refuse_held();
	SELECT * INTO kept FROM agentpay._kept_checkpoint();
	old := agentpay._drop_partitions(
		agentpay._old_partitions(keep, kept.tree_size, kept.problem), keep,
		kept.tree_size, kept.root_hash);
	FOREACH p IN ARRAY old LOOP
		CONTINUE WHEN p.why IS NULL;
		RAISE NOTICE 'partition agentpay.% is kept: %', p.name, p.why
			USING HINT = coalesce(p.hint, '');
	END LOOP;
	RETURN QUERY
	SELECT o.log, o.name, o.rows, o.why IS NULL
	  FROM unnest(old) WITH ORDINALITY AS o
	 WHERE o.log <> '_tasks' ORDER BY o.ordinality;
END$$;
REVOKE ALL ON FUNCTION agentpay._retain(interval) FROM PUBLIC;

CREATE FUNCTION agentpay.apply_retention(keep interval DEFAULT '12 months')
	RETURNS TABLE (log text, partition_name text, rows bigint, dropped boolean)
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'agentpay_sql_apply_retention';
REVOKE ALL ON FUNCTION agentpay.apply_retention(interval) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.apply_retention(interval) IS 'drops partitions of the logs that lie wholly before now() - keep, where they are sealed, under a checkpoint, and nothing of them is open; each drop is recorded in governance_log. A notice says why one is kept';

-- ── what was dropped ────────────────────────────────────────────────────────
-- For errors about a decision that is not there.
CREATE FUNCTION agentpay._absence(decision_id uuid) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	leaf agentpay._leaves;
	g agentpay.governance_log;
BEGIN
	SELECT * INTO leaf FROM agentpay._leaves l
	 WHERE l.row_key = _absence.decision_id;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	SELECT e.* INTO g FROM agentpay.governance_log e
	 WHERE e.object_kind = 'partition' AND e.action = 'drop' AND EXISTS (
		SELECT FROM jsonb_array_elements(e.after -> 'leaves') AS r (run)
		 WHERE leaf.leaf_index BETWEEN (r.run ->> 0)::bigint
								   AND (r.run ->> 1)::bigint)
	   AND left(e.after ->> 'log', 1) = CASE leaf.log WHEN 'c' THEN 'a'
											   ELSE leaf.log::text END
	 LIMIT 1;
	IF FOUND THEN
		RETURN format('It was leaf %s of the Merkle log; its partition agentpay.%s was dropped by apply_retention(), as governance_log says: event %s.',
					  leaf.leaf_index, g.object, g.event_id);
	END IF;
	RETURN format('It is leaf %s of the Merkle log, and no retention has dropped it: SELECT * FROM agentpay.verify_log();',
				  leaf.leaf_index);
END$$;
REVOKE ALL ON FUNCTION agentpay._absence(uuid) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._absence(uuid) IS 'where a row is that no log has; NULL: it never was';

-- For errors about a row that has no decision.
CREATE FUNCTION agentpay._kept_since() RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(format(' apply_retention() dropped decisions from before %s.',
		max(g.after ->> 'until')), '')
	  FROM agentpay.governance_log g
	 WHERE g.object_kind = 'partition' AND g.action = 'drop'
	   AND g.after ->> 'log' = 'decisions'
	HAVING count(*) > 0
	 UNION ALL SELECT '' LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._kept_since() FROM PUBLIC;
