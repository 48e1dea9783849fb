-- 50_control.sql
--		Kill switches and budgets: what stops a call, and what bounds its cost.
--
-- Locks, in this order: the kill lock, budgets by ascending key, rows.  They
-- are heavyweight locks in a key space that SQL cannot reach, held to the end
-- of the transaction; what a lock guards is read in a later statement.
--
-- Who reserves need not wait for the disk with the lock: before a call begins,
-- the worker waits until its commit is there, and those that counted on it
-- committed later.

-- ── kill switches ───────────────────────────────────────────────────────────
-- Exclusive to the commit of whoever flips a switch; those who dispatch or
-- apply hold it shared.  INSERT comes only from points and agents, disengaged.
CREATE FUNCTION agentpay._kill_lock() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_kill_lock';
REVOKE ALL ON FUNCTION agentpay._kill_lock() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._kill_lock() IS 'orders a kill with dispatch and apply: after its commit no call starts and nothing is applied';

CREATE TRIGGER agentpay_kill_lock BEFORE UPDATE OR DELETE
	ON agentpay.kill_switches
	FOR EACH STATEMENT EXECUTE FUNCTION agentpay._kill_lock();
ALTER TABLE agentpay.kill_switches
	ENABLE ALWAYS TRIGGER agentpay_kill_lock;

CREATE FUNCTION agentpay._killed(role text, point text, agent text)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT EXISTS (SELECT FROM agentpay.kill_switches k
		WHERE k.engaged
		  AND (k.scope = 'all' OR k.scope = 'role' AND k.target = $1
			   OR k.scope = 'point' AND k.target = $2
			   OR k.scope = 'agent' AND k.target = $3)));
END$$;
REVOKE ALL ON FUNCTION agentpay._killed(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._killed(text, text, text) IS 'whether a switch in scope is engaged; for a decision to call, ask under the kill lock';

-- Agents that a switch stops.
CREATE FUNCTION agentpay._killed_agents() RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- nearly always
	IF NOT EXISTS (SELECT FROM agentpay.kill_switches k WHERE k.engaged) THEN
		RETURN '{}';
	END IF;
	RETURN (
	SELECT coalesce(array_agg(a.name), '{}')
	  FROM agentpay.agents a
	  JOIN agentpay.decision_points p ON p.point = a.point
	 WHERE agentpay._killed(p.role, p.point, a.name));
END$$;
REVOKE ALL ON FUNCTION agentpay._killed_agents() FROM PUBLIC;

-- ── budgets: what is held and what was spent ────────────────────────────────
-- A row for each budget in scope of each attempt.  Open holds count until
-- they are settled; settled and uncertain ones until their window has passed,
-- and are deleted then: the record of what was spent is agent_calls.
CREATE TABLE agentpay._holds (
	hold_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	budget text NOT NULL,
	task_id bigint NOT NULL,
	attempt int NOT NULL,
	payment text,
	state text NOT NULL DEFAULT 'held' CHECK (state IN ('held','settled','uncertain')),
	bound_cost numeric NOT NULL CHECK (bound_cost >= 0),
	settled_cost numeric CHECK (settled_cost >= 0),
	held_at timestamptz NOT NULL,
	lease_until timestamptz,
	counts_until timestamptz NOT NULL,
	CHECK ((state = 'held') = (settled_cost IS NULL))) WITH (fillfactor = 50);
CREATE INDEX ON agentpay._holds (task_id, attempt);
CREATE INDEX ON agentpay._holds (budget, counts_until);
CREATE INDEX ON agentpay._holds (payment, budget) WHERE payment IS NOT NULL;
COMMENT ON TABLE agentpay._holds IS 'what each attempt may cost, has cost, or may have cost, in each budget';
COMMENT ON COLUMN agentpay._holds.payment IS 'table and row id; only in budgets per transaction';

-- Running totals of _holds, under the budget's lock; without what is still in
-- _budget_changes.  expired_until is the cursor of the sliding window: what
-- counted until then is no longer in the totals.  Each reservation writes a
-- version anew and deletes the one before it, so that the newest comes first in
-- the index, whatever an old snapshot keeps behind it; one is seen at a time.
CREATE TABLE agentpay._budget_totals (
	budget text NOT NULL,
	version bigint NOT NULL,
	settled numeric NOT NULL,
	held numeric NOT NULL,
	uncertain numeric NOT NULL,
	calls bigint NOT NULL,
	expired_until timestamptz NOT NULL,
	exhausted_by numeric,
	seen_xmax xid8 NOT NULL,
	seen_running xid8[] NOT NULL,
	PRIMARY KEY (budget, version));
COMMENT ON COLUMN agentpay._budget_totals.expired_until IS 'the budget''s clock: it goes back only by more than a minute, with what it counts';
COMMENT ON COLUMN agentpay._budget_totals.exhausted_by IS 'the bound that did not fit; NULL: not exhausted';
COMMENT ON COLUMN agentpay._budget_totals.seen_xmax IS 'changes of transactions below it have been taken in, but for those of seen_running';

-- What settlements changed, a row each for each budget, until the next
-- reservation takes it into the totals.  So whoever settles waits for no lock,
-- and nobody waits for his commit: until it is seen, the bound counts, which is
-- no less.
CREATE TABLE agentpay._budget_changes (
	budget text NOT NULL,
	xid xid8 NOT NULL,
	settled numeric NOT NULL,
	held numeric NOT NULL,
	uncertain numeric NOT NULL,
	calls bigint NOT NULL,
	earliest timestamptz NOT NULL);
CREATE INDEX ON agentpay._budget_changes (budget, xid);
COMMENT ON TABLE agentpay._budget_changes IS 'settlements that are not yet in _budget_totals';
COMMENT ON COLUMN agentpay._budget_changes.xid IS 'top-level transaction; what the last look saw as done is not looked at again';
COMMENT ON COLUMN agentpay._budget_changes.earliest IS 'the least counts_until of what was settled: where it is before the budget''s clock, it came late';

-- The totals of a budget as they are seen.  In the order of the index: a plan
-- that reads all of a budget's versions looks good while they are few.
CREATE FUNCTION agentpay._totals_of(name text)
	RETURNS SETOF agentpay._budget_totals
	LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT * FROM agentpay._budget_totals t WHERE t.budget = $1
	 ORDER BY t.version DESC LIMIT 1;
END$$;
REVOKE ALL ON FUNCTION agentpay._totals_of(text) FROM PUBLIC;

CREATE FUNCTION agentpay._lock_budgets(names text[]) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_lock_budgets';
REVOKE ALL ON FUNCTION agentpay._lock_budgets(text[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._lock_budgets(text[]) IS 'locks budgets to the end of the transaction, always in the same order';

CREATE FUNCTION agentpay._period_length(period text) RETURNS interval
	LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN CASE period WHEN 'minute' THEN interval '1 minute'
		WHEN 'hour' THEN interval '1 hour' WHEN 'day' THEN interval '24 hours'
		-- a payment's own budget is kept for as long
		ELSE interval '720 hours' END;
END$$;
REVOKE ALL ON FUNCTION agentpay._period_length(text) FROM PUBLIC;

-- What a budget is of changes before a reservation or after it, not between
-- what it finds to fit and what it holds.
-- What still counts in a budget counts as long as its new period says; what
-- counted longer goes on to, so that nothing leaves the window unseen.
CREATE FUNCTION agentpay._follow_period() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	names text[];
	longer text[];
BEGIN
	SELECT array_agg(n.name),
		   array_agg(n.name) FILTER (WHERE agentpay._period_length(n.period)
									 > agentpay._period_length(o.period))
	  INTO names, longer
	  FROM new_rows n JOIN old_rows o ON o.name = n.name
	 WHERE (n.scope, n.target, n.period, n.enabled)
		   <> (o.scope, o.target, o.period, o.enabled);
	IF names IS NULL THEN
		RETURN NULL;
	END IF;
	PERFORM agentpay._lock_budgets(names);
	UPDATE agentpay._holds h
	   SET counts_until = h.held_at + agentpay._period_length(n.period)
	  FROM new_rows n
	 WHERE n.name = ANY (longer) AND h.budget = n.name
	   AND h.counts_until < h.held_at + agentpay._period_length(n.period);
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._follow_period() FROM PUBLIC;
CREATE TRIGGER agentpay_period AFTER UPDATE ON agentpay.budgets
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION agentpay._follow_period();
ALTER TABLE agentpay.budgets ENABLE ALWAYS TRIGGER agentpay_period;

CREATE FUNCTION agentpay._in_scope(b agentpay.budgets, role text, point text,
	agent text, cost_center text) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN b.scope = 'all'
		OR b.target = CASE b.scope WHEN 'role' THEN role
			WHEN 'point' THEN point WHEN 'agent' THEN agent
			WHEN 'cost_center' THEN cost_center END;
END$$;
REVOKE ALL ON FUNCTION agentpay._in_scope(agentpay.budgets, text, text, text,
	text) FROM PUBLIC;

-- A clock that was ahead and is set back would keep budgets at the moment that
-- they have seen, and all that they count in it, until it comes again.  What was
-- held ahead counts from now on, for as long as it would have: nothing leaves a
-- window, and windows slide again.  The caller holds the budgets' locks.
CREATE FUNCTION agentpay._set_back(names text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment timestamptz := agentpay._now();
BEGIN
	RAISE LOG 'the clock was set back: budgets that were ahead go on from %',
		moment;
	UPDATE agentpay._holds h
	   SET held_at = moment, counts_until = moment + (h.counts_until - h.held_at)
	 WHERE h.budget = ANY (names) AND h.held_at > moment;
	UPDATE agentpay._budget_totals t SET expired_until = moment
	 WHERE t.budget = ANY (names) AND t.expired_until > moment;
END$$;
REVOKE ALL ON FUNCTION agentpay._set_back(text[]) FROM PUBLIC;

-- Takes in what was settled, and moves the windows on.  The caller holds the
-- budgets' locks.
CREATE FUNCTION agentpay._expire_holds(names text[]) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_expire_holds';
REVOKE ALL ON FUNCTION agentpay._expire_holds(text[]) FROM PUBLIC;

-- One attempt that wants to be made.
CREATE TYPE agentpay._reservation AS (
	task_id bigint, attempt int, bound numeric, role text, point text,
	agent text, cost_center text, payment text, lease_until timestamptz);

-- Holds what has room.  The caller holds the budgets' locks, and has found that
-- it fits.
CREATE FUNCTION agentpay._hold_all(wanted agentpay._reservation[],
	names text[]) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_hold_all';
REVOKE ALL ON FUNCTION agentpay._hold_all(agentpay._reservation[], text[])
	FROM PUBLIC;

-- Moves the windows on, and where all of a batch fits, in whatever order, holds
-- all of it.  The caller holds the budgets' locks.  False: something may not
-- fit, and nothing is held.
CREATE FUNCTION agentpay._reserve_all(wanted agentpay._reservation[],
	names text[]) RETURNS boolean
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_reserve_all';
REVOKE ALL ON FUNCTION agentpay._reserve_all(agentpay._reservation[], text[])
	FROM PUBLIC;

-- Holds each attempt's bound in every budget in scope, or in none: one that
-- does not fit is refused, never trimmed.  refused_by is the budget that had
-- no room, NULL for those that are held.  hopeless: it can never fit.
CREATE FUNCTION agentpay._reserve(wanted agentpay._reservation[])
	RETURNS TABLE (task_id bigint, attempt int, refused_by text,
				   on_exhausted text, hopeless boolean)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
	names text[];
	b agentpay.budgets[];
	used numeric[];
	calls bigint[];
	too_much numeric[];
	w agentpay._reservation;
	admitted agentpay._reservation[] := '{}';
	repeated boolean;	-- a payment is there twice
	spent numeric;
	made bigint;
BEGIN
	SELECT array_agg(x.name) INTO names FROM agentpay.budgets x
	 WHERE x.enabled AND EXISTS (
		SELECT FROM (SELECT DISTINCT w.role, w.point, w.agent, w.cost_center
					   FROM unnest(wanted) AS w) AS u
		 WHERE agentpay._in_scope(x, u.role, u.point, u.agent, u.cost_center));
	IF names IS NULL THEN
		RETURN QUERY SELECT u.task_id, u.attempt, NULL::text, NULL::text, false
					   FROM unnest(wanted) AS u;
		RETURN;
	END IF;
	PERFORM agentpay._lock_budgets(names);
	IF agentpay._reserve_all(wanted, names) THEN
		RETURN QUERY SELECT u.task_id, u.attempt, NULL::text, NULL::text, false
					   FROM unnest(wanted) AS u;
		RETURN;
	END IF;
	SELECT array_agg(x ORDER BY x.name),
		   array_agg(t.settled + t.held + t.uncertain ORDER BY x.name),
		   array_agg(t.calls ORDER BY x.name),
		   array_agg(NULL::numeric ORDER BY x.name),
		   array_agg(x.name ORDER BY x.name)
	  INTO b, used, calls, too_much, names
	  FROM agentpay.budgets x
	 CROSS JOIN LATERAL agentpay._totals_of(x.name) AS t
	 WHERE x.name = ANY (names) AND x.enabled;
	SELECT count(DISTINCT u.payment) < count(u.payment) INTO repeated
	  FROM unnest(wanted) AS u;

	FOREACH w IN ARRAY wanted LOOP
		task_id := w.task_id;
		attempt := w.attempt;
		refused_by := NULL;
		on_exhausted := NULL;
		hopeless := false;
		FOR i IN 1 .. coalesce(cardinality(b), 0) LOOP
			CONTINUE WHEN NOT agentpay._in_scope(b[i], w.role, w.point,
												 w.agent, w.cost_center);
			spent := used[i];
			made := calls[i];
			IF b[i].period = 'transaction' THEN
				SELECT coalesce(sum(coalesce(h.settled_cost, h.bound_cost)), 0),
					   count(*)
				  INTO spent, made FROM agentpay._holds h
				 WHERE h.payment = w.payment AND h.budget = b[i].name;
				IF repeated THEN
					SELECT spent + coalesce(sum(u.bound), 0), made + count(*)
					  INTO spent, made FROM unnest(admitted) AS u
					 WHERE u.payment = w.payment
					   AND agentpay._in_scope(b[i], u.role, u.point, u.agent,
											  u.cost_center);
				END IF;
			END IF;
			IF spent + w.bound > b[i].cap_cost OR made + 1 > b[i].cap_calls THEN
				refused_by := b[i].name;
				on_exhausted := b[i].on_exhausted;
				hopeless := coalesce(w.bound > b[i].cap_cost, false)
					OR coalesce(b[i].cap_calls = 0, false)
					OR b[i].period = 'transaction';
				IF b[i].period <> 'transaction' THEN
					too_much[i] := coalesce(least(too_much[i], w.bound),
											w.bound);
				END IF;
				EXIT;
			END IF;
		END LOOP;
		IF refused_by IS NULL THEN
			admitted := admitted || w;
			FOR i IN 1 .. coalesce(cardinality(b), 0) LOOP
				CONTINUE WHEN NOT agentpay._in_scope(b[i], w.role, w.point,
													 w.agent, w.cost_center);
				used[i] := used[i] + w.bound;
				calls[i] := calls[i] + 1;
			END LOOP;
		END IF;
		RETURN NEXT;
	END LOOP;

	PERFORM agentpay._note_exhausted(names, too_much);
	PERFORM agentpay._hold_all(admitted, names);
END$$;
REVOKE ALL ON FUNCTION agentpay._reserve(agentpay._reservation[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._reserve(agentpay._reservation[]) IS 'holds the bound of each attempt in every budget in scope, or refuses it; sum of settled + sum of held stays within the cap';

-- One event when a budget becomes exhausted; what did not fit then has to fit
-- again before the state ends.  too_much: the least bound that was refused.
CREATE FUNCTION agentpay._note_exhausted(names text[], too_much numeric[])
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	x record;
BEGIN
	FOR x IN
		SELECT b.*, u.bound, t.version, t.settled, t.held, t.uncertain,
			   t.calls, t.exhausted_by
		  FROM unnest(names, too_much) AS u (name, bound)
		  JOIN agentpay.budgets b ON b.name = u.name
		 CROSS JOIN LATERAL agentpay._totals_of(b.name) AS t
		 WHERE (t.exhausted_by IS NULL) <> (u.bound IS NULL)
		 ORDER BY b.name
	LOOP
		IF x.bound IS NOT NULL THEN
			UPDATE agentpay._budget_totals t SET exhausted_by = x.bound
			 WHERE t.budget = x.name AND t.version = x.version;
			PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
				'agentpay', 'exhausted', 'budget', x.name,
				'what was asked for does not fit', NULL,
				jsonb_build_object('cap_cost', x.cap_cost,
					'cap_calls', x.cap_calls, 'settled', x.settled,
					'held', x.held, 'uncertain', x.uncertain,
					'calls', x.calls, 'bound', x.bound,
					'on_exhausted', x.on_exhausted),
				NULL)::agentpay.governance_log);
		ELSIF coalesce(x.settled + x.held + x.uncertain + x.exhausted_by
					   <= x.cap_cost, true)
			  AND coalesce(x.calls < x.cap_calls, true) THEN
			UPDATE agentpay._budget_totals t SET exhausted_by = NULL
			 WHERE t.budget = x.name AND t.version = x.version;
		END IF;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._note_exhausted(text[], numeric[]) FROM PUBLIC;

-- How an attempt ended: settled at its true cost, released (it was never
-- made), or uncertain (it may have been charged: cost is its bound).
CREATE TYPE agentpay._settlement AS (
	task_id bigint, attempt int, state text, cost numeric);

-- Takes no budget's lock.  What settles after its window has passed is taken
-- out with the change that says so, and counts nowhere any more.
CREATE FUNCTION agentpay._settle(ended agentpay._settlement[]) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_settle';
REVOKE ALL ON FUNCTION agentpay._settle(agentpay._settlement[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._settle(agentpay._settlement[]) IS 'turns holds into what was spent, in the window that they were reserved in';

-- on_exhausted = kill: the switch of the budget's scope, in its own statement.
CREATE FUNCTION agentpay._engage_for(budget_name text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	UPDATE agentpay.kill_switches k
	   SET engaged = true, reason = format('budget %I is exhausted', b.name)
	  FROM agentpay.budgets b
	 WHERE b.name = budget_name
	   AND (NOT k.engaged OR k.reason = 'kill drill')
	   AND (k.scope = b.scope AND k.target = b.target
			OR b.scope = 'cost_center' AND k.scope = 'agent'
			   AND k.target IN (SELECT a.name FROM agentpay.agents a
								 WHERE a.cost_center = b.target));
END$$;
REVOKE ALL ON FUNCTION agentpay._engage_for(text) FROM PUBLIC;

-- ── views ───────────────────────────────────────────────────────────────────
-- The totals, with what was settled and less what has left the window since the
-- last reservation.
CREATE FUNCTION agentpay._budget_use(name text, period text)
	RETURNS TABLE (settled numeric, held numeric, uncertain numeric,
				   calls bigint)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off
	SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
	t agentpay._budget_totals;
	moment timestamptz;	-- once, so that the index is asked for it
BEGIN
	SELECT * INTO t FROM agentpay._totals_of($1);
	moment := greatest(t.expired_until, agentpay._now());
	RETURN QUERY
	SELECT coalesce(t.settled, 0) + c.settled - g.settled,
		   coalesce(t.held, 0) + c.held,
		   coalesce(t.uncertain, 0) + c.uncertain - g.uncertain,
		   coalesce(t.calls, 0) + c.calls - g.calls
	  FROM (SELECT coalesce(sum(x.settled), 0) AS settled,
				   coalesce(sum(x.held), 0) AS held,
				   coalesce(sum(x.uncertain), 0) AS uncertain,
				   coalesce(sum(x.calls), 0)::bigint AS calls,
				   min(x.earliest) AS earliest
			  FROM (SELECT * FROM agentpay._budget_changes u
					 WHERE u.budget = $1
					   AND u.xid >= coalesce(t.seen_xmax, '0')
					UNION ALL
					SELECT * FROM agentpay._budget_changes u
					 WHERE u.budget = $1 AND u.xid < t.seen_xmax
					   AND u.xid = ANY (t.seen_running)) AS x) AS c
	 CROSS JOIN LATERAL (
		SELECT count(*) AS calls,
			   coalesce(sum(h.settled_cost) FILTER (WHERE h.state = 'settled'),
						0) AS settled,
			   coalesce(sum(h.settled_cost) FILTER (WHERE h.state = 'uncertain'),
						0) AS uncertain
		  FROM agentpay._holds h
		 WHERE h.budget = $1 AND h.state <> 'held'
		   AND h.counts_until >= least(t.expired_until, c.earliest)
		   AND h.counts_until <= moment) AS g;
END$$;
REVOKE ALL ON FUNCTION agentpay._budget_use(text, text) FROM PUBLIC;

CREATE VIEW agentpay.budget_status AS
	SELECT b.name, b.scope, b.target, b.period, b.cap_cost, trim_scale(u.settled) AS settled,
		   trim_scale(u.held) AS held, trim_scale(u.uncertain) AS uncertain,
		   trim_scale(h.headroom) AS headroom,
		   round(CASE WHEN b.period = 'transaction' THEN NULL
				 ELSE greatest(100 * h.used / nullif(b.cap_cost, 0),
							   100.0 * u.calls / nullif(b.cap_calls, 0)) END, 2)
			   AS used_percent,
		   b.cap_calls, u.calls, trim_scale(round(h.burn, 9)) AS burn_per_hour,
		   CASE WHEN h.burn > 0 AND h.headroom / h.burn < 87600
				THEN make_interval(secs => (3600 * h.headroom
											/ h.burn)::double precision) END
			   AS exhausted_in,
		   CASE WHEN NOT b.enabled THEN 'disabled'
				WHEN b.period = 'transaction' THEN 'ok'
				WHEN x.exhausted_by IS NOT NULL
					 AND (h.used + x.exhausted_by > b.cap_cost
						  OR u.calls >= b.cap_calls) THEN 'exhausted'
				WHEN h.used >= b.cap_cost OR u.calls >= b.cap_calls
					THEN 'exhausted'
				WHEN 100 * h.used >= b.alert_percent * b.cap_cost
					 OR 100 * u.calls >= b.alert_percent * b.cap_calls
					THEN 'alert'
				ELSE 'ok' END AS state
	  FROM agentpay.budgets b
	 CROSS JOIN LATERAL agentpay._budget_use(b.name, b.period) AS u
	 CROSS JOIN LATERAL (
		SELECT u.settled + u.held + u.uncertain AS used,
			   CASE WHEN b.period <> 'transaction' AND b.cap_cost IS NOT NULL
					THEN greatest(b.cap_cost - u.settled - u.held
								  - u.uncertain, 0) END AS headroom,
			   (u.settled + u.held + u.uncertain) * 3600 / extract(epoch
					FROM agentpay._period_length(b.period)) AS burn) AS h
	  LEFT JOIN LATERAL agentpay._totals_of(b.name) AS x ON true;
REVOKE ALL ON agentpay.budget_status FROM PUBLIC;
COMMENT ON VIEW agentpay.budget_status IS 'each budget now: what is settled, held and uncertain in its window, and what is left. Per transaction: sums over the payments of 30 days, whose caps are each payment''s own';

CREATE VIEW agentpay.budget_holds AS
	SELECT h.hold_id, h.budget, h.task_id, h.attempt, h.state, h.bound_cost,
		   h.settled_cost, h.held_at, h.lease_until, h.counts_until
	  FROM agentpay._holds h;
REVOKE ALL ON agentpay.budget_holds FROM PUBLIC;
COMMENT ON VIEW agentpay.budget_holds IS 'holds that still count: open, settled, or uncertain, until their window passes';

CREATE VIEW agentpay.budget_invariant AS
	SELECT b.name, s.window_end, b.cap_cost, s.settled, s.held,
		   s.settled + s.held - b.cap_cost AS excess
	  FROM agentpay.budgets b
	 CROSS JOIN LATERAL (
		SELECT agentpay._now() AS window_end, u.settled + u.uncertain AS settled,
			   u.held
		  FROM agentpay._budget_use(b.name, b.period) AS u
		 WHERE b.period <> 'transaction'
		UNION ALL
		SELECT max(h.held_at),
			   coalesce(sum(h.settled_cost), 0),
			   coalesce(sum(h.bound_cost) FILTER (WHERE h.state = 'held'), 0)
		  FROM agentpay._holds h
		 WHERE b.period = 'transaction' AND h.budget = b.name
		   AND h.payment IS NOT NULL
		 GROUP BY h.payment) AS s
	 WHERE s.settled + s.held > b.cap_cost;
REVOKE ALL ON agentpay.budget_invariant FROM PUBLIC;
COMMENT ON VIEW agentpay.budget_invariant IS 'budgets beyond their cap: no row, unless a cap was lowered below what is spent, or a provider charged more than the bound';
