-- And back.
\echo Use "ALTER EXTENSION agentpay UPDATE" to load this file. \quit
DROP FUNCTION agentpay._t_added();
