-- 55_tasks.sql
--		Questions for agents: which ones wait, and how they end.
--
-- agentpay._tasks is insert-only, and has no status that changes.  A cursor
-- goes over it by transaction: `done` is a snapshot all of whose transactions
-- have been claimed, `upto` the snapshot that is being claimed now, in the
-- order of (xid, task_id), as far as the position.  So a long transaction
-- holds nobody up, and its tasks are found when it commits.
--
-- A claimed task of an agent that is called has a row in agentpay._task_work
-- until its decision is written, in the same transaction that deletes it:
-- leased: waiting for its turn or for another attempt, nothing is held for it,
-- and any dispatcher may send it;
-- sent: its bound is held, and the request may have been sent, by the
-- dispatcher whose lease it has; no other can settle or apply it.

CREATE TABLE agentpay._task_cursor (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	done pg_snapshot NOT NULL,
	upto pg_snapshot NOT NULL,
	xid xid8 NOT NULL,
	task_id bigint NOT NULL) WITH (fillfactor = 50);

CREATE TABLE agentpay._task_work (
	task_id bigint PRIMARY KEY,
	place bigint GENERATED ALWAYS AS IDENTITY,
	created_at timestamptz NOT NULL,
	agent text NOT NULL,
	state text NOT NULL CHECK (state IN ('leased','sent')),
	attempt int NOT NULL DEFAULT 0,
	run_after timestamptz,
	lease bigint,
	lease_until timestamptz,
	bound_cost numeric,
	spent numeric NOT NULL DEFAULT 0,
	sent_at timestamptz,
	CHECK ((state = 'sent') = (lease IS NOT NULL))) WITH (fillfactor = 50);
CREATE INDEX ON agentpay._task_work (agent, place);
COMMENT ON TABLE agentpay._task_work IS 'tasks between claim and decision';
COMMENT ON COLUMN agentpay._task_work.place IS 'in the order of the claims';
COMMENT ON COLUMN agentpay._task_work.attempt IS 'attempts so far';
COMMENT ON COLUMN agentpay._task_work.lease IS 'of the dispatcher that sent it; a stale one can neither settle nor apply';
COMMENT ON COLUMN agentpay._task_work.spent IS 'USD, by earlier attempts';

-- Each dispatcher has a row here, and holds a lock on its lease for as long as
-- it lives: whoever gets that lock may end what it had sent.
CREATE TABLE agentpay._dispatchers (
	lease bigint PRIMARY KEY,
	since timestamptz NOT NULL);
COMMENT ON TABLE agentpay._dispatchers IS 'leases of dispatchers that live, or whose calls are to be ended';

-- ── what is waiting ─────────────────────────────────────────────────────────
-- Tasks that the cursor has not reached, as far as this statement sees them;
-- without their rows, since readers of queue_status may call it themselves.
CREATE FUNCTION agentpay._queued_tasks()
	RETURNS TABLE (point text, agent text, created_at timestamptz,
				   decide_by timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	c agentpay._task_cursor;
	adopted_at timestamptz := (SELECT i.adopted_at FROM agentpay._identity i);
BEGIN
	SELECT * INTO c FROM agentpay._task_cursor;
	IF NOT FOUND THEN
		c.done := '1:1:';
		c.upto := '1:1:';
		c.xid := '0';
		c.task_id := 0;
	END IF;
	RETURN QUERY
	SELECT t.point, t.agent, t.created_at, t.decide_by FROM agentpay._tasks t
	 WHERE (t.xid >= pg_snapshot_xmax(c.done)
			OR t.xid = ANY (ARRAY(SELECT pg_snapshot_xip(c.done))))
	   AND NOT (pg_visible_in_snapshot(t.xid, c.upto)
				AND (t.xid, t.task_id) <= (c.xid, c.task_id))
	   -- a call of the function for each of many tasks takes seconds
	   AND (t.created_at > adopted_at OR agentpay._is_open(t));
END$$;
REVOKE ALL ON FUNCTION agentpay._queued_tasks() FROM PUBLIC;

-- The decision that ended a task; what came after it is marked as late.
CREATE FUNCTION agentpay._ending(t agentpay._tasks)
	RETURNS TABLE (decision_id uuid, decided_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT d.decision_id, d.decided_at FROM agentpay.decisions d
	 WHERE d.point = t.point AND d.row_id = t.row_id AND d.agent = t.agent
	   AND d.kind IN ('agent', 'fallback') AND d.decided_at >= t.created_at
	   AND d.detail ->> 'task_id' = t.task_id::text
	   AND NOT d.detail ? 'late'
	 LIMIT 1;
END$$;
REVOKE ALL ON FUNCTION agentpay._ending(agentpay._tasks) FROM PUBLIC;

-- Tasks from before adopt() came with a dump, and adopt() has closed them:
-- their transaction ids are another cluster's.  One whose decide_by has passed
-- may have been ended by the governor.
CREATE FUNCTION agentpay._is_open(t agentpay._tasks) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT t.created_at > (SELECT i.adopted_at FROM agentpay._identity i)
		   AND coalesce(t.decide_by > agentpay._now(), true)
		OR NOT EXISTS (SELECT FROM agentpay._ending(t)));
END$$;
REVOKE ALL ON FUNCTION agentpay._is_open(agentpay._tasks) FROM PUBLIC;

-- The next tasks in the cursor's order, those that are open; moves the cursor
-- past them.  One dispatcher at a time.  Without new tasks it writes nothing.
-- seen: how many there were; that none of many is open says nothing about the
-- next.
CREATE FUNCTION agentpay._next_tasks(max_tasks int, OUT seen int,
	OUT open_tasks agentpay._tasks[])
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c agentpay._task_cursor;
	batch agentpay._tasks[];
	known boolean;
	low xid8;
	adopted timestamptz := (SELECT i.adopted_at FROM agentpay._identity i);
BEGIN
	SELECT * INTO c FROM agentpay._task_cursor;
	known := FOUND;
	IF NOT known THEN
		c := ROW(true, '1:1:', '1:1:', '0', 0);
	END IF;
	IF c.done::text = c.upto::text THEN
		c.upto := pg_current_snapshot();
		c.xid := '0';
		c.task_id := 0;
	END IF;
	low := greatest(pg_snapshot_xmax(c.done), c.xid);
	IF pg_snapshot_xmin(c.done) = pg_snapshot_xmax(c.done) THEN
		-- none was under way: the first of the two below would give nothing
		SELECT array_agg(x ORDER BY x.xid, x.task_id) INTO batch
		  FROM (SELECT t.* FROM agentpay._tasks t
				 WHERE t.xid >= low AND (t.xid, t.task_id) > (c.xid, c.task_id)
				   AND pg_visible_in_snapshot(t.xid, c.upto)
				 ORDER BY t.xid, t.task_id LIMIT max_tasks) AS x;
	ELSE
		SELECT array_agg(x ORDER BY x.xid, x.task_id) INTO batch
		  FROM (SELECT u.* FROM (
				(SELECT t.* FROM agentpay._tasks t
				  WHERE t.xid = ANY (ARRAY(SELECT pg_snapshot_xip(c.done)))
					AND t.xid >= c.xid AND (t.xid, t.task_id) > (c.xid, c.task_id)
					AND pg_visible_in_snapshot(t.xid, c.upto)
				  ORDER BY t.xid, t.task_id LIMIT max_tasks)
				UNION ALL
				(SELECT t.* FROM agentpay._tasks t
				  WHERE t.xid >= low AND (t.xid, t.task_id) > (c.xid, c.task_id)
					AND pg_visible_in_snapshot(t.xid, c.upto)
				  ORDER BY t.xid, t.task_id LIMIT max_tasks)) AS u
			   ORDER BY u.xid, u.task_id LIMIT max_tasks) AS x;
	END IF;
	IF batch IS NULL THEN
		-- a full batch may have been the last one
		IF known AND (c.xid, c.task_id) <> ('0'::xid8, 0::bigint) THEN
			UPDATE agentpay._task_cursor k
			   SET done = c.upto, upto = c.upto, xid = '0', task_id = 0;
		END IF;
		seen := 0;
		open_tasks := '{}';
		RETURN;
	END IF;
	seen := cardinality(batch);
	IF seen < max_tasks THEN
		c.done := c.upto;
		c.xid := '0';
		c.task_id := 0;
	ELSE
		c.xid := (batch[max_tasks]).xid;
		c.task_id := (batch[max_tasks]).task_id;
	END IF;
	INSERT INTO agentpay._task_cursor SELECT c.*
		ON CONFLICT (one) DO UPDATE
	   SET done = excluded.done, upto = excluded.upto, xid = excluded.xid,
		   task_id = excluded.task_id;
	-- as _is_open() has it, which is asked about the rest
	open_tasks := ARRAY(SELECT t FROM unnest(batch) AS t
				   WHERE t.created_at > adopted
					 AND coalesce(t.decide_by > agentpay._now(), true)
					  OR agentpay._is_open(t)
				   ORDER BY t.xid, t.task_id);
END$$;
REVOKE ALL ON FUNCTION agentpay._next_tasks(int) FROM PUBLIC;

-- ── how tasks end ───────────────────────────────────────────────────────────
CREATE TYPE agentpay._task_end AS (
	task_id bigint, created_at timestamptz, decision_id uuid, failure text,
	verdict text, answer text, confidence real, score numeric, reasons text[],
	cost numeric, latency_ms double precision, detail jsonb);

-- Verdicts whose row somebody else had locked: tried again until decide_by.
CREATE TABLE agentpay._applies (
	task_id bigint PRIMARY KEY,
	ending agentpay._task_end NOT NULL);
COMMENT ON TABLE agentpay._applies IS 'answers that wait for their row; the call is recorded, the decision is not';
