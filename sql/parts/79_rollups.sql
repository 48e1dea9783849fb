-- 79_rollups.sql
--		What counts that the governor keeps have seen of the logs, and what they
--		have not.
--
-- What has been seen is a snapshot: a row is counted if its transaction (xid)
-- is visible there.  So a transaction that was open then, however long it
-- takes, is found later, by the leaves' indexes on xid.

-- The condition on xid that finds what the snapshot did not see.
CREATE FUNCTION agentpay._unseen(alias text, horizon pg_snapshot) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN horizon IS NULL THEN 'true' ELSE format(
		'(%1$I.xid >= %2$L OR %1$I.xid = ANY (%3$L::xid8[]))', alias,
		pg_snapshot_xmax(horizon), ARRAY(SELECT pg_snapshot_xip(horizon))) END
$$;
REVOKE ALL ON FUNCTION agentpay._unseen(text, pg_snapshot) FROM PUBLIC;

CREATE FUNCTION agentpay._seen(alias text, horizon pg_snapshot) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN horizon IS NULL THEN 'true' ELSE format(
		'pg_visible_in_snapshot(%I.xid, %L)', alias, horizon) END
$$;
REVOKE ALL ON FUNCTION agentpay._seen(text, pg_snapshot) FROM PUBLIC;

-- What the first did not see and the second one did, with both bounds for the
-- index on xid: of a backlog, a slice is read, not the rest.
CREATE FUNCTION agentpay._new(alias text, since pg_snapshot, until pg_snapshot)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN until IS NULL THEN agentpay._unseen(alias, since)
		   ELSE format('((%1$I.xid >= %2$L AND %1$I.xid < %3$L%4$s) AND %5$s)',
			alias, coalesce(pg_snapshot_xmax(since), '0'),
			pg_snapshot_xmax(until),
			(SELECT format(' OR %I.xid = ANY (%L::xid8[])', alias,
						   array_agg(x.xid))
			   FROM pg_snapshot_xip(since) AS x (xid) HAVING count(*) > 0),
			agentpay._seen(alias, until)) END
$$;
REVOKE ALL ON FUNCTION agentpay._new(text, pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- Up to where the governor counts at a time: this moment; of a log with more
-- new rows than that, to the end of the transaction that wrote the last one.
CREATE FUNCTION agentpay._slice_end(since pg_snapshot, VARIADIC logs text[])
	RETURNS pg_snapshot
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off
AS $$
DECLARE
	most constant int := 50000;
	now_seen constant pg_snapshot := pg_current_snapshot();
	behind xid8 := pg_snapshot_xmax(now_seen);
	log text;
	last xid8;
BEGIN
	FOREACH log IN ARRAY logs LOOP
		EXECUTE format('SELECT l.xid FROM agentpay.%I l WHERE l.xid >= %L'
			' ORDER BY l.xid OFFSET %s LIMIT 1', log,
			coalesce(pg_snapshot_xmax(since), '0'), most - 1) INTO last;
		IF last < behind THEN
			behind := (last::text::numeric + 1)::text::xid8;
		END IF;
	END LOOP;
	IF behind = pg_snapshot_xmax(now_seen) THEN
		RETURN now_seen;
	END IF;
	RETURN format('%s:%s:%s', least(pg_snapshot_xmin(now_seen), behind), behind,
		(SELECT string_agg(x.xid::text, ',' ORDER BY x.xid)
		   FROM pg_snapshot_xip(now_seen) AS x (xid) WHERE x.xid < behind));
END$$;
REVOKE ALL ON FUNCTION agentpay._slice_end(pg_snapshot, text[]) FROM PUBLIC;

-- Whether that snapshot is the end of a slice, with more behind it; to be asked
-- in the statement that makes it.
CREATE FUNCTION agentpay._is_slice(until pg_snapshot) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pg_snapshot_xmax(until) < pg_snapshot_xmax(pg_current_snapshot())
$$;
REVOKE ALL ON FUNCTION agentpay._is_slice(pg_snapshot) FROM PUBLIC;

-- A log that is filled from another node has that node's xids.
CREATE FUNCTION agentpay._is_subscribed() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM unnest(ARRAY['agentpay.decisions', 'agentpay._tasks',
				'agentpay.agent_calls', 'agentpay.outcomes']::regclass[])
			   AS l (log)
		 CROSS JOIN LATERAL pg_partition_tree(l.log) AS t
		  JOIN pg_subscription_rel s ON s.srrelid = t.relid)
$$;
REVOKE ALL ON FUNCTION agentpay._is_subscribed() FROM PUBLIC;
