-- What the kill switch changed.
\pset border 1
\pset footer off
\echo
\echo Payments before it and after it. After it no call starts; the rules verdict
\echo stands, and each task that the switch stopped says so.
SELECT d.agent, CASE WHEN d.decided_at < k.changed_at THEN 'before' ELSE 'after' END AS switch,
	count(*) AS decided,
	count(*) FILTER (WHERE d.kind = 'agent') AS answered,
	count(*) FILTER (WHERE d.failure = 'killed') AS killed,
	(SELECT count(*) FROM agentpay.agent_calls c WHERE c.agent = d.agent
		AND (c.called_at < k.changed_at) = (d.decided_at < k.changed_at)) AS calls
FROM agentpay.decisions d
CROSS JOIN (SELECT changed_at FROM agentpay.kill_switches
	WHERE scope = 'agent' AND target = 'llm') k
WHERE d.kind IN ('agent', 'fallback')
GROUP BY d.agent, 2, k.changed_at, (d.decided_at < k.changed_at)
ORDER BY 1, 2 DESC;

\echo And back:
UPDATE agentpay.kill_switches SET engaged = false, reason = 'demo is over'
WHERE scope = 'agent' AND target = 'llm'
RETURNING scope, target, engaged;
