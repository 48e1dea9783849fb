-- 52_reconcile.sql
--		What a call of unknown fate turned out to have cost.
--
-- The log says what was known when the call ended, and stays: the true cost is
-- kept beside it, and reports read both through agentpay._charged_calls.

CREATE TABLE agentpay._reconciliations (
	task_id bigint,
	attempt int,
	true_cost numeric NOT NULL CHECK (true_cost >= 0),
	PRIMARY KEY (task_id, attempt));
COMMENT ON TABLE agentpay._reconciliations IS 'what uncertain calls cost after all; governance_log says who knew, when and why';
SELECT pg_catalog.pg_extension_config_dump('agentpay._reconciliations', '');

CREATE VIEW agentpay._charged_calls AS
SELECT c.call_id, c.called_at, c.task_id, c.attempt, c.decision_id, c.point,
	   c.row_id, c.agent, c.agent_version, c.cost_center, c.status,
	   c.input_tokens, c.output_tokens, r.task_id IS NOT NULL AS reconciled,
	   coalesce(r.true_cost, c.cost) AS cost
  FROM agentpay.agent_calls c
  LEFT JOIN agentpay._reconciliations r
	ON r.task_id = c.task_id AND r.attempt = c.attempt;
REVOKE ALL ON agentpay._charged_calls FROM PUBLIC;
COMMENT ON VIEW agentpay._charged_calls IS 'calls with what they cost as far as it is known now';

CREATE FUNCTION agentpay.reconcile_hold(hold_id bigint, true_cost numeric,
	reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	h agentpay._holds;
	names text[];
	mend constant text := 'SELECT * FROM agentpay.budget_holds WHERE state = ''uncertain'';';
BEGIN
	IF coalesce(btrim(reason), '') = '' THEN
		PERFORM agentpay._refuse('22004', 'a reason is missing',
			'It goes into agentpay.governance_log: who says what the call cost, and from where.',
			format('SELECT agentpay.reconcile_hold(%s, %s, ''invoice of ...'');',
				   coalesce(hold_id::text, '...'),
				   coalesce(true_cost::text, '...')));
	END IF;
	SELECT * INTO h FROM agentpay._holds x WHERE x.hold_id = hold_id;
	-- the call may count in several budgets; all of them are locked, in order
	SELECT array_agg(x.budget) INTO names FROM agentpay._holds x
	 WHERE x.task_id = h.task_id AND x.attempt = h.attempt;
	IF names IS NOT NULL THEN
		PERFORM agentpay._lock_budgets(names);
		PERFORM agentpay._expire_holds(names);
	END IF;
	SELECT * INTO h FROM agentpay._holds x WHERE x.hold_id = hold_id
	   FOR UPDATE;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42704',
			format('there is no hold %s', coalesce(hold_id::text, 'NULL')),
			'A hold is gone when its window has passed: it counts nowhere any more.',
			mend);
	ELSIF h.state <> 'uncertain' THEN
		PERFORM agentpay._refuse('55000',
			format('hold %s is %s', hold_id, h.state),
			'Only what is uncertain is reconciled: a call whose fate nobody knew, charged at its bound.',
			mend);
	END IF;
	IF true_cost IS NULL THEN
		PERFORM agentpay._refuse('22004', 'true_cost is missing',
			'It is what the provider charged for the call, in USD.',
			format('SELECT agentpay.reconcile_hold(%s, 0, %L);', hold_id,
				   reason));
	END IF;
	PERFORM agentpay._check_range('true_cost', true_cost, 0, h.bound_cost,
		'The bound is the most that the request could cost at the agent''s prices. If the provider charged more, raise the agent''s prices, and reconcile at the bound.');
	WITH known AS (
		UPDATE agentpay._holds x
		   SET state = 'settled', settled_cost = true_cost
		 WHERE x.task_id = h.task_id AND x.attempt = h.attempt
		   AND x.state = 'uncertain'
		RETURNING x.budget)
	UPDATE agentpay._budget_totals t
	   SET uncertain = t.uncertain - h.settled_cost,
		   settled = t.settled + true_cost
	  FROM known k
	 CROSS JOIN LATERAL agentpay._totals_of(k.budget) AS n
	 WHERE t.budget = n.budget AND t.version = n.version;
	INSERT INTO agentpay._reconciliations (task_id, attempt, true_cost)
	VALUES (h.task_id, h.attempt, true_cost);
	PERFORM agentpay._govern('reconcile', 'hold', hold_id::text, reason,
		jsonb_build_object('task_id', h.task_id, 'attempt', h.attempt,
			'budgets', to_jsonb(names), 'cost', h.settled_cost),
		jsonb_build_object('cost', true_cost));
END$$;
REVOKE ALL ON FUNCTION agentpay.reconcile_hold(bigint, numeric, text)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.reconcile_hold(bigint, numeric, text) IS 'what an uncertain call cost after all, USD, at most its bound: settles it in every budget that it counts in';
