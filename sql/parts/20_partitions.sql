-- 20_partitions.sql
--		Partitions of the logs: made ahead, by UTC, a month, a week or a day long.
--
-- The period is a setting; what is there stays.  A partition begins and ends
-- where the period does, cut short by its neighbours, so that after a change of
-- the setting there is neither a gap nor an overlap.
--
-- A full month is named by year and month, everything else by its first day, so
-- no two have one name, and names sort as times do.

-- ── which there are ─────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._partition_around(log text, at timestamptz,
	OUT leaf regclass, OUT lower timestamptz, OUT upper timestamptz)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_partition_around';
REVOKE ALL ON FUNCTION agentpay._partition_around(text, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._partition_around(text, timestamptz) IS 'the partition of a log for that moment; leaf NULL: there is none, between lower and upper';

CREATE FUNCTION agentpay._partitions(log text)
	RETURNS TABLE (leaf regclass, lower timestamptz, upper timestamptz)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_partitions';
REVOKE ALL ON FUNCTION agentpay._partitions(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._partitions(text) IS 'the partitions of a log, the oldest first';

-- The partition for a moment: the one that there is, or the one to be made.
CREATE FUNCTION agentpay._partition_at(log text, at timestamptz,
	OUT is_made boolean, OUT name text, OUT lower timestamptz,
	OUT upper timestamptz)
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	period text := current_setting('agentpay.partition_period');
	there record;
	first timestamp;
	last timestamp;
BEGIN
	IF NOT isfinite(at) THEN
		RAISE EXCEPTION 'a partition needs a finite time'
			USING ERRCODE = 'datetime_field_overflow';
	END IF;
	SELECT * INTO there FROM agentpay._partition_around(log, at);
	is_made := there.leaf IS NOT NULL;
	first := there.lower AT TIME ZONE 'UTC';
	last := there.upper AT TIME ZONE 'UTC';
	IF NOT is_made THEN
		first := greatest(first, date_trunc(period, at AT TIME ZONE 'UTC'));
		last := least(last, date_trunc(period, at AT TIME ZONE 'UTC')
							+ ('1 ' || period)::interval);
	END IF;
	lower := first AT TIME ZONE 'UTC';
	upper := last AT TIME ZONE 'UTC';
	IF is_made THEN
		SELECT c.relname INTO name FROM pg_class c WHERE c.oid = there.leaf;
	ELSE
		name := log || to_char(first, CASE WHEN extract(day FROM first) = 1
				AND last = first + interval '1 month' THEN '_YYYY_MM'
			ELSE '_YYYY_MM_DD' END);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._partition_at(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._partition_at(text, timestamptz) IS 'name and bounds of a log''s partition for that moment, and whether it is there';

-- ── the maker ───────────────────────────────────────────────────────────────
-- Runs with the guards of src/evidence/guard.c lifted, as the extension's
-- owner; an inserting transaction may call it.
CREATE FUNCTION agentpay._make_partition(log text, at timestamptz) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_make_partition';
REVOKE ALL ON FUNCTION agentpay._make_partition(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._make_partition(text, timestamptz) IS 'makes the partition of a log for that moment, if it is missing';

-- The parent's lock serialises makers; what is there is looked up again under
-- it, by the relation cache, which does not depend on the transaction's
-- snapshot.  CREATE, then ATTACH: neither blocks those who append or read.
CREATE FUNCTION agentpay._build_partition(log text, at timestamptz)
	RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p record;
	leaf text;
	parent text := format('agentpay.%I', log);
	bound constant text := 'YYYY-MM-DD HH24:MI:SS+00';
	index_columns text;
	member_of name;
BEGIN
	SELECT * INTO p FROM agentpay._partition_at(log, at);
	IF p.is_made THEN
		RETURN;
	END IF;
	EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
	SELECT * INTO p FROM agentpay._partition_at(log, at);
	IF p.is_made THEN
		RETURN;
	END IF;
	leaf := format('agentpay.%I', p.name);

	EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING CONSTRAINTS'
				   ' INCLUDING STORAGE INCLUDING COMPRESSION)', leaf, parent);
	FOR index_columns IN
		SELECT format('(%s)', c) || coalesce(' WHERE ' || w, '')
		  FROM (VALUES
			('decisions', 'point, row_id', NULL),
			('decisions', 'decision_id', NULL), ('decisions', 'xid', NULL),
			('agent_calls', 'decision_id', NULL),
			('agent_calls', 'task_id', NULL), ('agent_calls', 'xid', NULL),
			('outcomes', 'point, row_id', NULL),
			('outcomes', 'outcome_id', NULL), ('outcomes', 'xid', NULL),
			('governance_log', 'object_kind, object', NULL),
			('governance_log', 'event_id', NULL),
			('governance_log', 'xid', NULL),
			('_tasks', 'task_id', NULL), ('_tasks', 'xid, task_id', NULL),
			('_tasks', 'decision_id', 'decide_by IS NOT NULL'),
			('_tasks', 'decide_by', 'decide_by IS NOT NULL')) AS i (l, c, w)
		 WHERE l = log
	LOOP
		EXECUTE format('CREATE INDEX ON %s %s', leaf, index_columns);
	END LOOP;
	EXECUTE format('CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON %s'
				   ' EXECUTE FUNCTION agentpay._refuse_change()', leaf);
	EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER agentpay_truncate',
				   leaf);
	EXECUTE format('ALTER TABLE %s OWNER TO %s', leaf,
				   (SELECT relowner::regrole FROM pg_class
					 WHERE oid = parent::regclass));
	-- inside some extension's script the leaf would become its member
	FOR member_of IN
		SELECT e.extname FROM pg_depend d
		  JOIN pg_extension e ON e.oid = d.refobjid
		 WHERE d.classid = 'pg_class'::regclass AND d.objid = leaf::regclass
		   AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	LOOP
		EXECUTE format('ALTER EXTENSION %I DROP TABLE %s', member_of, leaf);
	END LOOP;
	EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s'
				   ' FOR VALUES FROM (%L) TO (%L)', parent, leaf,
				   to_char(p.lower AT TIME ZONE 'UTC', bound),
				   to_char(p.upper AT TIME ZONE 'UTC', bound));
	PERFORM agentpay._govern('create', 'partition', p.name, NULL, NULL,
		jsonb_build_object('log', log,
			'from', to_char(p.lower AT TIME ZONE 'UTC', bound),
			'until', to_char(p.upper AT TIME ZONE 'UTC', bound)));
END$$;
REVOKE ALL ON FUNCTION agentpay._build_partition(text, timestamptz)
	FROM PUBLIC;

-- How far ahead partitions are made: this month and two more, this week and
-- four more, this day and seven more.
CREATE FUNCTION agentpay._partitions_until(periods_ahead int DEFAULT NULL)
	RETURNS timestamptz
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (date_trunc(p.period, agentpay._now() AT TIME ZONE 'UTC')
		+ (1 + coalesce(periods_ahead, p.ahead)) * ('1 ' || p.period)::interval)
		AT TIME ZONE 'UTC'
	  FROM (VALUES ('month', 2), ('week', 4), ('day', 7)) AS p (period, ahead)
	 WHERE p.period = current_setting('agentpay.partition_period')
$$;
REVOKE ALL ON FUNCTION agentpay._partitions_until(int) FROM PUBLIC;

CREATE FUNCTION agentpay._make_partitions() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	log text;
	at timestamptz;
	until timestamptz := agentpay._partitions_until();
BEGIN
	-- partitions without an identity are those of a copy; while this lock is
	-- held, nobody makes the extension anew
	LOCK TABLE agentpay._identity IN ACCESS SHARE MODE;
	IF agentpay._held() THEN
		RETURN;
	END IF;
	-- logs in one order, so that two sessions cannot wait for each other
	FOREACH log IN ARRAY ARRAY['decisions', 'agent_calls', 'outcomes',
							   'governance_log', '_tasks']
	LOOP
		at := agentpay._now();
		WHILE at < until LOOP
			PERFORM agentpay._make_partition(log, at);
			at := (agentpay._partition_at(log, at)).upper;
		END LOOP;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._make_partitions() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._make_partitions() IS 'the partitions of every log from now on, as far ahead as they are kept; none where nothing has started';

-- For advice: those of this period and the next one that are not there.
CREATE FUNCTION agentpay._missing_partitions()
	RETURNS TABLE (name text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	log text;
	at timestamptz;
	p record;
BEGIN
	FOREACH log IN ARRAY ARRAY['decisions', 'agent_calls', 'outcomes',
							   'governance_log', '_tasks']
	LOOP
		at := agentpay._now();
		WHILE at < agentpay._partitions_until(1) LOOP
			SELECT * INTO p FROM agentpay._partition_at(log, at);
			IF NOT p.is_made THEN
				RETURN QUERY SELECT p.name;
			END IF;
			at := p.upper;
		END LOOP;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._missing_partitions() FROM PUBLIC;
