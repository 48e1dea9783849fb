-- 85_advice.sql
--		What is misconfigured or risky now, with the SQL that mends it.
--
-- One internal view per subject, each a list of checks; agentpay.advice puts
-- them together, the worst first.  A check must not fail when what it looks at
-- is broken: that is when it is read.

-- ── helpers ─────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._try_expression(relation regclass, point text,
	expression text, expression_type text, usage text,
	OUT reads text[], OUT problem text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	reads := agentpay._check_expression(relation, point, expression,
										expression_type, usage);
EXCEPTION WHEN OTHERS THEN
	problem := SQLERRM;
END$$;
REVOKE ALL ON FUNCTION agentpay._try_expression(regclass, text, text, text,
	text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._try_expression(regclass, text, text, text, text)
	IS 'what an expression reads, or why it does not compile any more';

-- The first column of a field that has no policy; NULL: it may be sent.
CREATE FUNCTION agentpay._unpolicied(p agentpay.decision_points, field text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (SELECT c FROM unnest(agentpay._policy_columns(p, field)) AS c
			 WHERE NOT EXISTS (SELECT FROM agentpay.data_policies d
								WHERE d.table_name
									  = agentpay._policy_table(p, field)
								  AND d.column_name = c) LIMIT 1);
EXCEPTION WHEN OTHERS THEN
	RETURN field;
END$$;
REVOKE ALL ON FUNCTION agentpay._unpolicied(agentpay.decision_points, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._policy_mend(relation regclass, column_name text)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES (%L, %L, %s);',
				  relation::text, column_name,
				  agentpay._policy_example(relation, column_name))
$$;
REVOKE ALL ON FUNCTION agentpay._policy_mend(regclass, text) FROM PUBLIC;

-- ── the database and its workers ────────────────────────────────────────────
CREATE VIEW agentpay._advice_database AS
WITH s AS (
	SELECT agentpay._held() AS held, agentpay._has_leaves() AS has_leaves,
		   coalesce(current_setting('agentpay.workers_enabled', true), 'off')
			   = 'on' AS enabled,
		   EXISTS (SELECT FROM agentpay.agents a
					WHERE a.enabled AND a.stage <> 'off') AS wanted,
		   current_setting('max_worker_processes')::int AS slots,
		   (SELECT count(*) FROM pg_stat_activity b
			 WHERE b.datname = current_database()
			   AND b.backend_type LIKE 'agentpay%') AS workers,
		   (SELECT count(*) FROM pg_stat_activity b
			 WHERE b.datname = current_database()
			   AND b.backend_type = 'agentpay dispatcher') AS dispatchers,
		   (SELECT count(*) FROM pg_stat_activity b
			 WHERE b.backend_type NOT IN ('client backend', 'checkpointer',
				'background writer', 'walwriter', 'walsender', 'walreceiver',
				'autovacuum launcher', 'autovacuum worker', 'archiver',
				'startup', 'standalone backend', 'slotsync worker',
				'io worker', 'walsummarizer', 'logger',
				-- of a query, this one too: gone in a moment
				'parallel worker')) AS used)
SELECT 'error' AS level, 'database' AS object_kind,
	   current_database()::text AS object,
	   'this database was restored or copied: rules decide, but no agent is asked and no configuration is logged until its owner says that it is the ledger now'
		   AS problem,
	   'SELECT agentpay.adopt();' AS fix
  FROM s WHERE s.held AND s.has_leaves
UNION ALL
SELECT 'warning', 'setting', 'agentpay.workers_enabled',
	   'workers are switched off: no agent is asked',
	   'ALTER SYSTEM SET agentpay.workers_enabled = on; SELECT pg_reload_conf();'
  FROM s WHERE s.wanted AND NOT s.enabled
UNION ALL
SELECT 'error', 'database', current_database(),
	   'agents wait, but no worker of agentpay runs in this database',
	   CASE WHEN s.used >= s.slots
			THEN format('ALTER SYSTEM SET max_worker_processes = %s; -- then restart',
						s.slots + 8)
			ELSE 'SELECT * FROM agentpay.stat_workers; -- and the server''s log'
			END
  FROM s WHERE s.wanted AND s.enabled AND s.workers = 0 AND NOT s.held
UNION ALL
SELECT 'warning', 'setting', 'agentpay.dispatchers',
	   format('%s of %s dispatchers run', s.dispatchers,
			  current_setting('agentpay.dispatchers')),
	   'SELECT * FROM agentpay.stat_workers; -- and the server''s log; max_worker_processes must have room for them'
  FROM s
 WHERE s.wanted AND s.enabled AND s.workers > 0 AND NOT s.held
   AND s.dispatchers < coalesce(
		current_setting('agentpay.dispatchers', true)::int, 0)
UNION ALL
SELECT 'warning', 'setting', 'max_worker_processes',
	   format('all %s background workers are in use: a worker that ends may find no slot to come back to',
			  s.slots),
	   format('ALTER SYSTEM SET max_worker_processes = %s; -- then restart',
			  s.slots + 8)
  FROM s WHERE s.used >= s.slots
UNION ALL
SELECT 'warning', 'partition', 'agentpay.' || m.name,
	   'a partition ahead of time is missing; it is made when the first row needs it, by the payment that waits',
	   'SELECT agentpay._make_partitions();'
  FROM s CROSS JOIN LATERAL agentpay._missing_partitions() AS m
 WHERE s.has_leaves AND NOT s.held;
REVOKE ALL ON agentpay._advice_database FROM PUBLIC;

-- ── points, rules, features ─────────────────────────────────────────────────
-- BEFORE triggers fire in the order of their names' bytes; a partition may
-- have triggers of its own.
CREATE VIEW agentpay._advice_triggers AS
WITH p AS (
	SELECT d.table_name, string_agg(d.point, ', ' ORDER BY d.point) AS points
	  FROM agentpay.decision_points d
	  JOIN pg_class c ON c.oid = d.table_name
	 WHERE d.enabled
	 GROUP BY d.table_name),
wanted AS (
	SELECT p.*, w.name, t.tgname, t.tgenabled
	  FROM p
	 CROSS JOIN (VALUES ('~agentpay_score'), ('~agentpay_record')) AS w (name)
	  LEFT JOIN pg_trigger t
		ON t.tgrelid = p.table_name AND t.tgname = w.name)
SELECT 'error' AS level, 'table' AS object_kind,
	   w.table_name::text AS object,
	   format('trigger "%s" is missing: rows of %s get no decision', w.name,
			  w.points) AS problem,
	   format('DROP TRIGGER IF EXISTS "~agentpay_score" ON %1$s; DROP TRIGGER IF EXISTS "~agentpay_record" ON %1$s; SELECT agentpay._install_triggers(%2$L);',
			  w.table_name, w.table_name::text) AS fix
  FROM wanted w WHERE w.tgname IS NULL
UNION ALL
SELECT 'error', 'table', w.table_name::text,
	   format('trigger "%s" is %s', w.name, CASE w.tgenabled
			WHEN 'D' THEN 'disabled: rows get no decision'
			WHEN 'R' THEN 'for replicas only: rows get no decision'
			ELSE 'not ENABLE ALWAYS: a session can go around it' END),
	   format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;', w.table_name, w.name)
  FROM wanted w WHERE w.tgenabled <> 'A'
UNION ALL
SELECT 'warning', 'table', t.tgrelid::regclass::text,
	   format('trigger "%s" fires after the row was scored, and may change what the rules have seen',
			  t.tgname),
	   format('ALTER TRIGGER %I ON %s RENAME TO %I;', t.tgname,
			  t.tgrelid::regclass, 'a_' || ltrim(t.tgname, '~'))
  FROM p
 CROSS JOIN LATERAL (SELECT p.table_name AS relid
					 UNION
					 SELECT r.relid FROM pg_partition_tree(p.table_name) AS r)
	AS r
  JOIN pg_trigger t ON t.tgrelid = r.relid AND NOT t.tgisinternal
   -- row (1), before (2), insert (4)
   AND t.tgtype & 7 = 7
   AND t.tgname COLLATE "C" > '~agentpay_score' AND t.tgenabled <> 'D'
   AND t.tgparentid = 0;
REVOKE ALL ON agentpay._advice_triggers FROM PUBLIC;

CREATE VIEW agentpay._advice_points AS
WITH p AS (
	SELECT d AS point_row, d.point, d.table_name, d.enabled,
		   d.idempotency_column, d.occurred_at_column,
		   EXISTS (SELECT FROM pg_class c WHERE c.oid = d.table_name) AS stands
	  FROM agentpay.decision_points d),
r AS (
	SELECT p.point, p.table_name, p.point_row, u.code, u.version, t.reads,
		   t.problem
	  FROM p
	  JOIN agentpay.rulesets s ON s.point = p.point AND s.state = 'active'
	  JOIN agentpay.rules u ON u.point = s.point AND u.version = s.version
	   AND u.enabled
	 CROSS JOIN LATERAL agentpay._try_expression(p.table_name, p.point,
			u.condition, 'boolean', 'rule') AS t
	 WHERE p.stands AND p.enabled)
SELECT 'error' AS level, 'point' AS object_kind, p.point AS object,
	   'its table was dropped' AS problem,
	   format('SELECT agentpay.detach(%L);', p.point) AS fix
  FROM p WHERE NOT p.stands AND p.enabled
UNION ALL
SELECT 'warning', 'point', p.point,
	   format('rows of %s, which inherits from its table, pass through unseen',
			  h.inhrelid::regclass),
	   format('ALTER TABLE %s NO INHERIT %s; -- or partition it instead',
			  h.inhrelid::regclass, p.table_name)
  FROM p
  JOIN pg_inherits h ON h.inhparent = p.table_name
  JOIN pg_class c ON c.oid = h.inhrelid AND NOT c.relispartition
 WHERE p.stands AND p.enabled
UNION ALL
SELECT 'info', 'point', p.point, 'disabled: rows pass through unseen',
	   format('UPDATE agentpay.decision_points SET enabled = true WHERE point = %L; SELECT agentpay._install_triggers(%L);',
			  p.point, p.table_name::text)
  FROM p WHERE NOT p.enabled AND p.stands
UNION ALL
SELECT 'warning', 'point', p.point,
	   'no ruleset is active: every row gets the default verdict',
	   CASE WHEN EXISTS (SELECT FROM agentpay.rulesets s
						  WHERE s.point = p.point AND s.state = 'draft')
			THEN format('SELECT agentpay.activate(%L);', p.point)
			ELSE format('INSERT INTO agentpay.rules (point, code, condition, score) VALUES (%L, ..., ..., ...); SELECT agentpay.activate(%L);',
						p.point, p.point) END
  FROM p WHERE p.enabled
   AND NOT EXISTS (SELECT FROM agentpay.rulesets s
					WHERE s.point = p.point AND s.state = 'active')
UNION ALL
SELECT 'error', 'rule', format('%s.%s.%s', r.point, r.version, r.code),
	   'the rule does not compile any more: ' || r.problem,
	   format('SELECT agentpay.draft(%L); UPDATE agentpay.rules SET condition = ... WHERE point = %L AND code = %L AND version = (SELECT max(version) FROM agentpay.rulesets WHERE point = %L); SELECT agentpay.activate(%L);',
			  r.point, r.point, r.code, r.point, r.point)
  FROM r WHERE r.problem IS NOT NULL
UNION ALL
SELECT 'info', 'column', format('%s.%I', c.table_name, c.column_name),
	   format('rules or agents of %s read it, and it has no data policy: decisions store it in clear, apart from card numbers, IBANs and e-mail addresses',
			  c.points),
	   agentpay._policy_mend(c.table_name, c.column_name)
  FROM (SELECT s.table_name, x.name AS column_name,
			   string_agg(DISTINCT s.point, ', ') AS points
		  FROM (SELECT r.table_name, r.point, r.reads FROM r
				UNION ALL
				SELECT p.table_name, p.point, t.reads || m.features
				  FROM p
				  JOIN agentpay.agents a ON a.point = p.point AND a.enabled
				   AND a.stage <> 'off'
				  LEFT JOIN agentpay.models m ON m.name = a.model AND m.active
				   AND a.protocol = 'builtin'
				 CROSS JOIN LATERAL agentpay._try_expression(p.table_name,
						p.point, a.invoke_when, 'boolean', 'invoke') AS t
				 WHERE p.stands AND p.enabled
				UNION ALL
				SELECT f.from_table, f.point, t.reads
				  FROM p
				  JOIN agentpay.features f ON f.point = p.point
				   AND f.kind = 'lookup'
				  JOIN pg_class c ON c.oid = f.from_table
				 CROSS JOIN LATERAL agentpay._try_expression(f.from_table,
						f.point, f.value, 'any', 'feature') AS t
				 WHERE p.stands AND p.enabled AND (
						EXISTS (SELECT FROM r WHERE r.point = f.point
								 AND f.name = ANY (r.reads))
						OR EXISTS (SELECT FROM agentpay.agents a
							 WHERE a.point = f.point AND a.enabled
							   AND a.stage <> 'off' AND f.name = ANY (a.fields)))
				) AS s
		 CROSS JOIN LATERAL unnest(s.reads) AS x (name)
		  JOIN pg_attribute a ON a.attname = x.name AND a.attnum > 0
		   AND NOT a.attisdropped
		 WHERE a.attrelid = s.table_name
		   AND NOT EXISTS (SELECT FROM agentpay.data_policies d
							WHERE d.table_name = s.table_name
							  AND d.column_name = x.name)
		 GROUP BY 1, 2) AS c
UNION ALL
SELECT 'error', 'feature', f.point || '.' || f.name,
	   CASE WHEN s.stands
			THEN 'the index that finds its rows is missing or invalid: the feature fails, and rows get the on_error verdict'
			ELSE 'the table that it reads is gone: the feature fails, and rows get the on_error verdict'
	   END,
	   CASE WHEN s.stands
			THEN format('CREATE %sINDEX ON %s (%s);',
			  CASE WHEN s.time_column IS NULL THEN 'UNIQUE ' ELSE '' END,
			  s.table_name,
			  (SELECT string_agg(quote_ident(k), ', ' ORDER BY ord)
				 FROM unnest(s.key || s.time_column::text)
					  WITH ORDINALITY AS u (k, ord)
				WHERE k IS NOT NULL))
			ELSE format('UPDATE agentpay.features SET from_table = ... WHERE point = %L AND name = %L;',
						f.point, f.name) END
  FROM p JOIN agentpay.features f ON f.point = p.point
 CROSS JOIN LATERAL (
	SELECT t.table_name, coalesce(f.from_key, f.key) AS key,
		   coalesce(f.from_time, CASE WHEN f.kind <> 'lookup'
								 THEN p.occurred_at_column END) AS time_column,
		   EXISTS (SELECT FROM pg_class c WHERE c.oid = t.table_name) AS stands
	  FROM (VALUES (agentpay._feature_table(f, p.point_row))) AS t (table_name)
	) AS s
 WHERE p.stands AND p.enabled
   AND NOT CASE WHEN s.time_column IS NULL
		   THEN agentpay._has_unique_index(s.table_name, s.key)
		   ELSE agentpay._has_window_index(s.table_name, s.key, s.time_column)
		   END
UNION ALL
SELECT 'warning', 'point', p.point,
	   format('the idempotency column "%s" of %s has no index: looking for a repeated key reads the whole table',
			  p.idempotency_column, p.table_name),
	   format('CREATE INDEX CONCURRENTLY ON %s (%I);', p.table_name,
			  p.idempotency_column)
  FROM p
 WHERE p.stands AND p.enabled AND p.idempotency_column IS NOT NULL
   AND NOT EXISTS (
	SELECT FROM pg_index i
	  JOIN pg_attribute a ON a.attrelid = i.indrelid
	   AND a.attnum = i.indkey[0]
	 WHERE i.indrelid = p.table_name AND i.indisvalid AND i.indpred IS NULL
	   AND a.attname = p.idempotency_column);
REVOKE ALL ON agentpay._advice_points FROM PUBLIC;

-- ── labels of what is stopped ───────────────────────────────────────────────
CREATE VIEW agentpay._advice_labels AS
WITH p AS (
	SELECT d.* FROM agentpay.decision_points d WHERE d.enabled)
SELECT 'warning' AS level, 'point' AS object_kind, p.point AS object,
	   'explore_percent lets declined payments of any amount through'
		   AS problem,
	   format('UPDATE agentpay.decision_points SET %s WHERE point = %L;',
			  CASE WHEN p.amount_column IS NULL THEN 'explore_percent = 0'
				   ELSE 'explore_max_amount = 100' END, p.point) AS fix
  FROM p WHERE p.explore_percent > 0 AND p.explore_max_amount IS NULL
UNION ALL
SELECT 'warning', 'point', p.point,
	   'explore_percent does nothing: in mode first_match every verdict is a rule''s own, and those are never let through',
	   format('UPDATE agentpay.decision_points SET explore_percent = 0 WHERE point = %L; -- or a draft of mode score',
			  p.point)
  FROM p
  JOIN agentpay.rulesets s ON s.point = p.point AND s.state = 'active'
   AND s.mode = 'first_match'
 WHERE p.explore_percent > 0
   -- a tightest verdict that is the default needs no rule
   AND NOT EXISTS (SELECT FROM agentpay.verdicts v
					WHERE v.point = p.point AND v.is_default
					  AND v.rank = (SELECT max(x.rank) FROM agentpay.verdicts x
									 WHERE x.point = p.point))
UNION ALL
SELECT 'warning', 'point', a.point,
	   format('%s stopped payments were drawn for audit more than %s ago, and nobody has labelled them: accuracy is not identifiable until then',
			  a.rows, a.case_due),
	   format('SELECT row_id FROM agentpay.decisions d WHERE point = %1$L AND kind = ''rules'' AND assignment = ''audit'' AND NOT EXISTS (SELECT FROM agentpay.outcomes o WHERE o.point = d.point AND o.row_id = d.row_id); -- look at them, then record_outcome(%1$L, row_id => ..., label => ..., source => ''audit'')',
			  a.point)
  FROM (SELECT p.point, p.case_due, agentpay._unlabelled_draws(p.point,
				array_agg(v.verdict), p.case_due) AS rows
		  FROM p
		  JOIN agentpay.verdicts v ON v.point = p.point AND v.positive
		 WHERE p.role = 'fraud' AND p.audit_sample_percent > 0
		   AND NOT p.labels_complete
		 GROUP BY 1, 2) AS a
 WHERE a.rows > 0;
REVOKE ALL ON agentpay._advice_labels FROM PUBLIC;

-- ── agents, budgets, switches ───────────────────────────────────────────────
CREATE VIEW agentpay._advice_agents AS
WITH q AS MATERIALIZED (
	SELECT s.agent, sum(s.tasks) AS tasks,
		   (SELECT agentpay._now()) - max(s.oldest_age) AS oldest
	  FROM agentpay.queue_status s
	 GROUP BY s.agent)
SELECT 'warning' AS level, 'agent' AS object_kind, a.name AS object,
	   format('%s of its tasks are open, but it is %s', q.tasks,
			  CASE WHEN a.enabled THEN 'off' ELSE 'disabled' END) AS problem,
	   format('UPDATE agentpay.agents SET %s WHERE name = %L;',
			  CASE WHEN a.enabled THEN 'stage = ''shadow'''
				   ELSE 'enabled = true' END, a.name) AS fix
  FROM agentpay.agents a JOIN q ON q.agent = a.name
 WHERE a.stage = 'off' OR NOT a.enabled
UNION ALL
SELECT 'warning', 'agent', a.name,
	   format('its oldest open task has waited for %s, with a time-out of %s ms',
			  date_trunc('second', (SELECT agentpay._now()) - q.oldest),
			  a.timeout_ms),
	   format('SELECT * FROM agentpay.queue_status WHERE agent = %L; -- budgets, kill switches and stat_workers say why',
			  a.name)
  FROM agentpay.agents a JOIN q ON q.agent = a.name
 WHERE a.stage <> 'off' AND a.enabled
   AND q.oldest < (SELECT agentpay._now())
				  - 5 * a.timeout_ms * interval '1 ms'
UNION ALL
SELECT 'error', 'agent', a.name,
	   format('no budget in its scope caps its cost per %s', m.period),
	   format('INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES (%L, ''agent'', %L, %L, %s);',
			  a.name || '_' || m.period, a.name, m.period,
			  CASE m.period WHEN 'hour' THEN 5 ELSE 0.05 END)
  FROM agentpay.agents a
 CROSS JOIN LATERAL (SELECT agentpay._missing_cap(a) AS period) AS m
 WHERE m.period IS NOT NULL
UNION ALL
SELECT 'warning', 'agent', a.name,
	   format('field "%s" is never sent: column "%s" of %s has no data policy',
			  f.field, m.column_name, m.table_name),
	   agentpay._policy_mend(m.table_name, m.column_name)
  FROM agentpay.agents a
  JOIN agentpay.decision_points p ON p.point = a.point
  JOIN pg_class c ON c.oid = p.table_name
 CROSS JOIN LATERAL unnest(a.fields) AS f (field)
 CROSS JOIN LATERAL (SELECT agentpay._unpolicied(p, f.field) AS column_name,
							agentpay._policy_table(p, f.field) AS table_name)
	AS m
 WHERE a.protocol <> 'builtin' AND m.column_name IS NOT NULL;
REVOKE ALL ON agentpay._advice_agents FROM PUBLIC;

CREATE VIEW agentpay._advice_control AS
SELECT CASE b.state WHEN 'exhausted' THEN 'error' ELSE 'warning' END AS level,
	   'budget' AS object_kind, b.name AS object,
	   CASE WHEN b.used_percent IS NULL THEN 'its cap is 0'
			ELSE format('%s %% of it is used in the last %s',
						round(b.used_percent, 1), b.period) END
		   || CASE b.state WHEN 'exhausted'
			  THEN '; exhausted: ' || c.on_exhausted ELSE '' END AS problem,
	   format('UPDATE agentpay.budgets SET %s WHERE name = %L;',
			  concat_ws(', ',
				'cap_cost = ' || trim_scale(CASE b.cap_cost WHEN 0 THEN 1
											ELSE 2 * b.cap_cost END),
				'cap_calls = ' || CASE b.cap_calls WHEN 0 THEN 100
								  ELSE 2 * b.cap_calls END), b.name) AS fix
  FROM agentpay.budget_status b JOIN agentpay.budgets c ON c.name = b.name
 WHERE b.state IN ('alert', 'exhausted')
UNION ALL
SELECT 'warning', 'kill_switch', concat_ws(' ', k.scope, nullif(k.target, '*')),
	   format('engaged by %s at %s%s', k.changed_by,
			  date_trunc('second', k.changed_at),
			  coalesce(': ' || k.reason, '')),
	   format('UPDATE agentpay.kill_switches SET engaged = false, reason = ... WHERE scope = %L AND target = %L RETURNING *;',
			  k.scope, k.target)
  FROM agentpay.kill_switches k WHERE k.engaged;
REVOKE ALL ON agentpay._advice_control FROM PUBLIC;

-- ── what the logs tell ──────────────────────────────────────────────────────
CREATE VIEW agentpay._advice_logs AS
WITH d AS MATERIALIZED (
	SELECT d.point, d.detail, d.currency,
		   d.amount IS NOT NULL AND d.base_amount IS NULL AS unconverted
	  FROM agentpay._odd_decisions(agentpay._now() - interval '1 day') AS d)
SELECT 'warning' AS level, 'rule' AS object_kind,
	   format('%s.%s', d.point, e.key) AS object,
	   format('failed %s times in the last day: %s', count(*),
			  min(e.value ->> 'message')) AS problem,
	   format('SELECT row_id, detail -> ''errors'' FROM agentpay.decisions WHERE point = %L AND detail -> ''errors'' ? %L; -- then draft(), mend it, activate()',
			  d.point, e.key) AS fix
  FROM d, jsonb_each(CASE jsonb_typeof(d.detail -> 'errors')
					 WHEN 'object' THEN d.detail -> 'errors' END) AS e
 GROUP BY d.point, e.key
UNION ALL
SELECT 'warning', 'point', d.point,
	   format('%s rows of the last day were changed after they were scored: %s',
			  count(*), min(d.detail ->> 'changed_after_scoring')),
	   format('SELECT tgname FROM pg_trigger WHERE tgrelid = %s AND NOT tgisinternal; -- rename what sorts after ~agentpay_score',
			  d.point_table)
  FROM (SELECT d.*, coalesce((SELECT quote_literal(p.table_name::text)
								  || '::regclass'
								FROM agentpay.decision_points p
							   WHERE p.point = d.point), 'NULL') AS point_table
		  FROM d WHERE d.detail ? 'changed_after_scoring') AS d
 GROUP BY d.point, d.point_table
UNION ALL
SELECT 'warning', 'point', d.point,
	   format('%s rows of the last day are in %s, which has no exchange rate to %s: what they are worth is not known',
			  count(*), d.currency, p.base_currency),
	   format('INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate) VALUES (%L, %L, current_date, ...);',
			  p.base_currency, d.currency)
  FROM d JOIN agentpay.decision_points p ON p.point = d.point AND p.enabled
 WHERE d.unconverted AND d.currency ~ '^[A-Z]{3}$'
   AND d.currency <> p.base_currency
   AND NOT EXISTS (SELECT FROM agentpay.exchange_rates e
					WHERE e.base = p.base_currency AND e.currency = d.currency
					  AND e.valid_from <= current_date)
 GROUP BY d.point, d.currency, p.base_currency
UNION ALL
SELECT 'warning', 'point', l.point,
	   format('of %s payments that are old enough, %s have a label', l.mature,
			  l.labelled),
	   format('SELECT agentpay.record_outcome(%L, row_id => ..., label => ..., source => ''chargeback'');',
			  l.point)
  FROM (SELECT c.point, p.role, p.labels_complete, sum(c.mature) AS mature,
			   sum(round(c.share * c.mature)) AS labelled
		  FROM agentpay.label_coverage c
		  JOIN agentpay.decision_points p ON p.point = c.point
		 GROUP BY c.point, p.role, p.labels_complete) AS l
 WHERE l.mature >= 1000
   AND l.labelled < l.mature * CASE WHEN l.labels_complete THEN 0.95
							   WHEN l.role = 'fraud' THEN 0.0001
							   ELSE 0.5 END
UNION ALL
-- autovacuum analyses leaves, never their parent
SELECT 'info', 'table', 'agentpay.' || l.log,
	   'it was not analysed since it grew tenfold: reports may choose slow plans',
	   format('ANALYZE agentpay.%I;', l.log)
  FROM unnest(ARRAY['decisions', 'agent_calls', 'outcomes', '_tasks'])
	AS l (log)
  JOIN pg_class p ON p.oid = format('agentpay.%I', l.log)::regclass
  JOIN (SELECT h.inhparent, sum(c.reltuples) AS tuples
		  FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
		 WHERE c.reltuples > 0
		 GROUP BY h.inhparent) AS leaf ON leaf.inhparent = p.oid
 WHERE leaf.tuples > 10000 AND leaf.tuples > 10 * p.reltuples;
REVOKE ALL ON agentpay._advice_logs FROM PUBLIC;

-- What record_dispute() could not tell.
CREATE VIEW agentpay._advice_disputes AS
SELECT 'error' AS level, 'table' AS object_kind, g.object,
	   format('%s disputes of the last week gave no label: %s', count(*),
			  min(g.reason)) AS problem,
	   format('SELECT logged_at, reason FROM agentpay.governance_log WHERE object_kind = ''dispute'' AND object = %L AND action = ''failed''; -- once mended, an UPDATE of these disputes tells them again',
			  g.object) AS fix
  FROM agentpay.governance_log g
 WHERE g.object_kind = 'dispute' AND g.action = 'failed'
   AND g.logged_at > (SELECT agentpay._now()) - interval '7 days'
 GROUP BY g.object
UNION ALL
SELECT 'warning', 'table', g.object,
	   format('disputes have code %s of %s, which no mapping knows: they give no label',
			  g.after ->> 'reason_code', g.after ->> 'network'),
	   format('INSERT INTO agentpay.outcome_mappings (network, reason_code, label) VALUES (%L, %L, ...); -- ''fraud'', or NULL: no fraud',
			  g.after ->> 'network', g.after ->> 'reason_code')
  FROM agentpay.governance_log g
 WHERE g.object_kind = 'dispute' AND g.action = 'unmapped'
   AND NOT EXISTS (SELECT FROM agentpay.outcome_mappings m
					WHERE m.network = g.after ->> 'network'
					  AND m.reason_code = g.after ->> 'reason_code')
 GROUP BY g.object, g.after;
REVOKE ALL ON agentpay._advice_disputes FROM PUBLIC;

CREATE VIEW agentpay._advice_evidence AS
SELECT 'error' AS level, 'checkpoint' AS object_kind,
	   current_setting('agentpay.log_origin') AS object,
	   'rows of the Merkle log have waited for a signed checkpoint since '
		   || min(s.sealed_at) AS problem,
	   'SELECT last_error FROM agentpay.stat_workers WHERE worker = ''governor'';' AS fix
  FROM agentpay._seals s
 WHERE s.tree_size > (SELECT coalesce(max(c.tree_size), 0)
						FROM agentpay.checkpoints c)
   AND current_setting('agentpay.log_origin') <> ''
   AND current_setting('agentpay.checkpoint_key_file') <> ''
HAVING min(s.sealed_at) < (SELECT agentpay._now()) - interval '10 seconds'
UNION ALL
SELECT 'info', 'setting', n.name,
	   'no checkpoint of the Merkle log is '
		   || CASE n.name WHEN 'agentpay.checkpoint_directory'
			  THEN 'exported' ELSE 'signed' END,
	   format('ALTER SYSTEM SET %s = ...; SELECT pg_reload_conf();', n.name)
  FROM unnest(ARRAY['agentpay.log_origin', 'agentpay.checkpoint_key_file',
					'agentpay.checkpoint_directory']) AS n (name)
 WHERE current_setting(n.name) = ''
   AND EXISTS (SELECT FROM agentpay._seals);
REVOKE ALL ON agentpay._advice_evidence FROM PUBLIC;

-- ── keys ────────────────────────────────────────────────────────────────────
CREATE VIEW agentpay._advice_keys AS
WITH given AS MATERIALIZED (
	SELECT agentpay._master_names() AS names),
wrapping AS (
	SELECT k.master_name, count(*) AS keys
	  FROM (SELECT master_name FROM agentpay._subject_keys
			UNION ALL SELECT master_name FROM agentpay._lookup_key) AS k
	 GROUP BY k.master_name)
SELECT 'info' AS level, 'setting' AS object_kind,
	   'agentpay.master_key' AS object,
	   'there is no master key: what data policies treat is stored in its treated form only, and replay() cannot repeat what depends on it' AS problem,
	   'ALTER SYSTEM SET agentpay.master_key = ''file:...''; SELECT pg_reload_conf();' AS fix
  FROM given g
 WHERE g.names IS NULL AND NOT EXISTS (SELECT FROM wrapping)
   AND EXISTS (SELECT FROM agentpay.data_policies d
				 JOIN agentpay.decision_points p USING (table_name)
				WHERE p.enabled AND d.treatment <> 'pass')
UNION ALL
SELECT 'error', 'setting', 'agentpay.master_key',
	   format('%s keys cannot be used: the master key %s that wraps them is not given',
			  w.keys, encode(w.master_name, 'hex')),
	   'ALTER SYSTEM SET agentpay.master_key = ''file:...''; SELECT pg_reload_conf();'
  FROM wrapping w, given g
 WHERE g.names IS NULL OR w.master_name <> ALL (g.names)
UNION ALL
SELECT 'warning', 'setting', 'agentpay.master_key',
	   format('%s keys are wrapped by an older master key, %s', w.keys,
			  encode(w.master_name, 'hex')),
	   'SELECT agentpay.rotate_master_key();'
  FROM wrapping w, given g
 WHERE w.master_name = ANY (g.names) AND w.master_name <> g.names[1];
REVOKE ALL ON agentpay._advice_keys FROM PUBLIC;

-- SECURITY DEFINER: whoever may read the view need not be able to read what it
-- looks at, nor to call what tries expressions.
CREATE FUNCTION agentpay._advice()
	RETURNS TABLE (level text, object_kind text, object text, problem text,
				   fix text)
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
SELECT a.level, a.object_kind, a.object, a.problem, a.fix
  FROM (SELECT * FROM agentpay._advice_database
		UNION ALL SELECT * FROM agentpay._advice_triggers
		UNION ALL SELECT * FROM agentpay._advice_points
		UNION ALL SELECT * FROM agentpay._advice_labels
		UNION ALL SELECT * FROM agentpay._advice_agents
		UNION ALL SELECT * FROM agentpay._advice_rollout
		UNION ALL SELECT * FROM agentpay._advice_control
		UNION ALL SELECT * FROM agentpay._advice_logs
		UNION ALL SELECT * FROM agentpay._advice_evidence
		UNION ALL SELECT * FROM agentpay._advice_keys
		UNION ALL SELECT * FROM agentpay._advice_disputes) AS a
 ORDER BY array_position('{error,warning,info}', a.level), a.object_kind,
		  a.object, a.problem
$$;
REVOKE ALL ON FUNCTION agentpay._advice() FROM PUBLIC;

CREATE VIEW agentpay.advice AS
SELECT a.level, a.object_kind, a.object, a.problem, a.fix
  FROM agentpay._advice() AS a;
REVOKE ALL ON agentpay.advice FROM PUBLIC;
COMMENT ON VIEW agentpay.advice IS 'what is misconfigured or risky now, the worst first';
COMMENT ON COLUMN agentpay.advice.level IS 'error: something does not work; warning: something is about to, or needs a look; info: worth knowing';
COMMENT ON COLUMN agentpay.advice.object_kind IS 'agent, budget, checkpoint, column, database, feature, kill_switch, partition, point, rule, setting, table';
COMMENT ON COLUMN agentpay.advice.fix IS 'the SQL that mends it; ... is yours to fill in';
