-- 58_drill.sql
--		A kill switch tried out: what it takes until nothing happens any more.

CREATE FUNCTION agentpay._flip_apart(scope text, target text, engaged boolean)
	RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_flip_apart';
REVOKE ALL ON FUNCTION agentpay._flip_apart(text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._flip_apart(text, text, boolean) IS 'flips a switch as the session''s user, in a transaction of its own, and waits for its commit';

-- Agents that a switch of that scope and target stops.
CREATE FUNCTION agentpay._agents_under(scope text, target text) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(a.name), '{}')
	  FROM agentpay.agents a
	  JOIN agentpay.decision_points p ON p.point = a.point
	 WHERE $1 = 'all'
		OR $2 = CASE $1 WHEN 'role' THEN p.role WHEN 'point' THEN p.point
				WHEN 'agent' THEN a.name END
$$;
REVOKE ALL ON FUNCTION agentpay._agents_under(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_drill(scope text, target text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	k agentpay.kill_switches;
BEGIN
	SELECT * INTO k FROM agentpay.kill_switches x
	 WHERE x.scope = _check_drill.scope AND x.target = _check_drill.target;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42704', format('there is no kill switch %s',
				coalesce(concat_ws(' ', scope, nullif(target, '*')), 'NULL')),
			'Switches are ' || (
				SELECT string_agg(concat_ws(' ', x.scope,
						nullif(x.target, '*')), ', ' ORDER BY x.scope, x.target)
				  FROM agentpay.kill_switches x) || '.',
			'SELECT scope, target, engaged FROM agentpay.kill_switches;');
	ELSIF k.engaged THEN
		PERFORM agentpay._refuse('55000', format(
				'kill switch %s is engaged',
				concat_ws(' ', scope, nullif(target, '*'))),
			'There is nothing to try: nothing happens under it, and a drill would open it at its end.',
			format('UPDATE agentpay.kill_switches SET engaged = false WHERE scope = %L AND target = %L RETURNING *;',
				   scope, target));
	ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
		PERFORM agentpay._refuse('25001',
			'a kill drill needs isolation level read committed',
			'It has to see what others commit while it runs.',
			'BEGIN ISOLATION LEVEL READ COMMITTED;');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_drill(text, text) FROM PUBLIC;

-- Refuses when the switch did not move: the worker said why, in the log.  False:
-- somebody else has engaged it, and so it stays.
CREATE FUNCTION agentpay._flip_for_drill(scope text, target text,
	engaged boolean) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	k agentpay.kill_switches;
	for_drill boolean;
BEGIN
	PERFORM agentpay._flip_apart(scope, target, engaged);
	SELECT * INTO k FROM agentpay.kill_switches x
	 WHERE x.scope = _flip_for_drill.scope
	   AND x.target = _flip_for_drill.target;
	for_drill := k.reason IS NOT DISTINCT FROM 'kill drill';
	IF k.engaged AND NOT for_drill AND NOT engaged THEN
		RETURN false;
	ELSIF k.engaged IS DISTINCT FROM engaged OR engaged AND NOT for_drill THEN
		PERFORM agentpay._refuse('55000', format(
				'kill switch %s could not be %s',
				concat_ws(' ', scope, nullif(target, '*')),
				CASE WHEN engaged THEN 'engaged' ELSE 'disengaged' END),
			'The server''s log has the error of worker "agentpay drill": the session''s user may not UPDATE kill_switches, or another transaction, perhaps this one, is flipping a switch.',
			format('UPDATE agentpay.kill_switches SET engaged = %s WHERE scope = %L AND target = %L RETURNING *;',
				   engaged, scope, target));
	END IF;
	RETURN true;
END$$;
REVOKE ALL ON FUNCTION agentpay._flip_for_drill(text, text, boolean)
	FROM PUBLIC;

CREATE FUNCTION agentpay.kill_drill(scope text DEFAULT 'all',
	target text DEFAULT '*')
	RETURNS TABLE (last_call_ms double precision,
				   last_apply_ms double precision, aborted int)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	agents text[] := agentpay._agents_under(kill_drill.scope,
											kill_drill.target);
	begun timestamptz;
	opened boolean;
	problem text;
BEGIN
	PERFORM agentpay._check_drill(kill_drill.scope, kill_drill.target);
	begun := agentpay._now();
	PERFORM agentpay._flip_for_drill(kill_drill.scope, kill_drill.target,
									 true);
	BEGIN
		-- what was under way is on record within a second, if workers run
		FOR i IN 1 .. 250 LOOP
			EXIT WHEN NOT EXISTS (SELECT FROM agentpay._task_work w
								   WHERE w.agent = ANY (agents)
									 AND w.state = 'sent');
			PERFORM pg_sleep(0.02);
		END LOOP;
		SELECT coalesce(1000 * extract(epoch FROM max(c.called_at) - begun), 0),
			   count(*) FILTER (WHERE c.status = 'killed')
		  INTO last_call_ms, aborted
		  FROM agentpay.agent_calls c
		 WHERE c.agent = ANY (agents)
		   AND (c.called_at >= begun
				OR c.called_at >= begun - interval '20 minutes'
				   AND c.status = 'killed'
				   AND c.called_at + make_interval(
						secs => coalesce(c.latency_ms, 0) / 1000) >= begun);
		SELECT coalesce(1000 * extract(epoch FROM max(d.decided_at) - begun), 0)
		  INTO last_apply_ms
		  FROM agentpay.decisions d
		 WHERE d.agent = ANY (agents) AND d.kind = 'agent'
		   AND d.authority = 'live' AND d.decided_at >= begun;
		last_call_ms := greatest(last_call_ms, 0);
		last_apply_ms := greatest(last_apply_ms, 0);
	EXCEPTION WHEN OTHERS OR query_canceled THEN
		problem := SQLERRM;
	END;
	opened := agentpay._flip_for_drill(kill_drill.scope, kill_drill.target,
									   false);
	PERFORM agentpay._govern('drill', 'kill_switch',
		kill_drill.scope || '.' || kill_drill.target,
		coalesce('stopped: ' || problem, 'kill drill'), NULL,
		jsonb_build_object('last_call_ms', round(last_call_ms::numeric, 3),
			'last_apply_ms', round(last_apply_ms::numeric, 3),
			'aborted', aborted));
	IF NOT opened THEN
		RAISE WARNING 'kill switch % stays engaged',
			concat_ws(' ', kill_drill.scope, nullif(kill_drill.target, '*'))
			USING DETAIL = 'Somebody engaged it during the drill.',
				HINT = 'SELECT * FROM agentpay.kill_switches WHERE engaged;';
	END IF;
	IF problem IS NOT NULL THEN
		RAISE WARNING USING ERRCODE = '57014',
			MESSAGE = 'the kill drill was stopped: ' || problem,
			DETAIL = CASE WHEN opened THEN 'The switch is open again.'
					 ELSE 'The switch stays engaged.' END,
			HINT = format('SELECT * FROM agentpay.kill_drill(%L, %L);',
						  kill_drill.scope, kill_drill.target);
		RETURN;
	END IF;
	RETURN NEXT;
END$$;
REVOKE ALL ON FUNCTION agentpay.kill_drill(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.kill_drill(text, text) IS 'engages a kill switch, waits until nothing is under way under it, and opens it again, unless somebody engaged it meanwhile: milliseconds from the flip to the last call that began and to the last verdict that took effect (0: none did), and how many calls were aborted';
