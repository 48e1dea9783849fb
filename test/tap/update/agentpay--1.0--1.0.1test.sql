-- A version for drop_extension.pl: what an update script does, adding an object
-- and replacing a comment.  scripts/stage puts it beside the extension's own.
\echo Use "ALTER EXTENSION agentpay UPDATE" to load this file. \quit
CREATE FUNCTION agentpay._t_added() RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE ALL ON FUNCTION agentpay._t_added() FROM PUBLIC;
COMMENT ON TABLE agentpay.decisions IS 'updated';
