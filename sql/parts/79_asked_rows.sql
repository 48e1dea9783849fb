-- 79_asked_rows.sql
--		Each payment that an agent was asked about, with all that reports want to
--		know of it, so that they need not join the logs.
--
-- _asked_rows has a row for each task, _call_rows one for each call.  What they
-- say comes from the log rows of the same payment and from nothing else: no
-- configuration, no clock.  So a row is right for as long as nothing is written
-- about its payment.
--
-- The governor makes the rows anew of payments about which something was
-- written since the last time (_asked_state.horizon, by the leaves' indexes on
-- xid).  A report does the same with what that snapshot did not see, in place
-- of the rows that are kept.  So it is exact at any moment, and without a
-- worker, only slower; a transaction that was open, however long it takes, is
-- found when it has committed.  A row may know more than the horizon saw: then
-- its payment is among those that are looked at again.  Only which tasks and
-- calls have a row goes by the horizon.
--
-- Nothing here is dumped; where xids mean nothing, or partitions go, the state
-- is deleted, and all is made anew (_refuse_change(), _lock_to_drop()).
--
-- Locks: who rolls holds _asked_state in SHARE ROW EXCLUSIVE mode to its
-- commit; who reads takes none.

-- ── the rows ────────────────────────────────────────────────────────────────
CREATE TABLE agentpay._asked_rows (
	id bigint GENERATED ALWAYS AS IDENTITY,
	task_id bigint NOT NULL,
	created_at timestamptz NOT NULL,
	point text NOT NULL,
	row_id text NOT NULL,
	agent text NOT NULL,
	agent_version int NOT NULL,
	repeat_no int NOT NULL,
	rules_id uuid NOT NULL,
	first_of_version boolean NOT NULL,
	first_of_agent boolean NOT NULL,
	occurred_at timestamptz,
	amount numeric,
	base_amount numeric,
	amount_lost numeric,
	confidence real,
	score numeric,
	calls bigint NOT NULL,
	cost numeric NOT NULL,
	row_cost numeric NOT NULL,
	said text NOT NULL);
-- times are only grouped by day or hour, which the planner does not see
ALTER TABLE agentpay._asked_rows ALTER created_at SET (n_distinct = 2000),
	ALTER occurred_at SET (n_distinct = 2000);
CREATE INDEX ON agentpay._asked_rows (row_id, point);
CREATE INDEX ON agentpay._asked_rows (id);
REVOKE ALL ON agentpay._asked_rows FROM PUBLIC;
COMMENT ON TABLE agentpay._asked_rows IS 'tasks, as far as they were rolled, with what the rules, the agent and the label said';
COMMENT ON COLUMN agentpay._asked_rows.first_of_version IS 'the task that counts of its row and agent version; first_of_agent: of its row and agent';
COMMENT ON COLUMN agentpay._asked_rows.occurred_at IS 'of the decision of rules that asked, as the amounts; NULL without one';
COMMENT ON COLUMN agentpay._asked_rows.amount_lost IS 'of the latest label';
COMMENT ON COLUMN agentpay._asked_rows.confidence IS 'of the decision that ended the task, as score';
COMMENT ON COLUMN agentpay._asked_rows.cost IS 'what calls of this task were charged; row_cost: those of all tasks of its row and agent';
COMMENT ON COLUMN agentpay._asked_rows.said IS 'all that has few values, so that rows are grouped by it: _said_texts.no, in text';

CREATE TABLE agentpay._said_texts (
	no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	said text NOT NULL);
CREATE INDEX ON agentpay._said_texts USING hash (said);
REVOKE ALL ON agentpay._said_texts FROM PUBLIC;
COMMENT ON TABLE agentpay._said_texts IS 'what _asked_query() puts together of all that has few values, each once';

CREATE TABLE agentpay._call_rows (
	id bigint GENERATED ALWAYS AS IDENTITY,
	called_at timestamptz NOT NULL,
	task_id bigint NOT NULL,
	attempt int NOT NULL,
	decision_id uuid,
	point text NOT NULL,
	row_id text NOT NULL,
	agent text NOT NULL,
	agent_version int NOT NULL,
	cost_center text NOT NULL,
	status text NOT NULL,
	input_tokens bigint,
	output_tokens bigint,
	bound numeric NOT NULL,
	queued_ms double precision,
	in_flight_at_start int,
	latency_ms double precision,
	reconciled boolean NOT NULL,
	cost numeric NOT NULL,
	works_for text NOT NULL,
	brought boolean NOT NULL,
	duplicate boolean NOT NULL,
	authority text,
	failure text,
	late boolean,
	repeat_no int,
	rules_verdict text);
ALTER TABLE agentpay._call_rows ALTER called_at SET (n_distinct = 2000);
CREATE INDEX ON agentpay._call_rows (row_id, point);
CREATE INDEX ON agentpay._call_rows (id);
REVOKE ALL ON agentpay._call_rows FROM PUBLIC;
COMMENT ON TABLE agentpay._call_rows IS 'calls, as far as they were rolled, with what became of them';
COMMENT ON COLUMN agentpay._call_rows.bound IS 'agent_calls.cost';
COMMENT ON COLUMN agentpay._call_rows.cost IS 'as far as it is known now';
COMMENT ON COLUMN agentpay._call_rows.works_for IS 'live, or shadow: the authority of the decision that it worked for, of a repeat that of the first answer; shadow while there is none';
COMMENT ON COLUMN agentpay._call_rows.brought IS 'a valid first answer';
COMMENT ON COLUMN agentpay._call_rows.duplicate IS 'an earlier task had asked the same';
COMMENT ON COLUMN agentpay._call_rows.authority IS 'of the decision that it led to, as the columns up to repeat_no';
COMMENT ON COLUMN agentpay._call_rows.rules_verdict IS 'what the rules had said, where that decision is live';

CREATE TABLE agentpay._asked_state (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot NOT NULL) WITH (fillfactor = 50);
REVOKE ALL ON agentpay._asked_state FROM PUBLIC;
COMMENT ON TABLE agentpay._asked_state IS 'what _asked_rows and _call_rows have seen; no row: nothing that counts';

-- What a call cost is corrected beside its log, which has no xid.
CREATE TABLE agentpay._asked_changes (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	task_id bigint NOT NULL);
REVOKE ALL ON agentpay._asked_changes FROM PUBLIC;
COMMENT ON TABLE agentpay._asked_changes IS 'tasks whose payments have to be looked at again';

CREATE FUNCTION agentpay._reconciliation_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO agentpay._asked_changes (task_id)
	SELECT x.task_id
	  FROM unnest(ARRAY[OLD.task_id, NEW.task_id]) AS x (task_id)
	 WHERE x.task_id IS NOT NULL;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._reconciliation_changed() FROM PUBLIC;
CREATE TRIGGER agentpay_asked AFTER INSERT OR UPDATE OR DELETE
	ON agentpay._reconciliations FOR EACH ROW
	EXECUTE FUNCTION agentpay._reconciliation_changed();
ALTER TABLE agentpay._reconciliations ENABLE ALWAYS TRIGGER agentpay_asked;

-- ── what is to be made anew ─────────────────────────────────────────────────
-- Rows of a table that belong to keys, which is a CTE: of few keys by the
-- table's index, which OFFSET 0 makes the planner use; of many by a hash join.
CREATE FUNCTION agentpay._of_keys(keys text, relation text, alias text,
	many boolean) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(CASE WHEN many THEN
		'agentpay.%2$I %3$I JOIN %1$I k ON k.row_id = %3$I.row_id'
		' AND k.point IS NOT DISTINCT FROM %3$I.point'
		ELSE '%1$I k CROSS JOIN LATERAL (SELECT * FROM agentpay.%2$I x'
		' WHERE x.point = k.point AND x.row_id = k.row_id OFFSET 0)'
		' AS %3$I' END, keys, relation, alias)
$$;
REVOKE ALL ON FUNCTION agentpay._of_keys(text, text, text, boolean)
	FROM PUBLIC;

-- Payments about which something was written between two snapshots; behind
-- WITH.
CREATE FUNCTION agentpay._changed_keys(since pg_snapshot, until pg_snapshot)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'keys AS MATERIALIZED (SELECT DISTINCT k.point, k.row_id FROM ('
		|| string_agg(format('SELECT l.point, l.row_id FROM agentpay.%I l'
			' WHERE %s UNION ALL ', log, agentpay._new('l', since, until)), '')
		|| 'SELECT c.point, c.row_id FROM agentpay._asked_changes x'
		' JOIN agentpay.agent_calls c ON c.task_id = x.task_id) AS k)'
	  FROM unnest('{decisions,_tasks,agent_calls,outcomes}'::text[]) AS log
$$;
REVOKE ALL ON FUNCTION agentpay._changed_keys(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- Whether anything was written between the two: to ask this first is cheaper
-- than to plan what finds nothing.
CREATE FUNCTION agentpay._is_written(since pg_snapshot, until pg_snapshot)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
	found_new boolean;
BEGIN
	EXECUTE (SELECT 'SELECT ' || string_agg(format('EXISTS (SELECT'
			' FROM agentpay.%I l WHERE %s) OR ', log,
			agentpay._new('l', since, until)), '')
		|| 'EXISTS (SELECT FROM agentpay._asked_changes)'
	  FROM unnest('{decisions,_tasks,agent_calls,outcomes}'::text[]) AS log)
	   INTO found_new;
	RETURN found_new;
END$$;
REVOKE ALL ON FUNCTION agentpay._is_written(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- Whether more than a slice was written between the two.
CREATE FUNCTION agentpay._is_many(since pg_snapshot, until pg_snapshot)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_rows bigint;
BEGIN
	IF since IS NULL AND until IS NULL THEN
		RETURN true;
	END IF;
	EXECUTE format('SELECT count(*) FROM (SELECT FROM agentpay.decisions d'
		' WHERE %s LIMIT 100000) AS x', agentpay._new('d', since, until))
	   INTO found_rows;
	RETURN found_rows = 100000;
END$$;
REVOKE ALL ON FUNCTION agentpay._is_many(pg_snapshot, pg_snapshot) FROM PUBLIC;

-- What the log rows of these payments say, behind WITH: tasks and calls, those
-- that are kept and those that are new; dec, decisions of all but versions in
-- shadow; ends, of these the one that ended each task.
CREATE FUNCTION agentpay._asked_parts(keys text, since pg_snapshot,
	until pg_snapshot, many boolean) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN 'WITH ' || keys || format($q$, tasks AS MATERIALIZED (
	SELECT t.task_id, t.created_at, t.point, t.row_id, t.agent,
		   t.agent_version, t.repeat_no, t.decision_id AS rules_id
	  FROM agentpay._tasks t WHERE %s
	UNION ALL
	SELECT a.task_id, a.created_at, a.point, a.row_id, a.agent,
		   a.agent_version, a.repeat_no, a.rules_id
	  FROM %s WHERE %L),
called AS MATERIALIZED (
	SELECT c.called_at, c.task_id, c.attempt, c.decision_id, c.point, c.row_id,
		   c.agent, c.agent_version, c.cost_center, c.status, c.input_tokens,
		   c.output_tokens, c.cost AS bound, c.queued_ms, c.in_flight_at_start,
		   c.latency_ms
	  FROM agentpay.agent_calls c WHERE %s
	UNION ALL
	SELECT c.called_at, c.task_id, c.attempt, c.decision_id, c.point, c.row_id,
		   c.agent, c.agent_version, c.cost_center, c.status, c.input_tokens,
		   c.output_tokens, c.bound, c.queued_ms, c.in_flight_at_start,
		   c.latency_ms
	  FROM %s WHERE %L),
calls AS MATERIALIZED (
	SELECT c.*, r.task_id IS NOT NULL AS reconciled,
		   coalesce(r.true_cost, c.bound) AS cost
	  FROM called c
	  LEFT JOIN agentpay._reconciliations r
		ON r.task_id = c.task_id AND r.attempt = c.attempt)$q$,
			agentpay._new('t', since, until),
			agentpay._of_keys('keys', '_asked_rows', 'a', many), since IS NOT NULL,
			agentpay._new('c', since, until),
			agentpay._of_keys('keys', '_call_rows', 'c', many), since IS NOT NULL)
		|| format($q$,
asked_keys AS MATERIALIZED (
	SELECT t.point, t.row_id FROM tasks t
	UNION SELECT c.point, c.row_id FROM called c),
dec AS MATERIALIZED (
	SELECT d.decision_id, d.decided_at, d.point, d.row_id, d.kind,
		   d.authority, d.verdict, d.answer, d.assignment, d.repeat_no,
		   d.propensity, d.occurred_at, d.amount, d.base_amount, d.agent,
		   d.failure, d.confidence, d.score,
		   CASE WHEN d.kind IN ('agent', 'fallback')
				THEN (d.detail ->> 'task_id')::bigint END AS task_id,
		   coalesce(d.detail ? 'late', false) AS late, d.detail -> 'draw' AS draw
	  FROM %s
	 WHERE d.kind <> 'shadow_rules'),
ends AS MATERIALIZED (
	SELECT DISTINCT ON (d.row_id, d.agent, d.task_id)
		   d.task_id, d.row_id, d.agent, d.decision_id, d.kind, d.authority,
		   d.verdict, d.failure, d.assignment, d.confidence,
		   CASE WHEN d.kind = 'agent' THEN coalesce(d.answer, d.verdict)
				WHEN d.failure IN ('low_confidence', 'over_authority')
				THEN d.answer END AS valid_answer,
		   CASE WHEN d.kind = 'agent' THEN d.score END AS score
	  FROM dec d
	 WHERE d.kind IN ('agent', 'fallback') AND d.repeat_no = 0 AND NOT d.late
	 ORDER BY d.row_id, d.agent, d.task_id, d.decided_at, d.decision_id)$q$,
			agentpay._of_keys('asked_keys', 'decisions', 'd', many));
END$$;
REVOKE ALL ON FUNCTION agentpay._asked_parts(text, pg_snapshot, pg_snapshot,
	boolean) FROM PUBLIC;

-- Behind these, the rows without an id.
CREATE FUNCTION agentpay._asked_query(many boolean) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($q$WITH standing AS (
	SELECT DISTINCT ON (d.row_id, d.point) d.row_id, d.point, d.kind, d.verdict
	  FROM dec d
	 WHERE d.authority = 'live' AND d.kind IN ('rules', 'agent', 'human')
	   AND d.repeat_no = 0
	 ORDER BY d.row_id, d.point, d.kind = 'human' DESC, d.decided_at DESC,
		   d.decision_id DESC),
draws AS (
	SELECT d.row_id, d.point, jsonb_agg(jsonb_build_array(d.verdict,
				d.authority = 'live', d.draw -> 'decides',
				d.draw -> 'if_stopped')
			ORDER BY d.decided_at DESC, d.decision_id DESC) AS draws
	  FROM dec d
	 WHERE d.kind = 'agent' AND d.repeat_no = 0 AND d.draw IS NOT NULL
	   AND NOT d.late
	 GROUP BY 1, 2),
labels AS (
	SELECT DISTINCT ON (o.row_id, o.point) o.row_id, o.point, o.label,
		   o.source, o.amount_lost, bool_or(o.source IN ('chargeback',
				'representment')) OVER (PARTITION BY o.row_id, o.point)
			   AS disputed
	  FROM %s
	 ORDER BY o.row_id, o.point, o.observed_at DESC, o.outcome_id DESC),
charged AS (
	SELECT c.task_id, c.agent, count(*) AS calls, sum(c.cost) AS cost
	  FROM calls c GROUP BY 1, 2),
row_charged AS (
	SELECT c.row_id, c.point, c.agent, sum(c.cost) AS cost
	  FROM calls c GROUP BY 1, 2, 3)
SELECT NULL::bigint AS id, t.task_id, t.created_at, t.point, t.row_id, t.agent,
	   t.agent_version, t.repeat_no, t.rules_id,
	   t.repeat_no = 0 AND row_number() OVER (
			PARTITION BY t.row_id, t.point, t.agent, t.agent_version,
				t.repeat_no = 0 ORDER BY t.task_id) = 1
		   AS first_of_version,
	   t.repeat_no = 0 AND row_number() OVER (
			PARTITION BY t.row_id, t.point, t.agent, t.repeat_no = 0
			ORDER BY t.task_id) = 1 AS first_of_agent,
	   r.occurred_at, r.amount, r.base_amount, l.amount_lost, e.confidence,
	   e.score, coalesce(c.calls, 0) AS calls, coalesce(c.cost, 0) AS cost,
	   coalesce(h.cost, 0) AS row_cost,
	   -- of an explored row, verdict is what the column got
	   jsonb_build_array(t.point, t.agent, t.agent_version, t.repeat_no,
			r.propensity, r.assignment, r.verdict,
			coalesce(r.answer, r.verdict), e.kind, e.authority, e.verdict,
			e.valid_answer, e.failure, e.assignment, s.kind, s.verdict,
			w.draws, l.label, l.source, coalesce(l.disputed, false))::text
		   AS said
  FROM tasks t
  LEFT JOIN dec r ON r.decision_id = t.rules_id AND r.kind = 'rules'
  LEFT JOIN ends e
	ON e.task_id = t.task_id AND e.row_id = t.row_id AND e.agent = t.agent
  LEFT JOIN standing s ON s.row_id = t.row_id AND s.point = t.point
  LEFT JOIN draws w ON w.row_id = t.row_id AND w.point = t.point
  LEFT JOIN labels l ON l.row_id = t.row_id AND l.point = t.point
  LEFT JOIN charged c ON c.task_id = t.task_id AND c.agent = t.agent
  LEFT JOIN row_charged h
	ON h.row_id = t.row_id AND h.point = t.point AND h.agent = t.agent$q$,
		agentpay._of_keys('asked_keys', 'outcomes', 'o', many))
$$;
REVOKE ALL ON FUNCTION agentpay._asked_query(boolean) FROM PUBLIC;

CREATE FUNCTION agentpay._calls_query() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT $q$WITH
-- tasks that ask again, and the one whose answer counts
firsts AS (
	SELECT DISTINCT ON (r.task_id) r.task_id, f.task_id AS first_id
	  FROM tasks r
	  JOIN tasks f ON f.rules_id = r.rules_id AND f.repeat_no = 0
	   AND f.agent = r.agent
	 WHERE r.repeat_no > 0 ORDER BY r.task_id, f.task_id),
answered AS (
	SELECT c.*, d.authority, d.failure, d.late, d.repeat_no,
		   d.task_id AS answered_task,
		   min(c.task_id) FILTER (WHERE c.status = 'ok' AND d.repeat_no = 0)
				OVER w AS first_task,
		   max(c.task_id) FILTER (WHERE c.status = 'ok' AND d.repeat_no = 0)
				OVER w AS last_task
	  FROM calls c
	  LEFT JOIN dec d ON d.decision_id = c.decision_id
	WINDOW w AS (PARTITION BY c.row_id, c.point, c.agent, c.agent_version))
SELECT NULL::bigint, c.called_at, c.task_id, c.attempt, c.decision_id, c.point,
	   c.row_id, c.agent, c.agent_version, c.cost_center, c.status,
	   c.input_tokens, c.output_tokens, c.bound, c.queued_ms,
	   c.in_flight_at_start, c.latency_ms, c.reconciled, c.cost,
	   coalesce(e.authority, 'shadow'),
	   coalesce(c.status = 'ok' AND c.decision_id = e.decision_id
				AND e.valid_answer IS NOT NULL, false),
	   coalesce(c.first_task < c.last_task AND c.first_task < c.task_id, false),
	   c.authority, c.failure, c.late, c.repeat_no,
	   CASE WHEN c.authority = 'live' THEN coalesce(r.answer, r.verdict) END
  FROM answered c
  LEFT JOIN firsts f ON f.task_id = c.task_id
  LEFT JOIN ends e ON e.task_id = coalesce(f.first_id, c.task_id)
   AND e.row_id = c.row_id AND e.agent = c.agent
  LEFT JOIN tasks t ON t.task_id = c.answered_task AND t.row_id = c.row_id
  LEFT JOIN dec r ON r.decision_id = t.rules_id AND r.kind = 'rules'$q$
$$;
REVOKE ALL ON FUNCTION agentpay._calls_query() FROM PUBLIC;

-- What one snapshot saw and the other did not.
CREATE FUNCTION agentpay._made_asked(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._asked_rows
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_seqscan = on SET jit = off
AS $$
DECLARE
	many boolean;
BEGIN
	IF NOT agentpay._is_written(since, until) THEN
		RETURN;
	END IF;
	many := agentpay._is_many(since, until);
	RETURN QUERY EXECUTE agentpay._asked_parts(
			agentpay._changed_keys(since, until), since, until, many)
		|| ' SELECT q.* FROM (' || agentpay._asked_query(many) || ') AS q';
END$$;
REVOKE ALL ON FUNCTION agentpay._made_asked(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

CREATE FUNCTION agentpay._made_calls(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._call_rows
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_seqscan = on SET jit = off
AS $$
BEGIN
	IF NOT agentpay._is_written(since, until) THEN
		RETURN;
	END IF;
	RETURN QUERY EXECUTE agentpay._asked_parts(
			agentpay._changed_keys(since, until), since, until,
			agentpay._is_many(since, until))
		|| ' SELECT q.* FROM (' || agentpay._calls_query() || ') AS q';
END$$;
REVOKE ALL ON FUNCTION agentpay._made_calls(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- Rows that are kept, of payments about which something was written: their
-- keys, their ids; found_new: whether anything was written.
CREATE FUNCTION agentpay._outdated(since pg_snapshot, until pg_snapshot,
	OUT points text[], OUT row_ids text[], OUT asked bigint[],
	OUT calls bigint[], OUT found_new boolean)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_seqscan = on SET jit = off
AS $$
DECLARE
	many boolean;
BEGIN
	found_new := agentpay._is_written(since, until);
	IF NOT found_new THEN
		RETURN;
	END IF;
	many := agentpay._is_many(since, until);
	EXECUTE 'WITH ' || agentpay._changed_keys(since, until) || format($q$,
a AS MATERIALIZED (SELECT k.point, k.row_id, a.id FROM %s WHERE %L),
c AS MATERIALIZED (SELECT k.point, k.row_id, c.id FROM %s WHERE %L),
kept AS (SELECT a.point, a.row_id FROM a UNION SELECT c.point, c.row_id FROM c)
SELECT array_agg(k.point), array_agg(k.row_id), ARRAY(SELECT a.id FROM a),
	   ARRAY(SELECT c.id FROM c)
  FROM kept k$q$,
		agentpay._of_keys('keys', '_asked_rows', 'a', many), since IS NOT NULL,
		agentpay._of_keys('keys', '_call_rows', 'c', many), since IS NOT NULL)
	   INTO points, row_ids, asked, calls;
END$$;
REVOKE ALL ON FUNCTION agentpay._outdated(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- ── by the governor ─────────────────────────────────────────────────────────
-- As _roll_rules(): a slice, not in a transaction that has written already, and
-- not where rows come from another node.
CREATE FUNCTION agentpay._roll_asked() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_seqscan = on SET jit = off
AS $$
DECLARE
	since pg_snapshot;
	until pg_snapshot;
	is_slice boolean;
	many boolean;
	changes bigint[];
	old record;
BEGIN
	IF pg_current_xact_id_if_assigned() IS NOT NULL
	   OR agentpay._is_subscribed() THEN
		RETURN false;
	END IF;
	LOCK TABLE agentpay._asked_state IN SHARE ROW EXCLUSIVE MODE;
	SELECT s.horizon INTO since FROM agentpay._asked_state s;
	IF since IS NULL THEN
		DELETE FROM agentpay._asked_rows;
		DELETE FROM agentpay._call_rows;
		DELETE FROM agentpay._said_texts;
	END IF;
	SELECT u, agentpay._is_slice(u) INTO until, is_slice
	  FROM agentpay._slice_end(since, 'decisions', '_tasks', 'agent_calls',
							   'outcomes') AS u;
	changes := ARRAY(SELECT c.id FROM agentpay._asked_changes c);
	SELECT * INTO old FROM agentpay._outdated(since, until);
	IF NOT old.found_new AND NOT is_slice AND since IS NOT NULL THEN
		RETURN false;
	END IF;
	many := agentpay._is_many(since, until);
	EXECUTE agentpay._asked_parts('keys AS (SELECT k.point, k.row_id'
			' FROM unnest($1, $2) AS k (point, row_id))', since, until, many)
		|| ', made AS MATERIALIZED (' || agentpay._asked_query(many) || $q$),
new AS (
	INSERT INTO agentpay._said_texts (said)
	SELECT DISTINCT m.said FROM made m
	 WHERE NOT EXISTS (SELECT FROM agentpay._said_texts t
						WHERE t.said = m.said)
	RETURNING no, said),
put AS (
	INSERT INTO agentpay._asked_rows OVERRIDING USER VALUE
	SELECT m.id, m.task_id, m.created_at, m.point, m.row_id, m.agent,
		   m.agent_version, m.repeat_no, m.rules_id, m.first_of_version,
		   m.first_of_agent, m.occurred_at, m.amount, m.base_amount,
		   m.amount_lost, m.confidence, m.score, m.calls, m.cost, m.row_cost,
		   t.no::text
	  FROM made m
	  JOIN (SELECT k.no, k.said FROM agentpay._said_texts k
			UNION ALL TABLE new) AS t ON t.said = m.said)
INSERT INTO agentpay._call_rows OVERRIDING USER VALUE $q$
		|| agentpay._calls_query()
	  USING old.points, old.row_ids;
	DELETE FROM agentpay._asked_rows a WHERE a.id = ANY (old.asked);
	DELETE FROM agentpay._call_rows a WHERE a.id = ANY (old.calls);
	DELETE FROM agentpay._asked_changes c WHERE c.id = ANY (changes);
	INSERT INTO agentpay._asked_state (horizon) VALUES (until)
		ON CONFLICT (one) DO UPDATE SET horizon = excluded.horizon;
	RETURN true;
END$$;
REVOKE ALL ON FUNCTION agentpay._roll_asked() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._roll_asked() IS 'brings _asked_rows and _call_rows up to now, or by a slice nearer to it; false: nothing was new';

-- ── for reports ─────────────────────────────────────────────────────────────
-- SECURITY DEFINER: whoever may read a report reads the logs through these, as
-- through a view; he may call them himself, so they keep back which payments
-- they are.
CREATE FUNCTION agentpay._new_asked() RETURNS SETOF agentpay._asked_rows
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 1000
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT m.id, NULL::bigint, m.created_at, m.point, NULL::text, m.agent,
		   m.agent_version, m.repeat_no, NULL::uuid, m.first_of_version,
		   m.first_of_agent, m.occurred_at, m.amount, m.base_amount,
		   m.amount_lost, m.confidence, m.score, m.calls, m.cost, m.row_cost,
		   m.said
  FROM agentpay._made_asked((SELECT s.horizon FROM agentpay._asked_state s),
								NULL) AS m;
END$$;
REVOKE ALL ON FUNCTION agentpay._new_asked() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._new_asked() IS 'rows in place of those that are not kept, or outdated';

CREATE FUNCTION agentpay._new_calls() RETURNS SETOF agentpay._call_rows
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 1000
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT m.id, m.called_at, NULL::bigint, m.attempt, NULL::uuid, m.point,
		   NULL::text, m.agent, m.agent_version, m.cost_center, m.status,
		   m.input_tokens, m.output_tokens, m.bound, m.queued_ms,
		   m.in_flight_at_start, m.latency_ms, m.reconciled, m.cost,
		   m.works_for, m.brought, m.duplicate, m.authority, m.failure, m.late,
		   m.repeat_no, m.rules_verdict
	  FROM agentpay._made_calls((SELECT s.horizon FROM agentpay._asked_state s),
								NULL) AS m;
END$$;
REVOKE ALL ON FUNCTION agentpay._new_calls() FROM PUBLIC;

CREATE FUNCTION agentpay._outdated_rows(of_calls boolean) RETURNS SETOF bigint
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 1000
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT u.id
	  FROM agentpay._asked_state s
	 CROSS JOIN LATERAL agentpay._outdated(s.horizon, NULL) AS o
	 CROSS JOIN LATERAL unnest(CASE WHEN of_calls THEN o.calls ELSE o.asked END)
			AS u (id);
END$$;
REVOKE ALL ON FUNCTION agentpay._outdated_rows(boolean) FROM PUBLIC;

-- Takes apart what jsonb_build_array() put together in _asked_query(): the
-- text itself, or its number.  SECURITY DEFINER as above.
CREATE FUNCTION agentpay._said(said text) RETURNS TABLE (point text,
	agent text, agent_version int, repeat_no int, propensity real,
	assignment text, given text, rules_verdict text, kind text, authority text,
	verdict text, valid_answer text, failure text, drawn_for text,
	standing_kind text, standing_verdict text, draws jsonb, label text,
	source text, disputed boolean)
	LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 1
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	j jsonb;
BEGIN
	IF starts_with($1, '[') THEN
		j := $1;
	ELSE
		SELECT t.said INTO j FROM agentpay._said_texts t
		 WHERE t.no = $1::bigint;
	END IF;
	RETURN QUERY SELECT j ->> 0, j ->> 1, (j ->> 2)::int, (j ->> 3)::int,
		(j ->> 4)::real, j ->> 5, j ->> 6, j ->> 7, j ->> 8, j ->> 9, j ->> 10,
		j ->> 11, j ->> 12, j ->> 13, j ->> 14, j ->> 15,
		nullif(j -> 16, 'null'), j ->> 17, j ->> 18, (j ->> 19)::boolean;
END$$;
REVOKE ALL ON FUNCTION agentpay._said(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._said(text) IS 'propensity, assignment, given (the verdict that the payment got) and rules_verdict are of the decision of rules that asked, NULL without one; kind to drawn_for (its assignment) of the decision that ended the task, NULL: open; valid_answer: JSON of the right shape with a verdict of the point, whatever became of it; standing: of the decision that stands; draws: answers of agents beyond shadow about the row, the latest first: verdict, whether it is live, decides, if_stopped; label: the latest one';

CREATE VIEW agentpay._asked AS
SELECT a.created_at, a.point, a.agent, a.agent_version, a.repeat_no,
	   a.first_of_version, a.first_of_agent, a.occurred_at, a.amount,
	   a.base_amount, a.amount_lost, a.confidence, a.score, a.calls, a.cost,
	   a.row_cost, a.said
  FROM agentpay._asked_rows a
 WHERE EXISTS (SELECT FROM agentpay._asked_state)
   AND NOT EXISTS (SELECT FROM agentpay._outdated_rows(false) AS o (id)
					WHERE o.id = a.id)
UNION ALL
SELECT a.created_at, a.point, a.agent, a.agent_version, a.repeat_no,
	   a.first_of_version, a.first_of_agent, a.occurred_at, a.amount,
	   a.base_amount, a.amount_lost, a.confidence, a.score, a.calls, a.cost,
	   a.row_cost, a.said
  FROM agentpay._new_asked() AS a;
REVOKE ALL ON agentpay._asked FROM PUBLIC;
COMMENT ON VIEW agentpay._asked IS '_asked_rows as of now';

CREATE VIEW agentpay._called AS
SELECT c.called_at, c.point, c.agent, c.agent_version, c.cost_center, c.status,
	   c.input_tokens, c.output_tokens, c.queued_ms, c.in_flight_at_start,
	   c.latency_ms, c.reconciled, c.cost, c.works_for, c.brought, c.duplicate,
	   c.authority, c.failure, c.late, c.repeat_no, c.rules_verdict
  FROM agentpay._call_rows c
 WHERE EXISTS (SELECT FROM agentpay._asked_state)
   AND NOT EXISTS (SELECT FROM agentpay._outdated_rows(true) AS o (id)
					WHERE o.id = c.id)
UNION ALL
SELECT c.called_at, c.point, c.agent, c.agent_version, c.cost_center, c.status,
	   c.input_tokens, c.output_tokens, c.queued_ms, c.in_flight_at_start,
	   c.latency_ms, c.reconciled, c.cost, c.works_for, c.brought, c.duplicate,
	   c.authority, c.failure, c.late, c.repeat_no, c.rules_verdict
  FROM agentpay._new_calls() AS c;
REVOKE ALL ON agentpay._called FROM PUBLIC;
COMMENT ON VIEW agentpay._called IS '_call_rows as of now';
