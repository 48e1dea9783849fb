-- 17_four_eyes.sql
--		What one login cannot do alone where a point has four_eyes: open a kill
--		switch, raise or remove a cap, lower a price or take an agent from under
--		a cap, loosen a gate or a guardrail, rewrite an exchange rate, end
--		four_eyes itself.
--
-- The row stays as it is and the request is in the governance log (ask); the
-- same change by another session_user, within a day and to the same row, takes
-- effect.  There is nothing to call: both run the same statement.  Whatever
-- tightens, above all engaging a switch, takes effect at once by anybody.
-- activate() has approve(), promote() has sign_off().

-- ── what loosens ────────────────────────────────────────────────────────────
-- Documents are rows; before NULL: INSERT, after NULL: DELETE.
CREATE FUNCTION agentpay._loosens_budget(before jsonb, after jsonb)
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (before ->> 'enabled')::boolean
	   AND (after IS NULL OR NOT (after ->> 'enabled')::boolean
			-- it caps something else then
			OR (before ->> 'scope', before ->> 'target', before ->> 'period')
			   <> (after ->> 'scope', after ->> 'target', after ->> 'period')
			OR coalesce((before ->> 'cap_cost')::numeric, 'Infinity')
			   < coalesce((after ->> 'cap_cost')::numeric, 'Infinity')
			OR coalesce((before ->> 'cap_calls')::numeric, 'Infinity')
			   < coalesce((after ->> 'cap_calls')::numeric, 'Infinity')
			OR before ->> 'on_exhausted' = 'kill'
			   AND after ->> 'on_exhausted' <> 'kill')
$$;
REVOKE ALL ON FUNCTION agentpay._loosens_budget(jsonb, jsonb) FROM PUBLIC;

-- By either's bound, samples or confidence.
CREATE FUNCTION agentpay._looser_gate(before jsonb, after jsonb)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT NOT (after ->> 'enabled')::boolean
		OR after ->> 'metric' <> before ->> 'metric'
		OR CASE agentpay._gate_direction(before ->> 'metric')
		   WHEN 'min' THEN (after ->> 'bound')::numeric
						   < (before ->> 'bound')::numeric
		   ELSE (after ->> 'bound')::numeric > (before ->> 'bound')::numeric END
		OR (after ->> 'min_samples')::int < (before ->> 'min_samples')::int
		OR (after ->> 'confidence')::numeric
		   < (before ->> 'confidence')::numeric
$$;
REVOKE ALL ON FUNCTION agentpay._looser_gate(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION agentpay._looser_guardrail(before jsonb, after jsonb)
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT NOT (after ->> 'enabled')::boolean
		OR after ->> 'metric' <> before ->> 'metric'
		OR (after ->> 'bound')::numeric > (before ->> 'bound')::numeric
		OR (after ->> 'min_samples')::int > (before ->> 'min_samples')::int
		OR after -> 'over' <> before -> 'over'
		OR array_position('{alert,roll_back,kill}'::text[], after ->> 'action')
		   < array_position('{alert,roll_back,kill}'::text[],
							before ->> 'action')
$$;
REVOKE ALL ON FUNCTION agentpay._looser_guardrail(jsonb, jsonb) FROM PUBLIC;

-- A cap lets more calls through at lower prices.  As _cost_bound() and
-- _record() read them.
CREATE FUNCTION agentpay._cheaper(before jsonb, after jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(n.price_input_per_million, 0)
		   < coalesce(o.price_input_per_million, 0)
		OR coalesce(n.price_cached_input_per_million,
					n.price_input_per_million, 0)
		   < coalesce(o.price_cached_input_per_million,
					  o.price_input_per_million, 0)
		OR coalesce(n.price_output_per_million, 0)
		   < coalesce(o.price_output_per_million, 0)
		OR coalesce(n.price_per_call, 0) < coalesce(o.price_per_call, 0)
	  FROM jsonb_to_record(before) AS o (price_input_per_million numeric,
			price_cached_input_per_million numeric,
			price_output_per_million numeric, price_per_call numeric),
		   jsonb_to_record(after) AS n (price_input_per_million numeric,
			price_cached_input_per_million numeric,
			price_output_per_million numeric, price_per_call numeric)
$$;
REVOKE ALL ON FUNCTION agentpay._cheaper(jsonb, jsonb) FROM PUBLIC;

-- An agent that was deleted is made anew at its last prices, or by two.
CREATE FUNCTION agentpay._loosens_agent(before jsonb, after jsonb)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- ON CONFLICT: an UPDATE will ask
	IF before IS NULL AND NOT EXISTS (
		SELECT FROM agentpay.agents a WHERE a.name = after ->> 'name') THEN
		SELECT v.definition INTO before FROM agentpay.agent_versions v
		 WHERE v.agent = after ->> 'name' ORDER BY v.version DESC LIMIT 1;
	END IF;
	RETURN before IS NOT NULL
	   AND (agentpay._cheaper(before, after)
			OR before ->> 'cost_center' <> after ->> 'cost_center' AND EXISTS (
				SELECT FROM agentpay.budgets b
				 WHERE b.enabled AND b.scope = 'cost_center'
				   AND b.target = before ->> 'cost_center'));
END$$;
REVOKE ALL ON FUNCTION agentpay._loosens_agent(jsonb, jsonb) FROM PUBLIC;

-- A rate of today or later is news; any other one is history.
CREATE FUNCTION agentpay._rewrites_rate(before jsonb, after jsonb)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF before IS NOT NULL THEN
		RETURN before IS DISTINCT FROM after;
	END IF;
	RETURN (after ->> 'valid_from')::date
		   < (agentpay._now() AT TIME ZONE 'UTC')::date
	   -- ON CONFLICT: an UPDATE will ask
	   AND NOT EXISTS (SELECT FROM agentpay.exchange_rates e
			WHERE e.base = after ->> 'base'
			  AND e.currency = after ->> 'currency'
			  AND e.valid_from = (after ->> 'valid_from')::date);
END$$;
REVOKE ALL ON FUNCTION agentpay._rewrites_rate(jsonb, jsonb) FROM PUBLIC;

-- A row of an agent takes the place of those of '*' of its metric.
CREATE FUNCTION agentpay._loosens(kind text, before jsonb, after jsonb)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF kind = 'kill_switch' THEN
		RETURN (before ->> 'engaged')::boolean
			AND NOT coalesce((after ->> 'engaged')::boolean, false);
	ELSIF kind = 'point' THEN
		RETURN (before ->> 'four_eyes')::boolean
			AND NOT coalesce((after ->> 'four_eyes')::boolean, false);
	ELSIF kind = 'budget' THEN
		RETURN agentpay._loosens_budget(before, after);
	ELSIF kind = 'agent' THEN
		RETURN agentpay._loosens_agent(before, after);
	ELSIF kind = 'exchange_rate' THEN
		RETURN agentpay._rewrites_rate(before, after);
	ELSIF before IS NOT NULL THEN
		RETURN (before ->> 'enabled')::boolean
			AND (after IS NULL OR before ->> 'agent' <> after ->> 'agent'
				 OR CASE kind WHEN 'gate'
					THEN agentpay._looser_gate(before, after)
					ELSE agentpay._looser_guardrail(before, after) END);
	ELSIF kind = 'gate' THEN
		RETURN EXISTS (SELECT FROM agentpay.gates g
			WHERE g.agent = '*' AND g.metric = after ->> 'metric'
			  AND g.agent <> after ->> 'agent' AND g.enabled
			  AND agentpay._looser_gate(to_jsonb(g), after));
	END IF;
	RETURN EXISTS (SELECT FROM agentpay.guardrails g
			WHERE g.agent = '*' AND g.metric = after ->> 'metric'
			  AND g.agent <> after ->> 'agent' AND g.enabled
			  AND agentpay._looser_guardrail(to_jsonb(g), after))
		AND NOT EXISTS (SELECT FROM agentpay.guardrails o
			WHERE o.agent = after ->> 'agent'
			  AND o.metric = after ->> 'metric');
END$$;
REVOKE ALL ON FUNCTION agentpay._loosens(text, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._loosens(text, jsonb, jsonb) IS 'whether a change of configuration lets more happen than before';

-- ── whom it concerns ────────────────────────────────────────────────────────
-- The points with four_eyes in a row's scope; NULL: none.
CREATE FUNCTION agentpay._four_eyes_points(kind text, object jsonb)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	scope text := CASE WHEN kind IN ('point', 'agent') THEN 'point'
		WHEN kind = 'exchange_rate' THEN 'base'
		WHEN kind IN ('budget', 'kill_switch') THEN object ->> 'scope'
		WHEN object ->> 'agent' = '*' THEN 'all' ELSE 'agent' END;
	target text := coalesce(object ->> 'target', object ->> 'agent',
							object ->> 'point');
BEGIN
	RETURN (
	SELECT string_agg(p.point, ', ' ORDER BY p.point)
	  FROM agentpay.decision_points p
	 WHERE p.four_eyes
	   AND CASE scope WHEN 'all' THEN true WHEN 'role' THEN p.role = target
		   WHEN 'point' THEN p.point = target
		   WHEN 'base' THEN p.base_currency = object ->> 'base'
		   ELSE EXISTS (SELECT FROM agentpay.agents a
				WHERE a.point = p.point
				  AND CASE scope WHEN 'agent' THEN a.name
					  ELSE a.cost_center END = target) END);
END$$;
REVOKE ALL ON FUNCTION agentpay._four_eyes_points(text, jsonb) FROM PUBLIC;

-- Who else asked for the same change of the same row in the last day, and the
-- row has not changed since; NULL: nobody.
CREATE FUNCTION agentpay._asked_by(kind text, object text, before jsonb,
	after jsonb) RETURNS name
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	-- what says who and why, not what
	aside constant text[] := '{reason,changed_by,changed_at}';
BEGIN
	RETURN (
	SELECT g.actor FROM agentpay.governance_log g
	 WHERE g.object_kind = $1 AND g.object = $2 AND g.action = 'ask'
	   AND g.logged_at > agentpay._now() - interval '24 hours'
	   AND g.actor <> session_user
	   AND g.before IS NOT DISTINCT FROM $3
	   AND g.after - aside IS NOT DISTINCT FROM $4 - aside
	   AND NOT EXISTS (
		SELECT FROM agentpay.governance_log m
		 WHERE m.object_kind = $1 AND m.object = $2
		   AND m.action IN ('insert', 'update', 'delete')
		   AND (m.logged_at, m.event_id) > (g.logged_at, g.event_id))
	 ORDER BY g.logged_at DESC, g.event_id DESC LIMIT 1);
END$$;
REVOKE ALL ON FUNCTION agentpay._asked_by(text, text, jsonb, jsonb)
	FROM PUBLIC;

-- Whether this is the worker that flips a switch for kill_drill().
CREATE FUNCTION agentpay._is_drill() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_stat_get_activity(pg_backend_pid()) AS b
					WHERE b.backend_type = 'agentpay drill')
$$;
REVOKE ALL ON FUNCTION agentpay._is_drill() FROM PUBLIC;

-- kill_drill() opens what it engaged itself: the switch was open before.
CREATE FUNCTION agentpay._ends_drill(before jsonb) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT before ->> 'reason' = 'kill drill'
	   AND before ->> 'changed_by' = session_user
	   AND agentpay._is_drill()
$$;
REVOKE ALL ON FUNCTION agentpay._ends_drill(jsonb) FROM PUBLIC;

-- ── the triggers ────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._ask_second_login(kind text, object text,
	points text, before jsonb, after jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._govern('ask', kind, object, after ->> 'reason', before,
							 after);
	RAISE WARNING '% % stays as it is until another login than "%" asks for the same',
		replace(kind, '_', ' '), object, session_user
		USING DETAIL = format('Of point %s, which has four_eyes. The request is in agentpay.governance_log and is good for 24 hours.',
							  points),
			HINT = 'Let another login run: ' || CASE kind
			WHEN 'kill_switch' THEN format(
				'UPDATE agentpay.kill_switches SET engaged = false, reason = ''...'' WHERE scope = %L AND target = %L RETURNING *;',
				before ->> 'scope', before ->> 'target')
			ELSE 'the same statement, with RETURNING *.' END;
END$$;
REVOKE ALL ON FUNCTION agentpay._ask_second_login(text, text, text, jsonb,
	jsonb) FROM PUBLIC;

-- BEFORE ROW, after the checks.  TG_ARGV: the kind of object, then its key.
CREATE FUNCTION agentpay._four_eyes() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kind text := TG_ARGV[0];
	before jsonb := to_jsonb(OLD);
	after jsonb := to_jsonb(NEW);
	points text;
	object text;
	asker name;
BEGIN
	-- what cannot be told, such as a NULL that is refused next, asks
	IF agentpay._restoring()
	   OR NOT coalesce(agentpay._loosens(kind, before, after), true) THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	points := agentpay._four_eyes_points(kind, coalesce(before, after));
	IF kind = 'exchange_rate' AND points IS NULL THEN
		points := agentpay._four_eyes_points(kind, after);
	END IF;
	IF points IS NULL
	   OR kind = 'kill_switch' AND agentpay._ends_drill(before) THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	SELECT string_agg(coalesce(before, after) ->> k.name, '.' ORDER BY k.ord)
	  INTO object
	  FROM unnest(TG_ARGV[1:]) WITH ORDINALITY AS k (name, ord);
	asker := agentpay._asked_by(kind, object, before, after);
	IF asker IS NULL THEN
		PERFORM agentpay._ask_second_login(kind, object, points, before,
										   after);
		RETURN NULL;
	END IF;
	PERFORM agentpay._govern('approve', kind, object, after ->> 'reason',
		NULL, jsonb_build_object('asked_by', asker));
	RETURN coalesce(NEW, OLD);
END$$;
REVOKE ALL ON FUNCTION agentpay._four_eyes() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._four_eyes() IS 'lets a change that loosens wait for a second login, where a point in its scope has four_eyes';

-- An agent that is made anew would come with an open switch.
CREATE FUNCTION agentpay._keep_engaged() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	points text := agentpay._four_eyes_points('guardrail',
		jsonb_build_object('agent', OLD.name));
BEGIN
	IF points IS NOT NULL AND NOT agentpay._restoring() AND EXISTS (
		SELECT FROM agentpay.kill_switches k
		 WHERE k.scope = 'agent' AND k.target = OLD.name AND k.engaged) THEN
		PERFORM agentpay._refuse('55000', format(
				'agent "%s" cannot be removed while its kill switch is engaged',
				OLD.name),
			format('Point %s has four_eyes, and a new agent of that name would come with an open switch.',
				   points),
			format('UPDATE agentpay.kill_switches SET engaged = false WHERE scope = ''agent'' AND target = %L RETURNING *; by two logins.',
				   OLD.name));
	END IF;
	RETURN OLD;
END$$;
REVOKE ALL ON FUNCTION agentpay._keep_engaged() FROM PUBLIC;

DO $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT * FROM (VALUES
			-- table, kind, key, as in 18_governance.sql; what may loosen
			('decision_points', 'point', '{point}', 'UPDATE OR DELETE'),
			('budgets', 'budget', '{name}', 'UPDATE OR DELETE'),
			('kill_switches', 'kill_switch', '{scope,target}', 'UPDATE'),
			('agents', 'agent', '{name}', 'INSERT OR UPDATE'),
			('exchange_rates', 'exchange_rate', '{base,currency,valid_from}', 'INSERT OR UPDATE OR DELETE'),
			('gates', 'gate', '{agent,metric}', 'INSERT OR UPDATE OR DELETE'),
			('guardrails', 'guardrail', '{agent,metric,action}', 'INSERT OR UPDATE OR DELETE'))
			AS c (name, kind, key, loosening)
	LOOP
		EXECUTE format('CREATE TRIGGER agentpay_four_eyes BEFORE %3$s'
			' ON agentpay.%1$I FOR EACH ROW'
			' EXECUTE FUNCTION agentpay._four_eyes(%2$L, %4$s)',
			t.name, t.kind, t.loosening,
			(SELECT string_agg(quote_literal(k), ', ' ORDER BY ord)
			   FROM unnest(t.key::text[]) WITH ORDINALITY AS u (k, ord)));
	END LOOP;
END$$;
CREATE TRIGGER agentpay_four_eyes_delete BEFORE DELETE ON agentpay.agents
	FOR EACH ROW EXECUTE FUNCTION agentpay._keep_engaged();
