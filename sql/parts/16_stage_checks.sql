-- 16_stage_checks.sql
--		What authorities and gates must be, and how the stage of an agent may
--		change.
--
-- As 15_configuration_checks.sql, whose helpers it uses.
--
-- A stage goes down by UPDATE or roll_back(), under the kill lock (see
-- 50_control.sql): after the commit no verdict of the higher stage is applied.
-- It goes up only with an event of promote() in the governance log, in the
-- same transaction (51_rollout.sql).

-- ── stages ──────────────────────────────────────────────────────────────────
-- off -1, shadow 0, steps their percentage; NULL: no stage.
CREATE FUNCTION agentpay._stage_rank(stage text) RETURNS int
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN CASE stage WHEN 'off' THEN -1 WHEN 'shadow' THEN 0
		ELSE CASE WHEN stage ~ '^[1-9][0-9]{0,2}$' THEN stage::int END END;
END$$;
REVOKE ALL ON FUNCTION agentpay._stage_rank(text) FROM PUBLIC;

-- Settings whose change is a new start, of those that differ.
CREATE FUNCTION agentpay._changed_settings(before agentpay.agents,
	after agentpay.agents) RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(s.name ORDER BY s.ord)
	  FROM unnest('{protocol,endpoint,model,prompt,fields,options,invoke_when,position,escalate_to,min_confidence}'::text[])
		   WITH ORDINALITY AS s (name, ord)
	 WHERE to_jsonb(before) -> s.name IS DISTINCT FROM to_jsonb(after) -> s.name
$$;
REVOKE ALL ON FUNCTION
	agentpay._changed_settings(agentpay.agents, agentpay.agents) FROM PUBLIC;

CREATE FUNCTION agentpay._lock_stages() RETURNS void
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_lock_stages';
REVOKE ALL ON FUNCTION agentpay._lock_stages() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._lock_stages() IS 'orders what lowers a stage with apply, as a kill: by the kill lock, to the commit';

-- BEFORE STATEMENT: ahead of the row's own lock, so that two sessions cannot
-- wait for each other.  Without an agent beyond shadow there is nothing that
-- may be applied, and nobody has to wait.
CREATE FUNCTION agentpay._order_stages() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM agentpay.agents a
				WHERE agentpay._stage_rank(a.stage) > 0) THEN
		PERFORM agentpay._lock_stages();
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._order_stages() FROM PUBLIC;

-- Whether promote() has just written that it raises this agent so.
CREATE FUNCTION agentpay._is_promoted(before agentpay.agents,
	after agentpay.agents) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce((
		SELECT g.action = 'promote' AND g.before ->> 'stage' = before.stage
			   AND g.after ->> 'stage' = after.stage
		  FROM agentpay.governance_log g
		 WHERE g.object_kind = 'agent' AND g.object = after.name
		   AND g.xid = pg_current_xact_id()
		 ORDER BY g.logged_at DESC, g.event_id DESC LIMIT 1), false)
$$;
REVOKE ALL ON FUNCTION
	agentpay._is_promoted(agentpay.agents, agentpay.agents) FROM PUBLIC;

-- The stage that the row gets; before is NULL for a new agent.
CREATE FUNCTION agentpay._checked_stage(before agentpay.agents,
	after agentpay.agents) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was int := agentpay._stage_rank(before.stage);
	wanted int := agentpay._stage_rank(after.stage);
	promote text := format('SELECT agentpay.promote(%L);', after.name);
	changed text[];
BEGIN
	IF before.name IS NULL THEN
		IF wanted > 0 THEN
			PERFORM agentpay._refuse('55000', format(
					'agent "%s" cannot begin at stage %s', after.name,
					after.stage),
				'A new agent is off or in shadow, where its answers have no effect.',
				'In the INSERT, use stage = ''shadow''; then ' || promote);
		END IF;
		RETURN after.stage;
	END IF;
	IF was > 0 THEN
		changed := agentpay._changed_settings(before, after);
	END IF;
	IF wanted > was AND changed IS NULL
	   AND (before.stage, after.stage) <> ('off', 'shadow')
	   AND NOT agentpay._is_promoted(before, after) THEN
		PERFORM agentpay._refuse('55000', format(
				'agent "%s" cannot go from stage %s to %s by UPDATE',
				after.name, before.stage, after.stage),
			'UPDATE only lowers a stage, or takes an agent from off to shadow; promote() raises it by one, when every gate holds.',
			promote);
	END IF;
	IF changed IS NOT NULL AND wanted > 0 THEN
		RAISE NOTICE 'agent "%" goes back from stage % to shadow', after.name, before.stage
			USING DETAIL = format('Changed: %s. What was shown so far was shown by another agent.', array_to_string(changed, ', ')),
			HINT = 'When its gates hold again: ' || promote;
		after.stage := 'shadow';
	END IF;
	IF was > 0 AND agentpay._stage_rank(after.stage) < was THEN
		PERFORM agentpay._lock_stages();
		INSERT INTO agentpay._stage_lowerings AS l (agent, times)
			VALUES (after.name, 1)
			ON CONFLICT (agent) DO UPDATE SET times = l.times + 1;
	END IF;
	RETURN after.stage;
END$$;
REVOKE ALL ON FUNCTION
	agentpay._checked_stage(agentpay.agents, agentpay.agents) FROM PUBLIC;

-- ── authorities ─────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_authority_amount(r agentpay.authorities,
	p agentpay.decision_points, mend text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF (r.max_amount IS NULL) <> (r.currency IS NULL) THEN
		PERFORM agentpay._refuse('23514', format(
				'%s of verdict "%s" for agent "%s" is missing',
				CASE WHEN r.currency IS NULL THEN 'the currency'
				ELSE 'max_amount' END, r.verdict, r.agent),
			'An amount and its currency come together; without both there is no limit.',
			format(mend, format('max_amount = %s, currency = %L',
				coalesce(r.max_amount, 100),
				coalesce(r.currency, p.currency, p.base_currency))));
	END IF;
	PERFORM agentpay._check_range('max_amount', r.max_amount, 0,
		1000000000000000, format(mend, 'max_amount = NULL, currency = NULL'));
	IF r.currency !~ '^[A-Z]{3}$' THEN
		PERFORM agentpay._refuse('23514',
			format('currency is not a currency code: %L', r.currency),
			'Currencies have three capital letters, by ISO 4217.',
			format(mend, format('currency = %L',
								coalesce(p.currency, p.base_currency))));
	ELSIF r.max_amount IS NOT NULL AND p.amount_column IS NULL THEN
		PERFORM agentpay._refuse('23514', format(
				'point "%s" has no amount to hold against max_amount', p.point),
			'Its amount_column is NULL.',
			format(mend, 'max_amount = NULL, currency = NULL'));
	ELSIF r.currency <> p.currency THEN
		PERFORM agentpay._refuse('22023', format(
				'amounts of point "%s" are in %s, not in %s', p.point,
				p.currency, r.currency),
			'Every one of its rows would be over authority.',
			format(mend, format('currency = %L', p.currency)));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_authority_amount(agentpay.authorities,
	agentpay.decision_points, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_authorities() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text := CASE TG_OP WHEN 'UPDATE' THEN format(
			'UPDATE agentpay.authorities SET %%s WHERE agent = %L AND verdict = %L;',
			OLD.agent, OLD.verdict) ELSE 'In the INSERT, use %s.' END;
	p agentpay.decision_points;
	ranked boolean;
BEGIN
	IF agentpay._restoring() THEN
		RETURN NEW;
	END IF;
	SELECT d.* INTO p FROM agentpay.agents a
	  JOIN agentpay.decision_points d ON d.point = a.point
	 WHERE a.name = NEW.agent;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('23503', format('unknown agent: %s',
				coalesce(quote_literal(NEW.agent), 'NULL')),
			coalesce((SELECT format('Agents are %s.', string_agg(a.name, ', '
							ORDER BY a.name)) FROM agentpay.agents a
					  HAVING count(*) > 0), 'There is no agent yet.'),
			format('INSERT INTO agentpay.agents (name, ...) VALUES (%L, ...); first.',
				   NEW.agent));
	END IF;
	SELECT v.rank IS NOT NULL INTO ranked FROM agentpay.verdicts v
	 WHERE v.point = p.point AND v.verdict = NEW.verdict;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('23514', format(
				'unknown verdict of point "%s": %s', p.point,
				coalesce(quote_literal(NEW.verdict), 'NULL')),
			format('Verdicts are %s.', (
				SELECT string_agg(v.verdict, ', ' ORDER BY v.rank, v.verdict)
				  FROM agentpay.verdicts v WHERE v.point = p.point)),
			format(mend, format('verdict = %L', (
				SELECT v.verdict FROM agentpay.verdicts v
				 WHERE v.point = p.point
				 ORDER BY v.rank DESC NULLS LAST, v.verdict LIMIT 1))));
	ELSIF NEW.may_relax AND NOT ranked THEN
		PERFORM agentpay._refuse('23514', format(
				'verdicts of point "%s" have no order', p.point),
			'There is nothing to relax: an agent may give those verdicts that its authority lists.',
			format(mend, 'may_relax = false'));
	END IF;
	PERFORM agentpay._check_authority_amount(NEW, p, mend);
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_authorities() FROM PUBLIC;

-- AFTER ROW: other authorities are another version, and a new start.
CREATE FUNCTION agentpay._authority_changed() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
BEGIN
	IF agentpay._restoring() OR NEW IS NOT DISTINCT FROM OLD THEN
		RETURN NULL;
	END IF;
	FOR a IN SELECT x.* FROM agentpay.agents x
			  WHERE x.name IN (OLD.agent, NEW.agent) LOOP
		IF agentpay._stage_rank(a.stage) > 0 THEN
			RAISE NOTICE 'agent "%" goes back from stage % to shadow', a.name, a.stage
				USING DETAIL = 'Changed: authorities. What was shown so far was shown by another agent.',
				HINT = format('When its gates hold again: SELECT agentpay.promote(%L);', a.name);
			UPDATE agentpay.agents x SET stage = 'shadow'
			 WHERE x.name = a.name
			   AND agentpay._stage_rank(x.stage) > 0;
		END IF;
		PERFORM agentpay._note_version(a);
	END LOOP;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._authority_changed() FROM PUBLIC;

-- ── gates ───────────────────────────────────────────────────────────────────
-- While restoring, INSERT goes over a row that CREATE EXTENSION made, as with
-- kill_switches.  Such a row cannot go: it would come back there.
CREATE FUNCTION agentpay._check_gates() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text := CASE TG_OP WHEN 'INSERT' THEN 'In the INSERT, use %s.'
		ELSE format('UPDATE agentpay.gates SET %%s WHERE agent = %L AND metric = %L;',
					OLD.agent, OLD.metric) END;
BEGIN
	IF agentpay._restoring() THEN
		IF TG_OP = 'INSERT' THEN
			UPDATE agentpay.gates g
			   SET bound = NEW.bound, min_samples = NEW.min_samples,
				   confidence = NEW.confidence, enabled = NEW.enabled
			 WHERE g.agent = NEW.agent AND g.metric = NEW.metric;
			IF FOUND THEN
				RETURN NULL;
			END IF;
		END IF;
		RETURN coalesce(NEW, OLD);
	END IF;
	IF OLD.agent = '*' AND OLD.metric IN (
			SELECT u.metric FROM agentpay._usual_gates() AS u)
	   AND (TG_OP = 'DELETE'
			OR (OLD.agent, OLD.metric) <> (NEW.agent, NEW.metric)) THEN
		PERFORM agentpay._refuse('55000',
			format('gate %s comes with agentpay', OLD.metric),
			'It can have another bound; disabled, it is not asked for.',
			format(mend, 'enabled = false'));
	END IF;
	IF TG_OP = 'DELETE' THEN
		RETURN OLD;
	END IF;
	IF NEW.agent IS NULL OR NEW.agent <> '*' AND NOT EXISTS (
		SELECT FROM agentpay.agents a WHERE a.name = NEW.agent) THEN
		PERFORM agentpay._refuse('23503', format('unknown agent: %s',
				coalesce(quote_literal(NEW.agent), 'NULL')),
			'A gate is of one agent, or of all that have no row of their own for its metric.',
			format(mend, 'agent = ''*'''));
	ELSIF NEW.metric IS NULL
		OR agentpay._gate_direction(NEW.metric) IS NULL THEN
		PERFORM agentpay._refuse('23514', format('unknown metric: %s',
				coalesce(quote_literal(NEW.metric), 'NULL')),
			'Metrics of gates are labelled_samples, coverage, agreement, accuracy_vs_rules, fpr_vs_rules, fnr_vs_rules, cost_per_decision, cost_variation, p95_latency_ms, inference_variance, calibration_error, sign_off and compliance.',
			format(mend, 'metric = ''agreement'''));
	END IF;
	PERFORM agentpay._check_range('bound', NEW.bound, -1000000000000,
		1000000000000, format(mend, 'bound = 1'));
	PERFORM agentpay._check_range('min_samples', NEW.min_samples, 0, NULL,
								  format(mend, 'min_samples = 200'));
	IF NEW.confidence <= 0 OR NEW.confidence >= 1
	   OR NEW.confidence = 'NaN' THEN
		PERFORM agentpay._refuse('23514',
			format('confidence is out of range: %s', NEW.confidence),
			'It lies between 0 and 1, without these.',
			format(mend, 'confidence = 0.95'));
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_gates() FROM PUBLIC;

-- Whether a metric's bound is the least or the most; NULL: no metric.
CREATE FUNCTION agentpay._gate_direction(metric text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN metric IN ('labelled_samples', 'coverage', 'agreement',
						'accuracy_vs_rules', 'sign_off', 'compliance')
			THEN 'min'
		WHEN metric IN ('fpr_vs_rules', 'fnr_vs_rules', 'cost_per_decision',
						'cost_variation', 'p95_latency_ms',
						'inference_variance', 'calibration_error')
			THEN 'max' END
$$;
REVOKE ALL ON FUNCTION agentpay._gate_direction(text) FROM PUBLIC;

-- AFTER an agent went: its gates go with it.  authorities do by themselves.
CREATE FUNCTION agentpay._drop_gates() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT agentpay._restoring() THEN
		DELETE FROM agentpay.gates g WHERE g.agent = OLD.name;
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._drop_gates() FROM PUBLIC;

-- ── salts ───────────────────────────────────────────────────────────────────
-- INSERT ahead of the agent is allowed: an agent that moves here from another
-- database keeps its rows.
CREATE FUNCTION agentpay._refuse_salt_change() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._refuse('55000',
		'the salt of an agent cannot change',
		'It says which rows are inside its rollout and which are its control group; with another one these would be others.',
		'Make an agent of another name: it gets a salt of its own.');
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._refuse_salt_change() FROM PUBLIC;

CREATE TRIGGER agentpay_change BEFORE UPDATE OR DELETE
	ON agentpay._agent_salts FOR EACH ROW
	EXECUTE FUNCTION agentpay._refuse_salt_change();
CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON agentpay._agent_salts
	EXECUTE FUNCTION agentpay._refuse_salt_change();
ALTER TABLE agentpay._agent_salts ENABLE ALWAYS TRIGGER agentpay_change,
	ENABLE ALWAYS TRIGGER agentpay_truncate;
