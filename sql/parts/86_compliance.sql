-- 86_compliance.sql
--		What auditors of PCI DSS, SOC 2, GDPR, the EU AI Act, DORA and OWASP's
--		list ask, answered from the catalog and the logs: evidence, not
--		certification.
--
-- Each control has one query, which returns its state and its figure.  The view
-- runs the query that it shows.  {points} in it is the points that are asked
-- about: all that are enabled, or, for the gate of an agent, its own.

CREATE FUNCTION agentpay._controls()
	RETURNS TABLE (framework text, control text, meaning text, query text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.framework, c.control, c.meaning, btrim(c.query, E'\n')
	  FROM (VALUES
		('PCI DSS 4.0.1', '3.3.1',
		 'sensitive authentication data is not kept after authorisation',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE a.attname ~*
'^(cvv2?|cvc2?|cav2|cid|csc|card_?verification.*|track_?[123]?(_?data)?|pin(_?block)?|full_?track)$'
AND d.treatment IS DISTINCT FROM 'drop') = 0 THEN 'pass' ELSE 'fail' END AS
state, format('%s columns by their name hold such data and are not dropped',
count(*) FILTER (WHERE a.attname ~*
'^(cvv2?|cvc2?|cav2|cid|csc|card_?verification.*|track_?[123]?(_?data)?|pin(_?block)?|full_?track)$'
AND d.treatment IS DISTINCT FROM 'drop')) AS figure FROM
agentpay.decision_points p JOIN ({points}) s (point) ON s.point = p.point
AND p.enabled JOIN pg_attribute a ON a.attrelid = p.table_name AND a.attnum
> 0 AND NOT a.attisdropped LEFT JOIN agentpay.data_policies d ON
d.table_name = a.attrelid AND d.column_name = a.attname$q$),
		('PCI DSS 4.0.1', '3.4.1',
		 'card numbers are masked where they are shown or sent',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE coalesce(d.treatment, 'pass') = 'pass') = 0 THEN 'pass' ELSE 'fail'
END AS state,
format('%s of %s columns of class pci, or named like card numbers, are not masked',
count(*) FILTER (WHERE coalesce(d.treatment, 'pass') = 'pass'), count(*)) AS
figure FROM agentpay.decision_points p JOIN ({points}) s (point) ON s.point
= p.point AND p.enabled JOIN pg_attribute a ON a.attrelid = p.table_name AND
a.attnum > 0 AND NOT a.attisdropped LEFT JOIN agentpay.data_policies d ON
d.table_name = a.attrelid AND d.column_name = a.attname WHERE (d.class =
'pci' OR a.attname ~*
'^(pan|card_?(no|num|number)|account_?number|primary_?account.*)$')$q$),
		('PCI DSS 4.0.1', '3.5.1',
		 'stored card numbers are unreadable',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE coalesce(d.treatment, 'pass') NOT IN ('mask', 'tokenise', 'hash',
'drop')) = 0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s columns that may hold card numbers are stored readable by agentpay',
count(*) FILTER (WHERE coalesce(d.treatment, 'pass') NOT IN ('mask',
'tokenise', 'hash', 'drop')), count(*)) AS figure FROM
agentpay.decision_points p JOIN ({points}) s (point) ON s.point = p.point
AND p.enabled JOIN pg_attribute a ON a.attrelid = p.table_name AND a.attnum
> 0 AND NOT a.attisdropped LEFT JOIN agentpay.data_policies d ON
d.table_name = a.attrelid AND d.column_name = a.attname WHERE (d.class =
'pci' OR a.attname ~*
'^(pan|card_?(no|num|number)|account_?number|primary_?account.*)$')$q$),
		('PCI DSS 4.0.1', '10.2',
		 'audit logs record each change and each decision',
$q$SELECT CASE WHEN count(*) FILTER (WHERE t.tgenabled IS DISTINCT FROM 'A') =
0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s tables of the configuration are not recorded when they change',
count(*) FILTER (WHERE t.tgenabled IS DISTINCT FROM 'A'), count(*)) AS
figure FROM (SELECT c.oid FROM pg_extension e, unnest(e.extconfig) x (oid)
JOIN pg_class c ON c.oid = x.oid AND c.relkind = 'r' AND c.relname ~
'^[a-z]' WHERE e.extname = 'agentpay' AND EXISTS (SELECT FROM pg_trigger g
WHERE g.tgrelid = c.oid AND g.tgname = 'agentpay_changed')) AS k LEFT JOIN
pg_trigger t ON t.tgrelid = k.oid AND t.tgname = 'agentpay_govern'$q$),
		('PCI DSS 4.0.1', '10.3.1',
		 'only those whose work needs it read the audit logs',
$q$SELECT CASE WHEN bool_or(g.grantee = 0) THEN 'fail' ELSE 'pass' END AS
state, format('%s roles beside the owner; everybody: %s', count(DISTINCT
g.grantee) FILTER (WHERE g.grantee NOT IN (0, c.relowner)),
coalesce(bool_or(g.grantee = 0), false)) AS figure FROM (SELECT c.* FROM
pg_class c WHERE c.oid IN (SELECT relid FROM
unnest('{agentpay.decisions,agentpay.agent_calls,agentpay.outcomes,agentpay.governance_log}'::regclass[])
l, pg_partition_tree(l))) AS c LEFT JOIN LATERAL aclexplode(c.relacl) AS g
ON g.privilege_type = 'SELECT'$q$),
		('PCI DSS 4.0.1', '10.3.2',
		 'the audit logs cannot be changed',
$q$SELECT CASE WHEN sum(x.grants + x.unguarded) = 0 THEN 'pass' ELSE 'fail' END
AS state,
format('%s grants to write logs, %s tables without an enabled guard, of %s',
sum(x.grants), sum(x.unguarded), count(*)) AS figure FROM (SELECT (SELECT
count(*) FROM aclexplode(c.relacl) g WHERE g.privilege_type IN ('INSERT',
'UPDATE', 'DELETE', 'TRUNCATE') AND g.grantee <> c.relowner) AS grants, (NOT
EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled =
'A' AND t.tgname = 'agentpay_change'))::int AS unguarded FROM pg_class c
WHERE c.oid IN (SELECT relid FROM
unnest('{agentpay.decisions,agentpay.agent_calls,agentpay.outcomes,agentpay.governance_log}'::regclass[])
l, pg_partition_tree(l))) AS x$q$),
		('PCI DSS 4.0.1', '10.3.3',
		 'the audit logs are backed up promptly elsewhere',
$q$SELECT CASE WHEN current_setting('archive_mode') <> 'off' AND
coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time IS
NOT NULL) THEN 'fail' WHEN current_setting('archive_mode') <> 'off' OR r.n >
0 THEN 'pass' ELSE 'not_checkable' END AS state,
format('archive_mode %s, %s files archived, %s failures, %s standbys; other backups cannot be seen from here',
current_setting('archive_mode'), a.archived_count, a.failed_count, r.n) AS
figure FROM pg_stat_archiver a, (SELECT count(*) AS n FROM
pg_stat_replication) AS r$q$),
		('PCI DSS 4.0.1', '10.3.4',
		 'a change of the audit logs would be noticed',
$q$SELECT CASE WHEN s.size IS NULL THEN 'not_checkable' WHEN c.size IS NULL OR
c.waits_since < now() - interval '1 minute' THEN 'fail' ELSE 'pass' END AS
state, format('%s rows sealed, %s under a signed checkpoint',
coalesce(s.size, 0), coalesce(c.size, 0)) AS figure FROM (SELECT
max(tree_size) AS size FROM agentpay._seals) AS s, LATERAL (SELECT (SELECT
max(k.tree_size) FROM agentpay.checkpoints k) AS size, (SELECT
min(x.sealed_at) FROM agentpay._seals x WHERE x.tree_size > (SELECT
coalesce(max(k.tree_size), 0) FROM agentpay.checkpoints k)) AS waits_since)
AS c$q$),
		('PCI DSS 4.0.1', '10.5.1',
		 'twelve months of audit logs are kept, three of them at hand',
$q$SELECT CASE WHEN p.since IS NULL THEN 'not_applicable' WHEN
bool_or(l.since IS NULL) THEN 'not_checkable' WHEN bool_and(l.kept @>
tstzrange(greatest(p.since, now() - interval '12 months'), now())) THEN
'pass' ELSE 'fail' END AS state,
format('logs since %s, decisions since %s; %s partitions dropped by apply_retention()',
coalesce(max(l.since)::date::text, 'never'), coalesce(p.since::date::text,
'never'), (SELECT count(*) FROM agentpay.governance_log g WHERE
g.object_kind = 'partition' AND g.action = 'drop')) AS figure FROM (SELECT
min(attached_at) AS since FROM agentpay.decision_points) AS p CROSS JOIN
(SELECT x.log, min(lower(b.during)) AS since, range_agg(b.during) AS kept
FROM
unnest('{agentpay.decisions,agentpay.agent_calls,agentpay.outcomes,agentpay.governance_log}'::regclass[])
AS x (log) LEFT JOIN pg_inherits i ON i.inhparent = x.log LEFT JOIN pg_class
c ON c.oid = i.inhrelid LEFT JOIN LATERAL (SELECT
tstzrange((regexp_match(x.bound, 'FROM \(''([^'']+)''\)'))[1]::timestamptz,
(regexp_match(x.bound, 'TO \(''([^'']+)''\)'))[1]::timestamptz) AS during FROM
pg_get_expr(c.relpartbound, c.oid) AS x (bound)) AS b ON true GROUP BY x.log)
AS l GROUP BY p.since$q$),
		('PCI DSS 4.0.1', '12.10.7',
		 'somebody acts when a card number turns up where none should be',
$q$SELECT 'not_checkable' AS state,
format('the procedure is on paper; of %s columns, text is scanned before it is stored or sent',
count(*)) AS figure FROM agentpay.decision_points p JOIN ({points}) s
(point) ON s.point = p.point AND p.enabled JOIN pg_attribute a ON a.attrelid
= p.table_name AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN
agentpay.data_policies d ON d.table_name = a.attrelid AND d.column_name =
a.attname$q$),
		('SOC 2', 'CC6.1',
		 'access is restricted to those who were granted it',
$q$SELECT CASE WHEN count(*) FILTER (WHERE x.public) = 0 THEN 'pass' ELSE
'fail' END AS state,
format('%s of %s schemas, relations and functions are open to everybody',
count(*) FILTER (WHERE x.public), count(*)) AS figure FROM (SELECT EXISTS
(SELECT FROM aclexplode(n.nspacl) g WHERE g.grantee = 0) AS public FROM
pg_namespace n WHERE n.nspname = 'agentpay' UNION ALL SELECT EXISTS (SELECT
FROM aclexplode(c.relacl) g WHERE g.grantee = 0) FROM pg_class c WHERE
c.relnamespace = 'agentpay'::regnamespace AND c.relkind IN ('r', 'p', 'v',
'S') UNION ALL SELECT EXISTS (SELECT FROM aclexplode(coalesce(f.proacl,
acldefault('f', f.proowner))) g WHERE g.grantee = 0) FROM pg_proc f WHERE
f.pronamespace = 'agentpay'::regnamespace) AS x$q$),
		('SOC 2', 'CC7.2',
		 'anomalies are monitored',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT EXISTS (SELECT FROM agentpay.guardrails g WHERE g.enabled AND
g.agent IN ('*', a.name))) = 0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s agents that are asked have no guardrail', count(*) FILTER
(WHERE NOT EXISTS (SELECT FROM agentpay.guardrails g WHERE g.enabled AND
g.agent IN ('*', a.name))), count(*)) AS figure FROM agentpay.agents a JOIN
({points}) s (point) ON s.point = a.point WHERE a.enabled AND a.stage <>
'off'$q$),
		('SOC 2', 'CC8.1',
		 'changes are authorised by somebody else than who makes them',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT p.four_eyes) = 0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s points let one login change rules and stages (four_eyes)',
count(*) FILTER (WHERE NOT p.four_eyes), count(*)) AS figure FROM
agentpay.decision_points p JOIN ({points}) s (point) ON s.point = p.point
AND p.enabled$q$),
		('GDPR', 'Article 5',
		 'no more data is used than is needed',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE d.treatment IS NULL AND a.attname NOT IN (p.id_column,
p.occurred_at_column, coalesce(p.outcome_column, ''),
coalesce(p.score_column, ''), coalesce(p.reasons_column, ''))) = 0 THEN
'pass' ELSE 'fail' END AS state,
format('%s of %s columns have no data policy', count(*) FILTER (WHERE
d.treatment IS NULL AND a.attname NOT IN (p.id_column, p.occurred_at_column,
coalesce(p.outcome_column, ''), coalesce(p.score_column, ''),
coalesce(p.reasons_column, ''))), count(*)) AS figure FROM
agentpay.decision_points p JOIN ({points}) s (point) ON s.point = p.point
AND p.enabled JOIN pg_attribute a ON a.attrelid = p.table_name AND a.attnum
> 0 AND NOT a.attisdropped LEFT JOIN agentpay.data_policies d ON
d.table_name = a.attrelid AND d.column_name = a.attname$q$),
		('GDPR', 'Article 17',
		 'a persons data can be erased on request',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN
bool_and(p.subject_column IS NOT NULL) AND
(coalesce(current_setting('agentpay.master_key', true), '') <> '') THEN
'pass' ELSE 'fail' END AS state,
format('%s of %s points name no subject; a master key is set: %s', count(*)
FILTER (WHERE p.subject_column IS NULL), count(*),
(coalesce(current_setting('agentpay.master_key', true), '') <> '')) AS
figure FROM agentpay.decision_points p JOIN ({points}) s (point) ON s.point
= p.point AND p.enabled$q$),
		('GDPR', 'Article 22',
		 'no one is subject to an automated decision without a person to turn to',
$q$SELECT CASE WHEN x.live = 0 THEN 'not_applicable' WHEN x.overdue = 0 THEN
'pass' ELSE 'fail' END AS state,
format('%s agents decide; %s cases wait for a person past their time',
x.live, x.overdue) AS figure FROM (SELECT (SELECT count(*) FROM
agentpay.agents a JOIN ({points}) s (point) ON s.point = a.point WHERE
a.enabled AND agentpay._stage_rank(a.stage) > 0) AS live, (SELECT count(*)
FROM agentpay.cases c JOIN ({points}) s (point) ON s.point = c.point WHERE
c.state <> 'closed' AND c.due_at < now()) AS overdue) AS x$q$),
		('GDPR', 'Article 25',
		 'only what is necessary leaves, by default',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE d.class = 'pii' AND d.treatment = 'pass') = 0 THEN 'pass' ELSE 'fail'
END AS state,
format('%s of %s fields that are sent are personal and in clear', count(*)
FILTER (WHERE d.class = 'pii' AND d.treatment = 'pass'), count(*)) AS figure
FROM (agentpay.agents a JOIN ({points}) s (point) ON s.point = a.point AND
a.enabled AND a.stage <> 'off' AND a.protocol <> 'builtin' CROSS JOIN
LATERAL unnest(a.fields) f (field) JOIN agentpay.decision_points p ON
p.point = a.point LEFT JOIN agentpay.data_policies d ON d.table_name =
p.table_name AND d.column_name = f.field)$q$),
		('GDPR', 'Article 30',
		 'there is a record of who processes the data',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT a.processor ?& '{name,region,dpa_ref,retention}') = 0 THEN 'pass'
ELSE 'fail' END AS state,
format('%s of %s agents outside the database lack name, region, dpa_ref or retention in processor',
count(*) FILTER (WHERE NOT a.processor ?&
'{name,region,dpa_ref,retention}'), count(*)) AS figure FROM agentpay.agents
a JOIN ({points}) s (point) ON s.point = a.point WHERE a.enabled AND a.stage
<> 'off' AND a.protocol <> 'builtin'$q$),
		('EU AI Act (voluntary)', 'Article 12',
		 'events are recorded automatically',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = p.table_name AND
t.tgenabled = 'A' AND t.tgname LIKE '~agentpay%') < 2) = 0 THEN 'pass' ELSE
'fail' END AS state, format('%s of %s points whose rows are not recorded',
count(*) FILTER (WHERE (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid =
p.table_name AND t.tgenabled = 'A' AND t.tgname LIKE '~agentpay%') < 2),
count(*)) AS figure FROM agentpay.decision_points p JOIN ({points}) s
(point) ON s.point = p.point AND p.enabled$q$),
		('EU AI Act (voluntary)', 'Article 14',
		 'a person can oversee and stop it',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT EXISTS (SELECT FROM agentpay.kill_switches k WHERE k.scope =
'agent' AND k.target = a.name)) = 0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s agents have no kill switch', count(*) FILTER (WHERE NOT
EXISTS (SELECT FROM agentpay.kill_switches k WHERE k.scope = 'agent' AND
k.target = a.name)), count(*)) AS figure FROM agentpay.agents a JOIN
({points}) s (point) ON s.point = a.point WHERE a.enabled AND a.stage <>
'off'$q$),
		('DORA', 'Article 9',
		 'data is protected on its way out',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT EXISTS (SELECT FROM agentpay.allowed_endpoints e WHERE a.endpoint
= e.origin OR starts_with(a.endpoint, e.origin || '/'))) = 0 THEN 'pass'
ELSE 'fail' END AS state,
format('%s of %s agents name an origin that is not allowed; others are called over TLS or loopback only',
count(*) FILTER (WHERE NOT EXISTS (SELECT FROM agentpay.allowed_endpoints e
WHERE a.endpoint = e.origin OR starts_with(a.endpoint, e.origin || '/'))),
count(*)) AS figure FROM agentpay.agents a JOIN ({points}) s (point) ON
s.point = a.point WHERE a.enabled AND a.stage <> 'off' AND a.protocol <>
'builtin'$q$),
		('DORA', 'Article 10',
		 'anomalous behaviour is detected and acted upon',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT EXISTS (SELECT FROM agentpay.guardrails g WHERE g.enabled AND
g.agent IN ('*', a.name) AND g.action IN ('roll_back', 'kill'))) = 0 THEN
'pass' ELSE 'fail' END AS state,
format('%s of %s agents that decide have no guardrail that rolls them back or kills them',
count(*) FILTER (WHERE NOT EXISTS (SELECT FROM agentpay.guardrails g WHERE
g.enabled AND g.agent IN ('*', a.name) AND g.action IN ('roll_back',
'kill'))), count(*)) AS figure FROM agentpay.agents a JOIN ({points}) s
(point) ON s.point = a.point WHERE a.enabled AND
agentpay._stage_rank(a.stage) > 0$q$),
		('DORA', 'Article 17',
		 'incidents are recorded with their cause',
$q$SELECT CASE WHEN count(*) FILTER (WHERE k.engaged AND
coalesce(btrim(k.reason), '') = '') = 0 THEN 'pass' ELSE 'fail' END AS
state, format('%s of %s kill switches are engaged without a reason',
count(*) FILTER (WHERE k.engaged AND coalesce(btrim(k.reason), '') = ''),
count(*)) AS figure FROM agentpay.kill_switches k$q$),
		('DORA', 'Article 28',
		 'there is a register of third parties, with contracts',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE coalesce(a.processor ->> 'dpa_ref', '') = '') = 0 THEN 'pass' ELSE
'fail' END AS state,
format('%s of %s agents outside the database name no contract (processor.dpa_ref)',
count(*) FILTER (WHERE coalesce(a.processor ->> 'dpa_ref', '') = ''),
count(*)) AS figure FROM agentpay.agents a JOIN ({points}) s (point) ON
s.point = a.point WHERE a.enabled AND a.stage <> 'off' AND a.protocol <>
'builtin'$q$),
		('OWASP LLM 2025', 'LLM01',
		 'injected instructions cannot loosen a verdict',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE EXISTS (SELECT FROM agentpay.authorities u WHERE u.agent = a.name AND
u.may_relax AND u.max_amount IS NULL)) = 0 THEN 'pass' ELSE 'fail' END AS
state, format('%s of %s agents may loosen verdicts on any amount', count(*)
FILTER (WHERE EXISTS (SELECT FROM agentpay.authorities u WHERE u.agent =
a.name AND u.may_relax AND u.max_amount IS NULL)), count(*)) AS figure FROM
agentpay.agents a JOIN ({points}) s (point) ON s.point = a.point WHERE
a.enabled AND a.stage <> 'off' AND a.protocol <> 'builtin'$q$),
		('OWASP LLM 2025', 'LLM02',
		 'sensitive information is not disclosed to the model',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE d.class IN ('pii', 'pci', 'free_text') AND d.treatment = 'pass') = 0
THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s fields that are sent are sensitive and in clear', count(*)
FILTER (WHERE d.class IN ('pii', 'pci', 'free_text') AND d.treatment =
'pass'), count(*)) AS figure FROM (agentpay.agents a JOIN ({points}) s
(point) ON s.point = a.point AND a.enabled AND a.stage <> 'off' AND
a.protocol <> 'builtin' CROSS JOIN LATERAL unnest(a.fields) f (field) JOIN
agentpay.decision_points p ON p.point = a.point LEFT JOIN
agentpay.data_policies d ON d.table_name = p.table_name AND d.column_name =
f.field)$q$),
		('OWASP LLM 2025', 'LLM05',
		 'what the model says is checked before it is used',
$q$SELECT CASE WHEN count(*) FILTER (WHERE NOT EXISTS (SELECT FROM
agentpay.verdicts v WHERE v.point = d.point AND v.verdict = d.verdict)) = 0
THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s live answers of the last day are no verdict of their point',
count(*) FILTER (WHERE NOT EXISTS (SELECT FROM agentpay.verdicts v WHERE
v.point = d.point AND v.verdict = d.verdict)), count(*)) AS figure FROM
agentpay.decisions d JOIN ({points}) s (point) ON s.point = d.point WHERE
d.kind = 'agent' AND d.authority = 'live' AND d.decided_at > now() -
interval '1 day'$q$),
		('OWASP LLM 2025', 'LLM06',
		 'the agent can do no more than it was given authority for',
$q$SELECT CASE WHEN count(*) = 0 THEN 'not_applicable' WHEN count(*) FILTER
(WHERE NOT EXISTS (SELECT FROM agentpay.authorities u WHERE u.agent =
a.name)) = 0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s agents that decide have no authorities of their own',
count(*) FILTER (WHERE NOT EXISTS (SELECT FROM agentpay.authorities u WHERE
u.agent = a.name)), count(*)) AS figure FROM agentpay.agents a JOIN
({points}) s (point) ON s.point = a.point WHERE a.enabled AND
agentpay._stage_rank(a.stage) > 0$q$),
		('OWASP LLM 2025', 'LLM10',
		 'consumption is bounded',
$q$SELECT CASE WHEN x.asked = 0 THEN 'not_applicable' WHEN x.uncapped +
x.beyond = 0 THEN 'pass' ELSE 'fail' END AS state,
format('%s of %s agents without caps per hour and transaction, %s budgets beyond their cap',
x.uncapped, x.asked, x.beyond) AS figure FROM (SELECT (SELECT count(*) FROM
agentpay.agents a JOIN ({points}) s (point) ON s.point = a.point WHERE
a.enabled AND a.stage <> 'off' AND a.protocol <> 'builtin') AS asked,
(SELECT count(*) FROM agentpay.agents a JOIN ({points}) s (point) ON s.point
= a.point WHERE a.enabled AND a.stage <> 'off' AND a.protocol <> 'builtin'
AND agentpay._missing_cap(a) IS NOT NULL) AS uncapped, (SELECT count(*) FROM
agentpay.budget_invariant) AS beyond) AS x$q$)
		) AS c (framework, control, meaning, query)
$$;
REVOKE ALL ON FUNCTION agentpay._controls() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._controls() IS 'the controls of the view compliance, and how each is looked at';

-- A query that fails tells nothing about its control.
CREATE FUNCTION agentpay._check_controls(point text DEFAULT NULL)
	RETURNS TABLE (framework text, control text, meaning text, state text,
				   figure text, evidence_query text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	c record;
BEGIN
	FOR c IN SELECT * FROM agentpay._controls() LOOP
		framework := c.framework;
		control := c.control;
		meaning := c.meaning;
		evidence_query := replace(c.query, '{points}',
			CASE WHEN _check_controls.point IS NULL THEN
				'SELECT point FROM agentpay.decision_points WHERE enabled'
			ELSE format('SELECT %L::text', _check_controls.point) END);
		BEGIN
			EXECUTE evidence_query INTO STRICT state, figure;
		EXCEPTION WHEN OTHERS THEN
			state := 'not_checkable';
			figure := 'error: ' || SQLERRM;
		END;
		RETURN NEXT;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_controls(text) FROM PUBLIC;

-- SECURITY DEFINER: whoever may read the view need not be able to read what it
-- looks at.
CREATE FUNCTION agentpay._compliance_rows()
	RETURNS TABLE (framework text, control text, meaning text, state text,
				   figure text, evidence_query text)
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM agentpay._check_controls()
$$;
REVOKE ALL ON FUNCTION agentpay._compliance_rows() FROM PUBLIC;

CREATE VIEW agentpay.compliance AS
SELECT c.framework, c.control, c.meaning, c.state, c.figure, c.evidence_query
  FROM agentpay._compliance_rows() AS c;
REVOKE ALL ON agentpay.compliance FROM PUBLIC;
COMMENT ON VIEW agentpay.compliance IS 'what can be told from here about controls of PCI DSS 4.0.1, SOC 2, GDPR, the EU AI Act (voluntary alignment), DORA and OWASP LLM 2025. Evidence for an assessor, not certification';
COMMENT ON COLUMN agentpay.compliance.meaning IS 'of the control, in one line; not its wording';
COMMENT ON COLUMN agentpay.compliance.state IS 'pass, fail, not_checkable (not from inside the database, or nothing to look at yet) or not_applicable';
COMMENT ON COLUMN agentpay.compliance.figure IS 'what the state is by';
COMMENT ON COLUMN agentpay.compliance.evidence_query IS 'returns state and figure; runs as it stands, as the owner';

-- SECURITY DEFINER: an auditor writes the log through it, and nothing else.
CREATE FUNCTION agentpay.validate_compliance()
	RETURNS TABLE (control text, state text, figure text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	run jsonb;
BEGIN
	PERFORM agentpay._refuse_held();
	SELECT jsonb_agg(jsonb_build_object('control',
			concat_ws(' ', c.framework, c.control), 'state', c.state,
			'figure', c.figure) ORDER BY c.framework, c.control)
	  INTO run FROM agentpay._check_controls() AS c;
	PERFORM agentpay._govern('validate_compliance', 'database',
		current_database(), 'evidence, not certification', NULL,
		jsonb_build_object('controls', run));
	RETURN QUERY SELECT r.control, r.state, r.figure
		FROM jsonb_to_recordset(run) AS r (control text, state text,
										   figure text)
	   ORDER BY array_position('{fail,not_checkable,pass,not_applicable}',
							   r.state), r.control;
END$$;
REVOKE ALL ON FUNCTION agentpay.validate_compliance() FROM PUBLIC;
COMMENT ON FUNCTION agentpay.validate_compliance() IS 'looks at every control, records what it found in governance_log, for the quarterly review, and returns it, failures first. Evidence, not certification';

-- For the gate: the share of the controls of a point, told either way, that
-- do not fail.  Unknown where a control could not be looked at, and where
-- nobody has validated within a quarter.
CREATE FUNCTION agentpay._compliance_share(point text, OUT value numeric,
	OUT samples bigint)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN NOT bool_or(c.state = 'not_checkable'
								 AND c.figure LIKE 'error: %')
				 AND EXISTS (SELECT FROM agentpay.governance_log g
					WHERE g.action = 'validate_compliance'
					  AND g.object_kind = 'database'
					  AND g.logged_at > (SELECT agentpay._now())
										- interval '92 days')
				-- never rounded up to 1
				THEN trunc(count(*) FILTER (WHERE c.state = 'pass')
						   / nullif(count(*) FILTER (WHERE c.state
								IN ('pass', 'fail')), 0)::numeric, 6) END,
		   count(*) FILTER (WHERE c.state IN ('pass', 'fail'))
	  FROM agentpay._check_controls(point) AS c
$$;
REVOKE ALL ON FUNCTION agentpay._compliance_share(text) FROM PUBLIC;
