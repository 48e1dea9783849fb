-- What the kill switch changed.
\pset border 1
\pset footer off
\echo
\echo Before the switch and after it: no call starts any more, each task that it stopped
\echo says so, and the payments have the verdict of the rules. The other agent goes on.
WITH k AS (
	SELECT changed_at FROM agentpay.kill_switches
	WHERE scope = 'agent' AND target = 'llm'),
decided AS (
	SELECT d.agent, d.decided_at >= k.changed_at AS after, count(*) AS tasks,
		count(d.answer) AS answered,
		count(*) FILTER (WHERE d.failure = 'killed') AS killed
	FROM agentpay.decisions d CROSS JOIN k
	WHERE d.kind IN ('agent', 'fallback')
	GROUP BY 1, 2),
called AS (
	SELECT c.agent, c.called_at >= k.changed_at AS after, count(*) AS calls
	FROM agentpay.agent_calls c CROSS JOIN k
	GROUP BY 1, 2)
SELECT agent, CASE WHEN after THEN 'after' ELSE 'before' END AS switch, tasks,
	coalesce(calls, 0) AS calls, answered, killed
FROM decided LEFT JOIN called USING (agent, after)
ORDER BY agent, after;

\echo And back:
UPDATE agentpay.kill_switches SET engaged = false, reason = 'demo is over'
WHERE scope = 'agent' AND target = 'llm'
RETURNING scope, target, engaged;

\echo Both flips are on record (agentpay.governance_log):
SELECT logged_at, actor, action, object, reason
FROM agentpay.governance_log WHERE object_kind = 'kill_switch' AND action <> 'insert'
ORDER BY logged_at;
