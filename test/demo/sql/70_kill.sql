-- The kill switch: one UPDATE, and RETURNING shows that it hit a row.
\pset border 1
\pset footer off
\echo
\echo THE KILL SWITCH (agentpay.kill_switches)
\echo 'UPDATE agentpay.kill_switches SET engaged = true, reason = ''demo''  WHERE scope = ''agent'' AND target = ''llm'' RETURNING …;'
UPDATE agentpay.kill_switches SET engaged = true, reason = 'demo'
WHERE scope = 'agent' AND target = 'llm'
RETURNING scope, target, engaged, changed_by, changed_at;
