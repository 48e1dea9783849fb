-- 75_preview.sql
--		What an agent would be sent about a row, and what it can cost.

-- The exact bytes of a request, from the builder that the dispatcher uses.
CREATE FUNCTION agentpay._request_body(protocol text, role text, prompt text,
	verdicts text[], descriptions text[], fields text, model text,
	max_output_tokens int, options text) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_request_body';
REVOKE ALL ON FUNCTION agentpay._request_body(text, text, text, text[],
	text[], text, text, int, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._request_body(text, text, text, text[], text[],
	text, text, int, text) IS 'the body of a call; NULL for a builtin agent, which sends nothing';

-- What of a field may be sent: it needs a policy, and not one that drops it.
CREATE FUNCTION agentpay._is_sendable(p agentpay.decision_points, field text)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT coalesce(bool_and(d.treatment IS NOT NULL
							 AND d.treatment <> 'drop'), true)
	  FROM unnest(agentpay._policy_columns(p, field)) AS c
	  LEFT JOIN agentpay.data_policies d
		ON d.table_name = agentpay._policy_table(p, field)
	   AND d.column_name = c);
END$$;
REVOKE ALL ON FUNCTION agentpay._is_sendable(agentpay.decision_points, text)
	FROM PUBLIC;

-- Evaluates invoke_when on the row as the table holds it now, with the
-- decision's features, score and verdict.  The expression was checked against
-- the allow-list when the agent was written.  search_path has agentpay for
-- in_list(); TimeZone is in the header so that it is put back at the end.
CREATE FUNCTION agentpay._would_invoke(p agentpay.decision_points,
	invoke_when text, d agentpay.decisions) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, agentpay, pg_temp
	SET timezone = 'UTC'
AS $$
DECLARE
	holds boolean;
	features text;
BEGIN
	SELECT string_agg(format(', ($2 ->> %L)::%s AS %I', f.name,
							 coalesce(agentpay._feature_type(f), 'text'), f.name), '')
	  INTO features FROM agentpay.features f WHERE f.point = p.point;
	PERFORM set_config('timezone', p.time_zone, true);
	-- on a line of its own: it may end in a comment
	EXECUTE format(E'SELECT (%s\n)::boolean FROM (SELECT r.*,'
		' $3 AS score, $4 AS verdict%s FROM %s r WHERE r.%I::text = $1)'
		' AS payment', invoke_when, features, p.table_name, p.id_column)
	   INTO STRICT holds
	  USING d.row_id, d.inputs, d.score, d.verdict;
	RETURN coalesce(holds, false);
END$$;
REVOKE ALL ON FUNCTION agentpay._would_invoke(agentpay.decision_points, text,
	agentpay.decisions) FROM PUBLIC;

-- Why an agent would not be asked, or that it would.
CREATE FUNCTION agentpay._preview_reason(a agentpay.agents,
	p agentpay.decision_points, d agentpay.decisions,
	OUT invoked boolean, OUT why text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	engaged text;
	holds boolean;
BEGIN
	invoked := false;
	SELECT concat_ws(' ', k.scope, nullif(k.target, '*')) INTO engaged
	  FROM agentpay.kill_switches k
	 WHERE k.engaged AND (k.scope, k.target) IN (('all', '*'),
			('role', p.role), ('point', p.point), ('agent', a.name));
	why := CASE
		WHEN NOT p.enabled THEN format('point "%s" is disabled', p.point)
		WHEN NOT a.enabled THEN 'the agent is disabled'
		WHEN a.stage = 'off' THEN 'the agent''s stage is off'
		WHEN engaged IS NOT NULL
		THEN format('kill switch %s is engaged', engaged)
		WHEN d.detail ? 'repeats'
		THEN 'the row repeats the idempotency key of another'
		END;
	IF why IS NOT NULL THEN
		RETURN;
	END IF;
	BEGIN
		holds := agentpay._would_invoke(p, a.invoke_when, d);
	EXCEPTION
		WHEN no_data_found THEN
			why := format('the row is no longer in %s', p.table_name);
			RETURN;
		WHEN OTHERS THEN
			-- the record knows, if the agent was there when the row came
			invoked := EXISTS (
				SELECT FROM agentpay._tasks t
				 WHERE t.xid = d.xid AND t.decision_id = d.decision_id
				   AND t.agent = a.name);
			why := format('could not evaluate invoke_when now (%s); %s',
				SQLERRM, CASE WHEN invoked THEN 'the agent was asked'
				ELSE 'the agent was not asked when the row came' END);
			RETURN;
	END;
	invoked := holds;
	why := format('invoke_when %s: %s', CASE WHEN holds THEN 'holds'
				  ELSE 'does not hold' END, a.invoke_when)
		|| CASE WHEN holds AND a.sample_percent < 100
				THEN format('; then %s %% of such rows are drawn',
							trim_scale(a.sample_percent)) ELSE '' END
		|| CASE WHEN holds AND a.repeat_percent > 0
				THEN format('; %s %% of those asked about are asked %s times in all',
							trim_scale(a.repeat_percent), a.repeats) ELSE '' END
		|| coalesce('; asked only when unsure: ' || (
			SELECT string_agg(o.name, ', ' ORDER BY o.name)
			  FROM agentpay.agents o WHERE o.escalate_to = a.name), '')
		|| CASE a.position WHEN 'review'
		   THEN '; asked when a case opens, to advise it' ELSE '' END
		|| coalesce('; when it is unsure, it asks ' || a.escalate_to, '');
END$$;
REVOKE ALL ON FUNCTION agentpay._preview_reason(agentpay.agents,
	agentpay.decision_points, agentpay.decisions) FROM PUBLIC;

-- USD, rounded up to the nano-dollar: each byte counted as one token.
CREATE FUNCTION agentpay._cost_bound(a agentpay.agents, body_bytes int)
	RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT trim_scale(ceil(1000 * (coalesce(body_bytes
				* greatest(a.price_input_per_million,
						   a.price_cached_input_per_million), 0)
			+ coalesce(CASE WHEN a.protocol <> 'builtin'
					   THEN a.max_output_tokens END
				* a.price_output_per_million, 0)
			+ 1000000 * coalesce(a.price_per_call, 0))) / 1000000000)
$$;
REVOKE ALL ON FUNCTION agentpay._cost_bound(agentpay.agents, int) FROM PUBLIC;

CREATE FUNCTION agentpay._preview_call(agent text, row_id text)
	RETURNS TABLE (invoked boolean, why text, request jsonb, withheld text[],
				   upper_bound_cost numeric)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	a agentpay.agents;
	p agentpay.decision_points;
	d agentpay.decisions;
	fields jsonb;
	body text;
BEGIN
	SELECT x.* INTO a FROM agentpay.agents x
	 WHERE x.name = _preview_call.agent;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42704', format('unknown agent: %s',
				coalesce(quote_literal(_preview_call.agent), 'NULL')),
			coalesce((SELECT 'Agents are '
						  || string_agg(x.name, ', ' ORDER BY x.name) || '.'
						FROM agentpay.agents x), 'There is no agent yet.'),
			'SELECT name, point, stage FROM agentpay.agents;');
	END IF;
	p := agentpay._point(a.point);
	SELECT x.* INTO d FROM agentpay.decisions x
	 WHERE x.point = a.point AND x.row_id = _preview_call.row_id
	   AND x.kind = 'rules'
	 ORDER BY x.decided_at DESC, x.decision_id DESC LIMIT 1;
	IF NOT FOUND OR NOT agentpay._sees(d.point, d.row_id) THEN
		PERFORM agentpay._refuse('42704',
			format('point "%s" has no decision about row %s', a.point,
				   coalesce(quote_literal(_preview_call.row_id), 'NULL')),
			'An agent is shown what was read when the row was scored; rows from before attach() were not.',
			format('SELECT %I FROM %s WHERE %I = %L;', p.id_column,
				   p.table_name, p.id_column, _preview_call.row_id));
	END IF;
	SELECT r.invoked, r.why INTO invoked, why
	  FROM agentpay._preview_reason(a, p, d) AS r;
	SELECT coalesce(jsonb_object_agg(f, d.inputs -> f), '{}') INTO fields
	  FROM unnest(a.fields) AS f
	 WHERE a.protocol <> 'builtin' AND d.inputs ? f
	   AND agentpay._is_sendable(p, f);
	SELECT array_agg(c.name ORDER BY c.ord, c.name) INTO withheld
	  FROM (SELECT x.attname::text AS name, x.attnum::int AS ord
			  FROM pg_attribute x WHERE x.attrelid = p.table_name
			   AND x.attnum > 0 AND NOT x.attisdropped
			UNION ALL
			SELECT x.name, 10000 FROM agentpay.features x
			 WHERE x.point = p.point) AS c
	 WHERE NOT fields ? c.name;
	SELECT agentpay._request_body(a.protocol, p.role, a.prompt, o.verdicts,
			o.notes, fields::text, a.model, a.max_output_tokens,
			agentpay._protocol_options(a.options)::text)
	  INTO body FROM agentpay._offered_verdicts(p) AS o;
	why := why || CASE WHEN a.protocol = 'builtin'
		THEN '; computed in the database, nothing is sent' ELSE '' END;
	request := body::jsonb;
	upper_bound_cost := agentpay._cost_bound(a, octet_length(body));
	RETURN NEXT;
END$$;
REVOKE ALL ON FUNCTION agentpay._preview_call(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay.preview_call(agent text, row_id "any")
	RETURNS TABLE (invoked boolean, why text, request jsonb, withheld text[],
				   upper_bound_cost numeric)
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_preview_call';
REVOKE ALL ON FUNCTION agentpay.preview_call(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION agentpay.preview_call(text, "any") IS 'whether the agent would be asked about the row and why, the request, which columns and features stay behind, and the most that one attempt can cost in USD. Sends nothing';
