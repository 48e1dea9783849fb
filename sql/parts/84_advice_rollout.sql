-- 84_advice_rollout.sql
--		Advice about agents that are asked: what they may do, what holds them
--		back, and whether anybody can tell how good they are.
--
-- As in 85_advice.sql: a check must not fail when what it looks at is broken.

CREATE VIEW agentpay._advice_rollout AS
WITH a AS (
	SELECT a.*, agentpay._stage_rank(a.stage) AS rank, p.role,
		   p.decide_within_ms, p.label_maturity,
		   p.role = 'fraud' AND NOT p.labels_complete AS selective,
		   p.audit_sample_percent,
		   -- when it came to this stage; when it was first asked
		   coalesce((SELECT max(g.logged_at) FROM agentpay.governance_log g
					  WHERE g.object_kind = 'agent' AND g.object = a.name
						AND g.before ->> 'stage' <> g.after ->> 'stage'),
					(SELECT min(v.changed_at) FROM agentpay.agent_versions v
					  WHERE v.agent = a.name)) AS since
	  FROM agentpay.agents a
	  JOIN agentpay.decision_points p ON p.point = a.point AND p.enabled
	 WHERE a.enabled AND a.stage <> 'off')
SELECT 'warning' AS level, 'agent' AS object_kind, a.name AS object,
	   format('an attempt may take %s ms, but a verdict counts only within %s ms: what comes later is paid for and not applied',
			  a.timeout_ms, a.decide_within_ms) AS problem,
	   format('UPDATE agentpay.agents SET timeout_ms = %s WHERE name = %L;',
			  a.decide_within_ms, a.name) AS fix
  FROM a WHERE a.position = 'pre_auth' AND a.timeout_ms > a.decide_within_ms
UNION ALL
SELECT 'warning', 'agent', a.name,
	   'all its prices are 0, and it is not on this machine: its calls are charged nothing, and no cap on cost stops them',
	   format('UPDATE agentpay.agents SET %s WHERE name = %L;',
			  CASE a.protocol WHEN 'http' THEN 'price_per_call = ...'
			  ELSE 'price_input_per_million = ..., price_output_per_million = ...'
			  END, a.name)
  FROM a
 WHERE a.protocol <> 'builtin'
   AND coalesce(a.price_input_per_million, 0) = 0
   AND coalesce(a.price_output_per_million, 0) = 0
   AND coalesce(a.price_per_call, 0) = 0
   AND a.endpoint !~ '^https?://(localhost|127\.[0-9.]+|\[::1\])([:/]|$)'
UNION ALL
SELECT 'warning', 'agent', a.name,
	   format('it escalates to %s, which is %s: where it is unsure, no agent is asked',
			  e.name, CASE WHEN e.enabled THEN 'off' ELSE 'disabled' END),
	   format('UPDATE agentpay.agents SET %s WHERE name = %L;',
			  CASE WHEN e.enabled THEN 'stage = ''shadow'''
				   ELSE 'enabled = true' END, e.name)
  FROM a JOIN agentpay.agents e ON e.name = a.escalate_to
 WHERE e.stage = 'off' OR NOT e.enabled
UNION ALL
SELECT 'warning', 'agent', a.name,
	   'it may decide nothing: verdicts of its point have no order, and it has no authorities',
	   format('INSERT INTO agentpay.authorities (agent, verdict) SELECT %L, verdict FROM agentpay.verdicts WHERE point = %L AND verdict IN (...);',
			  a.name, a.point)
  FROM a
 WHERE a.position <> 'review'
   AND NOT EXISTS (SELECT FROM agentpay.authorities o WHERE o.agent = a.name)
   AND NOT EXISTS (SELECT FROM agentpay.verdicts v
					WHERE v.point = a.point AND v.rank IS NOT NULL)
UNION ALL
SELECT 'warning', 'agent', a.name,
	   format('it decides at stage %s, and no guardrail takes it back', a.stage),
	   format('INSERT INTO agentpay.guardrails (agent, metric, bound, action) VALUES (%L, ''error_rate'', 0.2, ''roll_back'');',
			  a.name)
  FROM a
 WHERE a.rank > 0 AND a.position <> 'review'
   AND NOT EXISTS (SELECT FROM agentpay.guardrails g
					WHERE g.enabled AND g.agent IN (a.name, '*')
					  AND g.action IN ('roll_back', 'kill'))
UNION ALL
SELECT 'warning', 'agent', a.name,
	   'no gate is between it and its next stage',
	   format('INSERT INTO agentpay.gates (agent, metric, bound) VALUES (%L, ''sign_off'', 1) ON CONFLICT (agent, metric) DO UPDATE SET enabled = true;',
			  a.name)
  FROM a
 WHERE a.rank < (SELECT max(s) FROM unnest(a.rollout_steps) AS s)
   AND NOT EXISTS (SELECT FROM agentpay.gates g
					WHERE g.enabled
					  AND (g.agent = a.name OR g.agent = '*' AND NOT EXISTS (
						SELECT FROM agentpay.gates o
						 WHERE o.agent = a.name AND o.metric = g.metric)))
UNION ALL
SELECT 'warning', 'agent', a.name,
	   'it decides about every payment, none is held out and none audited: nobody will learn what it stops in error',
	   format('UPDATE agentpay.decision_points SET audit_sample_percent = 1 WHERE point = %L; -- or agents.holdout_percent',
			  a.point)
  FROM a
 WHERE a.rank >= 100 AND a.selective AND a.position <> 'review'
   AND a.holdout_percent = 0 AND a.audit_sample_percent = 0
UNION ALL
SELECT 'info', 'agent', a.name,
	   format('in shadow for %s days: its calls cost, and nothing comes of them',
			  (extract(epoch FROM (SELECT agentpay._now()) - a.since)
			   / 86400)::int),
	   format('SELECT * FROM agentpay.rollout_status WHERE agent = %L; -- then promote() it, or UPDATE agentpay.agents SET stage = ''off''',
			  a.name)
  FROM a
 WHERE a.rank = 0 AND a.since < (SELECT agentpay._now()) - interval '90 days'
UNION ALL
-- the gates wait for labels
SELECT 'warning', 'agent', a.name,
	   format('it has been asked for longer than label_maturity, %s, and its point has no label: what it is worth cannot be told',
			  a.label_maturity),
	   format('SELECT agentpay.record_outcome(%L, row_id => ..., label => ...); -- or record_dispute() on your table of disputes',
			  a.point)
  FROM a
 WHERE NOT EXISTS (SELECT FROM agentpay.outcomes o WHERE o.point = a.point)
   AND EXISTS (SELECT FROM agentpay._tasks t
				WHERE t.agent = a.name
				  AND t.created_at < (SELECT agentpay._now())
									 - a.label_maturity)
UNION ALL
SELECT 'warning', 'agent', b.agent,
	   'its circuit breaker is open: nobody calls it, and the rules stand',
	   format('SELECT logged_at, action, reason, after FROM agentpay.governance_log WHERE object = %L AND action LIKE ''breaker%%'' ORDER BY logged_at DESC;',
			  b.agent)
  FROM agentpay.stat_workers w
 CROSS JOIN LATERAL unnest(w.breaker_open) AS b (agent)
 GROUP BY b.agent;
REVOKE ALL ON agentpay._advice_rollout FROM PUBLIC;
